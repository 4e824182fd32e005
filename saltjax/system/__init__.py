"""The screen, devices, files, errors and signals: what every command needs."""
