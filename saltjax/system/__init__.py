"""Console output, devices, files, errors, signals and random seeds: what every command needs."""
