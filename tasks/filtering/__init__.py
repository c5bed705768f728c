"""Examples are accepted, rejected or sent to review."""
