"""A run becomes one HTML page that a person can decide from."""
