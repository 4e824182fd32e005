"""The config of a run that trains in seconds, and what is made of it."""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from configs import quickstart
from saltjax import train
from saltjax.inference.windows import SectionModel
from saltjax.system import signals


def tiny_config(**overrides: Any) -> ConfigDict:
    """Returns a small config on built-in sections, with other settings by their dotted keys."""
    config = quickstart.get_config()
    config.data.synthetic_count = 50
    config.data.image_size = 16
    config.model.features = (4, 8)
    config.train.batch_size = 8
    config.train.epochs = 3
    config.train.cpu_devices = 4
    config.update_from_flattened_dict(overrides)
    return config


def make_setup(config: ConfigDict) -> train.Setup:
    """Returns a setup that saves nothing within an epoch."""
    return train.prepare(
        config, pathlib.Path("unused"), signals.Pause(every_minutes=1e9)
    )


def section_model(setup: train.Setup, variables: Any) -> SectionModel:
    """Returns the network of a setup with those variables, as `evaluation` takes it."""
    tile = setup.data.tiles.images.shape[1:3]
    return SectionModel(setup.recipe.network, variables, tile, 8, tta=False)
