"""Experiments: champion against challenger on live traffic, decided at any time without cheating."""
