"""The look at the data before training: read, check, describe, draw."""

import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from saltjax.data import splits, synthetic
from saltjax.data import tiles as data
from saltjax.reporting import figures as plots
from saltjax.reporting import tile_figures as pictures
from saltjax.runs import workdir as run
from saltjax.system import console
from saltjax.system.errors import InputError, writing


def announce(config: ConfigDict) -> None:
    """Says it at once if the data will be no real ones."""
    if not config.data.dir:
        console.say("These are built-in synthetic sections, no real data.")


def load(config: ConfigDict) -> tuple[data.Tiles, dict[str, np.ndarray]]:
    """Returns the tiles of `config.data`, a checked folder or built-in sections, and their split.

    Raises:
      InputError: if files are bad, or the tiles do not suit the config.
    """
    if config.data.dir:
        tiles = data.read_folder(config.data.dir)
    else:
        tiles = synthetic.make_tiles(config.data.synthetic_count, config.seed)
    settings = config.data
    check_shape(tiles.images.shape[1:3], settings)
    split = splits.split(
        tiles,
        settings.split_by,
        settings.groups,
        settings.split,
        settings.folds,
        settings.fold,
        config.seed,
    )
    train, val, test = (len(split[name]) for name in ("train", "val", "test"))
    if train < config.train.batch_size or not val or not test:
        raise InputError(
            f"{len(tiles)} tiles split into {train} for training, {val} for validation and {test} "
            f"for the test; expected at least one batch ({config.train.batch_size}) and one tile "
            "each: give more tiles, other shares (data.split), folds or groups, or a smaller "
            "train.batch_size"
        )
    return tiles, split


def check_shape(shape: tuple[int, int], settings: ConfigDict) -> None:
    """Raises InputError if config.data cannot bring that height and width to the network's."""
    height, width = shape
    if settings.resize == "pad" and max(height, width) > settings.image_size:
        raise InputError(
            f"config.data.resize=pad cannot shrink tiles of {width}×{height} pixels to "
            f"data.image_size={settings.image_size}; give a larger image_size, or resize=bilinear"
        )


def facts(tiles: data.Tiles, split: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns what data.json holds: source, hash, statistics and the ids of each part."""
    return {
        "source": tiles.source,
        "dir": tiles.directory,
        "content_sha256": tiles.content_hash(),
        **data.statistics(tiles),
        "splits": {name: [tiles.ids[i] for i in part] for name, part in split.items()},
    }


def describe(tiles: data.Tiles, plots_dir: pathlib.Path, seed: int) -> None:
    """Prints the tiles' statistics and draws examples.png and coverage.png into `plots_dir`."""
    stats = data.statistics(tiles)
    n = stats["tiles"]
    console.say(f"Data       {n} tiles of {stats['width']}×{stats['height']} pixels")
    console.say(
        f"           {stats['empty_masks']} without salt ({stats['empty_masks'] / n:.1%}), "
        f"{stats['full_masks']} all salt, salt covers {stats['salt_coverage']:.1%} of pixels"
    )
    console.say(f"           {stats['constant_images']} images of one constant value")
    histogram = stats["coverage_histogram"]
    widest = max(max(histogram), 1)
    console.say("           salt coverage of the tiles with salt:")
    for i, count in enumerate(histogram):
        bar = "█" * round(24 * count / widest)
        console.say(f"           {10 * i:3d}–{10 * (i + 1):3d} % {count:6d} {bar}")
    source = tiles.description
    chosen = np.random.default_rng((seed, 0, 2)).permutation(n)[: pictures.EXAMPLES]
    examples = pictures.examples(
        tiles.images[chosen],
        tiles.labels[chosen, :, :, 0],
        [tiles.ids[i] for i in chosen],
        source,
    )
    coverage = plots.coverage(data.salt_coverage(tiles.labels), source)
    with writing(plots_dir):
        plots_dir.mkdir(parents=True, exist_ok=True)
        plots.save(examples, plots_dir / "examples.png")
        plots.save(coverage, plots_dir / "coverage.png")


def split_text(settings: ConfigDict, split: dict[str, np.ndarray]) -> str:
    """Returns how many tiles are in each part and, unless at random, how they came there."""
    text = ", ".join(f"{len(ids)} {name}" for name, ids in split.items())
    if settings.split_by != "random":
        text += f", by {settings.split_by}"
    if settings.folds:
        text += f", fold {settings.fold} (0 to {settings.folds - 1})"
    return text


def check(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Reads and describes the data of a config, without training; figures go to the run's plots."""
    announce(config)
    with run.lock(workdir):
        tiles, split = load(config)
        describe(tiles, workdir / "plots", config.seed)
    console.say(f"Split      {split_text(config.data, split)}")
    console.say(f"Figures    {workdir / 'plots'}")
    console.say("No bad files.")
