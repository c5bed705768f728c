"""Events become examples."""
