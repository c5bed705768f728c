"""The commands beside the main job's: event log, triggers and experiments, services."""
