"""The gates are tested by mutation: candidates with known faults must not get through, good ones must."""
