"""What a training step does, and what a run remembers between steps."""
