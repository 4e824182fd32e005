"""The study's final model: strided convolutions and weight decay."""

from configs import unet_strided


def get_config():
    config = unet_strided.get_config()
    config.optim.weight_decay = 0.01
    return config
