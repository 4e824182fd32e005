"""The study's second model: strided convolutions in place of max-pooling.

python launch.py --config=configs/unet_strided.py --config.data.dir=/data/competition_data/train

Measured before version 0.2.0 on 3000 of the challenge's tiles, two CPU cores (AMD EPYC, shared with
other work): 37 epochs until early stopping in 134 minutes, test loss 0.1986, accuracy 0.9247, F1 0.856 at
threshold 0.51. With --config.train.epochs=12: test loss 0.2525, accuracy 0.9047; with
--config.model.skip=False as well: 0.2358, 0.9095.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the complete config."""
    config = default.get_config()
    config.model.downsample = "strided"
    return config
