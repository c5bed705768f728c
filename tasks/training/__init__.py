"""A dataset becomes an adapter."""
