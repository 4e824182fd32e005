"""The study's second model: strided convolutions in place of max-pooling.

python launch.py --config=configs/unet_strided.py --config.data.dir=/data/competition_data/train

Measured before version 0.2.0 on 3000 of the challenge's tiles, two CPU cores (AMD EPYC, shared with
other work): 37 epochs until early stopping in 134 minutes, test loss 0.1986, accuracy 0.9247, F1 0.856 at
threshold 0.51. With --config.model.skip=False: 28 epochs in 171 minutes, 0.1983, 0.9276, 0.859 at
0.35.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the complete config."""
    config = default.get_config()
    config.model.downsample = "strided"
    return config
