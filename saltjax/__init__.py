"""U-Nets in JAX that mark salt in seismic images."""
