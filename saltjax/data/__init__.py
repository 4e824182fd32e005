"""Tiles and masks: read, split, described and brought to the devices."""
