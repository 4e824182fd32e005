"""Configs: `default.py` has every setting, each variant states its differences only."""
