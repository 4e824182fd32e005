"""The study's baseline: U-Net with max-pooling."""

from configs import default


def get_config():
    return default.get_config()
