"""The study's third model: convolutions at constant resolution.

python launch.py --config=configs/fcn.py --config.data.dir=/data/competition_data/train
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the complete config."""
    config = default.get_config()
    config.model.name = "fcn"
    return config
