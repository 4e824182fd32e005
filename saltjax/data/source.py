"""The data of a run: tiles of a directory, a volume or built-in sections, their statistics and split."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from saltjax.data import folder, splits, statistics, synthetic, volumes
from saltjax.data.tiles import Tiles
from saltjax.system import console
from saltjax.system.errors import InputError


@dataclasses.dataclass(frozen=True)
class Data:
    """Tiles, and which of them are for training, validation and test.

    Attributes:
      tiles: those for training.
      scored: N tiles for validation and test: of a directory the same as `tiles`, of a volume whole
        lines, where `tiles` are patches.
      statistics: of `tiles`.
      units: int[N], one number for the tiles of `scored` that are not independent: copies of one
        image and, where groups are given, the tiles of a group; neighbouring lines.
      split: sorted indices of "train" into `tiles`, of "val" and "test" into `scored`.
      split_description: the number of tiles in each part and, unless it is random, the method.
      volume: what is known of a volume; None of other data.
    """

    tiles: Tiles
    scored: Tiles
    statistics: statistics.Statistics
    units: np.ndarray
    split: dict[str, np.ndarray]
    split_description: str
    volume: volumes.VolumeData | None = None

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What data.json holds: source, statistics, ids of each part, hashes."""
        units = self.units.astype("<i8").tobytes()
        facts = {
            "source": self.tiles.source,
            "dir": self.tiles.directory,
            "content_sha256": self.volume.scanned.digest
            if self.volume
            else self.tiles.content_hash(),
            **dataclasses.asdict(self.statistics),
            "splits": {
                name: ids_of(part, self.tiles if name == "train" else self.scored)
                for name, part in self.split.items()
            },
            "units_sha256": hashlib.sha256(units).hexdigest(),
        }
        if self.volume:
            facts["volume"] = self.volume.facts
        return facts


def load(config: ConfigDict, earlier: dict[str, list[str]] | None = None) -> Data:
    """Reads or generates the tiles that `config.data` describes, and splits them.

    Copies of one image are kept in one part of the split.

    Args:
      config: the complete config.
      earlier: the ids of each part in a run to continue, None for none. It keeps its split even if
        that was made before copies were kept together.

    Raises:
      InputError: if files are bad, or the tiles do not suit the settings. Whether they are enough
        for a training is left to `check_trainable`.
    """
    data = config.data
    if data.volume:
        return _load_volume(config)
    if data.dir:
        tiles = folder.read_folder(data.dir, unlabelled=data.unlabelled)
    else:
        tiles = synthetic.make_tiles(data.synthetic_count, data.seed)
    check_shape(tiles.size, data.image_size, data.resize)
    own, groups = np.arange(len(tiles)), data.groups
    grouped = splits.read_groups(pathlib.Path(groups), tiles.ids) if groups else own
    units = splits.joined(grouped, tiles.contents)
    kept = grouped if data.split_by == "group" else own
    cut = functools.partial(
        splits.split,
        tiles,
        data.split_by,
        shares=data.split,
        folds=data.folds,
        fold=data.fold,
        seed=data.seed,
    )
    parts = _continued(cut, kept, tiles, earlier)
    train, val, test = (len(parts[name]) for name in ("train", "val", "test"))
    description = f"{train} train, {val} val, {test} test"
    if data.split_by != "random":
        description += f", by {data.split_by}"
    if data.folds:
        description += f", fold {data.fold} (0 to {data.folds - 1})"
    return Data(tiles, tiles, statistics.compute(tiles), units, parts, description)


def _load_volume(config: ConfigDict) -> Data:
    """Returns the data of a volume."""
    data = config.data
    if data.resize == "pad" and data.tile > data.image_size:
        raise InputError(
            f"config.data.tile={data.tile} with config.data.resize=pad, which cannot shrink patches to "
            f"data.image_size={data.image_size}; give config.data.tile={data.image_size}, a larger "
            "image_size, or resize=bilinear"
        )
    found = volumes.load(config)
    train, val, test = (len(found.split[name]) for name in ("train", "val", "test"))
    line = "crossline" if data.direction == "crossline" else "inline"
    of_val, of_test = (console.counted(n, line) for n in (val, test))
    description = f"{train} patches train, {of_val} val, {of_test} test"
    if data.folds:
        description += f", fold {data.fold} (0 to {data.folds - 1})"
    return Data(
        found.patches,
        found.lines,
        statistics.compute(found.patches),
        found.units,
        found.split,
        description,
        found,
    )


def _continued(
    cut: Callable[..., dict[str, np.ndarray]],
    kept: np.ndarray,
    tiles: Tiles,
    earlier: dict[str, list[str]] | None,
) -> dict[str, np.ndarray]:
    """Returns the split: copies of an image stay together, unless they did not in the run before.

    Args:
      cut: `splits.split` of units.
      kept: int[N], one number for the tiles that the setting `split_by` keeps together.
      tiles: N tiles.
      earlier: see `load`.
    """
    parts = cut(units=splits.joined(kept, tiles.contents))
    if earlier not in (None, ids_of_parts(parts, tiles)):
        before = cut(units=kept)
        if earlier == ids_of_parts(before, tiles):
            console.say(
                "Split      as the run began: copies of an image lie in several parts"
            )
            return before
    return parts


def check_trainable(data: Data, batch_size: int) -> None:
    """Raises InputError if the tiles for training fill no batch, or another part is empty."""
    train, val, test = (len(data.split[name]) for name in ("train", "val", "test"))
    if data.volume:
        if train < batch_size:
            raise InputError(
                f"config.data.patches={train} with config.train.batch_size={batch_size}; expected at "
                "least one batch"
            )
    elif train < batch_size or not val or not test:
        raise InputError(
            f"{len(data.tiles)} tiles split into {train} for training, {val} for validation and {test} "
            f"for the test; expected at least one batch ({batch_size}) and one tile each: give "
            "more tiles, other shares (data.split), folds or groups, or a smaller train.batch_size"
        )


def ids_of_parts(split: dict[str, np.ndarray], tiles: Tiles) -> dict[str, list[str]]:
    """Returns the ids of the tiles in each part of a split."""
    return {name: ids_of(part, tiles) for name, part in split.items()}


def ids_of(indices: np.ndarray, tiles: Tiles) -> list[str]:
    """Returns the ids of the tiles of `indices`."""
    return [tiles.ids[i] for i in indices]


def announce(data: ConfigDict) -> None:
    """Prints that the data are not real if they are synthetic; called before anything else."""
    if not data.dir and not data.volume:
        console.say("These are built-in synthetic sections, not real data.")


def check_shape(shape: tuple[int, int], image_size: int, resize: str) -> None:
    """Raises InputError if tiles of that height and width cannot be resized to image_size."""
    height, width = shape
    if resize == "pad" and max(height, width) > image_size:
        raise InputError(
            f"config.data.resize=pad cannot shrink tiles of {width}×{height} pixels to "
            f"data.image_size={image_size}; give a larger image_size, or resize=bilinear"
        )
