"""Fixtures: four virtual devices, a small folder of tiles, and the challenge's tiles if there."""

import os
import pathlib
import random
import tempfile

# Tests compile the same small programs again and again, here and in the processes they start.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="saltjax_test_cache_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax

jax.config.update("jax_num_cpu_devices", 4)

import numpy as np
import program
import pytest
from PIL import Image


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


def flip_a_bit(path: pathlib.Path, rng: random.Random) -> None:
    """Flips one bit of a file, anywhere."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


@pytest.fixture(scope="session")
def tgs() -> str:
    """The challenge's tiles: the folder with `images` and `masks` that SALTJAX_TGS names."""
    folder = os.environ.get("SALTJAX_TGS", "")
    if not folder:
        pytest.skip("SALTJAX_TGS names no folder of the challenge's tiles")
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder of runs with one in it, called `plain`, and what was printed meanwhile."""
    folder = tmp_path_factory.mktemp("runs")
    done = program.launch(
        "--config=configs/quickstart.py", f"--workdir={folder}/plain", *program.TINY
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout
