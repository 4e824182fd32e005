"""The study's second model: strided convolutions in place of max-pooling.

python launch.py --config=configs/unet_strided.py --config.data.dir=/data/competition_data/train

On 3000 of the challenge's tiles, two CPU cores (AMD EPYC, shared with other work), with
--config.train.epochs=12: 28 minutes, test loss 0.2525, accuracy 0.9047, F1 0.800 at threshold 0.30,
and still improving; with --config.model.skip=False as well: 0.2358, 0.9095, 0.820 at 0.32.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Returns the complete config."""
    config = default.get_config()
    config.model.downsample = "strided"
    return config
