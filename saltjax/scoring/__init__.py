"""Scores of probabilities and masks against labels."""
