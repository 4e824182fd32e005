"""What `--mode=export` writes for other programs, and how it is checked against the run."""
