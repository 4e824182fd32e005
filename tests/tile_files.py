"""Small directories of tiles, and damage to files."""

import pathlib
import random

import numpy as np
from PIL import Image


def write_tiles(folder: pathlib.Path, count: int) -> pathlib.Path:
    """Writes images and masks of 12×10 pixels, as the challenge's: masks 16-bit, empty ones 8-bit.

    Tile i has brightness i, and salt in its first i % 4 rows.
    """
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        grey = np.full((12, 10), i, np.uint8)
        mask = np.zeros((12, 10), np.uint16 if i % 4 else np.uint8)
        mask[: i % 4] = np.iinfo(mask.dtype).max
        Image.fromarray(grey).convert("RGB").save(folder / f"images/t{i:02d}.png")
        Image.fromarray(mask).save(folder / f"masks/t{i:02d}.png")
    return folder


def flip_a_bit(path: pathlib.Path, rng: random.Random) -> None:
    """Flips one bit of a file, anywhere."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
