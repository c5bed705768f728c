"""What sources have earned: their state, their share of a dataset, and what they may not bring at all."""
