"""The directory of a run: its settings, checkpoints and result."""
