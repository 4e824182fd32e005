"""The run directory: its settings, environment, checkpoints and result."""
