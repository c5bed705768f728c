"""The audit log: a chain of records, checkpoints outside of it, what shows tampering, retention."""
