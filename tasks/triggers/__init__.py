"""Triggers: reasons to retrain, each told with its numbers."""
