"""The networks, and the resolution at which they see tiles."""
