"""Settings: `default.py` has all of them, each variant states its differences."""
