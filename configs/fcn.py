"""The study's third model: convolutions at constant resolution.

python launch.py --config=configs/fcn.py --config.data.dir=/data/competition_data/train

Needs a GPU in practice. Measured before version 0.2.0 on two CPU cores (AMD EPYC): it trains 0.8 images
per second, 45 minutes for an epoch of 2100 tiles. With --config.data.image_size=64
--config.train.epochs=1: 11 minutes, test loss 0.4492, accuracy 0.7647, F1 0.666 at threshold 0.26.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the complete config."""
    config = default.get_config()
    config.model.name = "fcn"
    return config
