"""The study's second model: strided convolutions in place of max-pooling."""

from configs import default


def get_config():
    config = default.get_config()
    config.model.downsample = "strided"
    return config
