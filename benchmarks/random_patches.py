"""Cuts patches at random places of a whole volume into a directory of tiles.

python -m benchmarks.random_patches --config=configs/unet_strided.py --output=tiles \\
    --config.data.volume=salt.sgy --config.data.labels=labels.sgy

A run on that directory, --config.data.dir=tiles, splits the patches at random, so that neighbours of the
test's patches were trained on. The score that it reports, beside that of a run on the volume itself, shows
what a split into blocks is for: docs/volumes.md.
"""

import pathlib

import numpy as np
from absl import flags

from saltjax import commandline
from saltjax.data import cutting, image_file, volumes
from saltjax.data.tiles import Tiles
from saltjax.system import console, files
from saltjax.system.errors import InputError


def define_flags() -> None:
    """Defines the flags besides --config."""
    flags.DEFINE_string(
        "output", "", "The directory to write to, which must not exist."
    )


def main() -> None:
    """Writes images/<id>.png and masks/<id>.png."""
    folder = pathlib.Path(flags.FLAGS.output)
    config = commandline.required_config()
    if not flags.FLAGS.output or folder.exists():
        raise InputError(
            f"--output={folder}: expected a directory that does not exist yet"
        )
    cut, _, _ = volumes.prepare(config)
    whole = [(0, cut.volume.grid.shape[0])]
    write(cutting.patches_of(cut, whole, config.data), folder)
    console.say(f"Written    {folder}")


def write(tiles: Tiles, folder: pathlib.Path) -> None:
    """Writes tiles that are labelled everywhere; a mask has no value for unlabelled pixels."""
    if tiles.has_unlabelled:
        raise InputError(
            "some samples of the patches are unlabelled or of dead traces; expected a volume that is "
            "labelled everywhere"
        )
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i, tile in enumerate(tiles.ids):
        image, mask = tiles.images[i, :, :, 0], np.uint8(255) * tiles.labels[i, :, :, 0]
        for name, pixels in (("images", image), ("masks", mask)):
            with files.atomic_write(folder / name / f"{tile}.png") as path:
                image_file.write(path, pixels)


if __name__ == "__main__":
    commandline.start(
        define_flags, main, lambda: f"{__doc__}{flags.FLAGS.main_module_help()}"
    )
