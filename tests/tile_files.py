"""Small directories of tiles, and damage to files."""

import pathlib
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image

from saltjax.data import synthetic


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


def as_mosaics(x):
    """Returns [N, 2H, 2W, …] for [4N, H, W, …]: four images each, two by two."""
    (n, h, w), rest = x.shape[:3], x.shape[3:]
    x = x.reshape(n // 4, 2, 2, h, w, *rest)
    return x.swapaxes(2, 3).reshape(n // 4, 2 * h, 2 * w, *rest)


def write_sections(folder, count, seed, mosaic=False):
    """Writes synthetic sections as a directory of tiles; returns labels uint8[H, W] by id.

    A mosaic shows four of them, two by two.
    """
    tiles = synthetic.make_tiles(count * (4 if mosaic else 1), seed)
    ids, images, labels = tiles.ids, tiles.images, tiles.labels[..., 0]
    if mosaic:
        # The order of these files by name is not that of their ids.
        ids = ["t", "t b", *(f"t{i}" for i in range(2, count))]
        images, labels = as_mosaics(images), as_mosaics(labels)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i, image, label in zip(ids, images, labels):
        Image.fromarray(image).save(folder / f"images/{i}.png")
        Image.fromarray(label * 255).save(folder / f"masks/{i}.png")
    return dict(zip(ids, labels))


def link_tiles(source: str, names: Sequence[str], folder: pathlib.Path) -> pathlib.Path:
    """Links images and masks of these tiles of a directory into another one, which it returns."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for name in names:
            path = pathlib.Path(source, kind, f"{name}.png")
            (folder / kind / path.name).symlink_to(path)
    return folder
