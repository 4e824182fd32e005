"""--mode=check: reads and describes the data of a config, without training."""

import pathlib

from ml_collections import ConfigDict

from saltjax.data import source
from saltjax.data.tiles import training_noun
from saltjax.reporting import run_figures, tables, volume_figures
from saltjax.system import console, locks
from saltjax.system.errors import InputError


def check(config: ConfigDict, workdir: pathlib.Path) -> bool:
    """Checks every file, prints statistics, and draws figures into `check` of the run directory.

    What a run has written there stays as it is.

    Args:
      config: the complete config.
      workdir: the run directory; created if it does not exist.

    Returns:
      Whether the tiles are enough for a training with these settings.

    Raises:
      InputError: listing every bad file, or for a mistake in config or directory.
    """
    source.announce(config.data)
    with locks.lock(workdir, "--workdir"):
        data = source.load(config)
        if data.volume:
            volume_figures.show(data.volume)
            volume_figures.draw(data.volume, workdir / "check")
        tables.show_statistics(data.statistics, training_noun(data.tiles.source))
        run_figures.draw_data(data.tiles, workdir / "check", config.data.seed)
    console.say(f"Split      {data.split_description}")
    console.say(f"Figures    {workdir / 'check'}")
    console.say("No bad files.")
    try:
        source.check_trainable(data, config.train.batch_size)
    except InputError as error:
        console.say(
            f"Warning    they cannot be trained on with these settings: {error}"
        )
        return False
    return True
