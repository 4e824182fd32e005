"""The images of a run's test tiles, for its page."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from saltjax.data import image_file, synthetic, volumes
from saltjax.data.folder import match
from saltjax.data.tiles import Tiles
from saltjax.runs import settings
from saltjax.system.errors import InputError


def find(
    ids: Sequence[str],
    labels: np.ndarray,
    config: dict[str, Any],
    tiles: Tiles | None = None,
) -> np.ndarray:
    """Returns the images uint8[N, H, W, 3] of the tiles with these ids and labels uint8[N, H, W].

    Args:
      ids, labels: of the tiles.
      config: every setting of the run by its dotted key; {} if not known.
      tiles: those of the run, if they are at hand; else they are read or made again.

    Raises:
      InputError: if they cannot be read, or are not those of the run.
    """
    folder = config.get("data.dir")
    if tiles is None and config.get("data.volume"):
        tiles = volumes.load_lines(ConfigDict(settings.unflatten(config)))
    if tiles is None and folder == "":
        count, seed = config["data.synthetic_count"], config["data.seed"]
        tiles = synthetic.make_tiles(count, seed)
    if tiles is not None:
        row = {name: i for i, name in enumerate(tiles.ids)}
        if unknown := [name for name in ids if name not in row]:
            raise InputError(f"there is no tile {unknown[0]} among them")
        return tiles.shown([row[i] for i in ids])
    if folder is None:
        raise InputError("config.json does not say where they are")
    images = []
    pairs, _ = match(pathlib.Path(folder), "config.data.dir")
    for name, label in zip(ids, labels):
        if name not in pairs:
            raise InputError(f"there is no tile {name} in {folder}")
        paths = pairs[name]
        try:
            image = image_file.read_image(paths[0])
            mask = image_file.read_mask(paths[1], config["data.unlabelled"])
        except ValueError as error:
            raise InputError(f"{paths[0]}: {error}") from None
        if (
            not np.array_equal(mask.label[..., 0], label)
            or image.shape[:2] != label.shape
        ):
            raise InputError(f"{paths[1]}: not the tile that the run was tested on")
        images.append(image)
    return np.stack(images)
