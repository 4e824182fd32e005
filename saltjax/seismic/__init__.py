"""Seismic traces in arrays, .npy and SEG-Y files, and the scaling of their amplitudes."""
