"""Amplitudes in arrays and SEG-Y files."""
