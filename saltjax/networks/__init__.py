"""The networks, and the resizing between the tiles' resolution and theirs."""
