"""What is known and kept: domain types, errors, datasets, models, lineage, audit log."""

__version__ = "0.2.0"
