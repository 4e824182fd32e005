"""The config of a run that trains in seconds."""

from typing import Any

from ml_collections import ConfigDict

from configs import quickstart


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
