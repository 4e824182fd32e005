"""The study's final model: strided convolutions and weight decay.

python launch.py --config=configs/final.py --config.data.dir=/data/competition_data/train
"""

from ml_collections import ConfigDict

from configs import unet_strided


def get_config() -> ConfigDict:
    """Returns the complete config."""
    config = unet_strided.get_config()
    config.optim.weight_decay = 0.01
    return config
