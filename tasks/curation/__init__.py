"""Accepted examples become a dataset version."""
