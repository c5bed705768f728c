"""What is done: one folder a stage, `task.py` with the effects beside plain modules of pure functions."""
