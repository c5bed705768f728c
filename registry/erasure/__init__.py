"""What somebody said, found and taken out: plans, needles, event log, files, tombstones in datasets."""
