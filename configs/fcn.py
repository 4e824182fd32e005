"""The study's third model: convolutions at constant resolution."""

from configs import default


def get_config():
    config = default.get_config()
    config.model.name = "fcn"
    return config
