"""A candidate is examined in five stages."""
