"""What is known and kept: domain types, errors, datasets, models, lineage, audit log."""
