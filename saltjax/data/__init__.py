"""Tiles and masks: reading, checks, splits, statistics and batches."""
