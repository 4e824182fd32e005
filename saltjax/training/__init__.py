"""Loss, optimizer, schedules, the training step, and the progress of a run."""
