"""A small final model on built-in sections: minutes on a laptop's CPU."""

from configs import final


def get_config():
    config = final.get_config()
    config.data.synthetic_count = 1000
    config.data.image_size = 64
    config.model.features = (8, 16, 32, 64)
    config.model.norm = "group"
    config.train.epochs = 10
    config.optim.learning_rate = 3e-3
    return config
