"""The study's second model: strided convolutions in place of max-pooling.

python launch.py --config=configs/unet_strided.py --config.data.dir=/data/competition_data/train
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the complete config."""
    config = default.get_config()
    config.model.downsample = "strided"
    return config
