"""Fixtures: four virtual devices, a small folder of tiles, and the challenge's tiles if there."""

import os
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)


@pytest.fixture
def tile_folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder of 30 tiles, 12×10 pixels, as the challenge's: salt masks 16-bit, empty ones 8-bit."""
    return write_tiles(tmp_path / "tiles", 30)


def write_tiles(folder: pathlib.Path, count: int) -> pathlib.Path:
    """Writes images and masks; tile i has salt in its first i % 4 rows, and brightness i."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        grey = np.full((12, 10), i, np.uint8)
        mask = np.zeros((12, 10), np.uint16 if i % 4 else np.uint8)
        mask[: i % 4] = np.iinfo(mask.dtype).max
        Image.fromarray(grey).convert("RGB").save(folder / f"images/t{i:02d}.png")
        Image.fromarray(mask).save(folder / f"masks/t{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def tgs() -> str:
    """The challenge's tiles: the folder with `images` and `masks` that SALTJAX_TGS names."""
    folder = os.environ.get("SALTJAX_TGS", "")
    if not folder:
        pytest.skip("SALTJAX_TGS names no folder of the challenge's tiles")
    return folder
