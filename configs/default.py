"""Every setting of saltjax, with the study's baseline as default.

A variant's file takes this one and states only its differences.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the complete config."""
    config = ConfigDict()
    config.seed = 0  # of the split, the initial weights, the order of tiles and dropout

    config.data = data = ConfigDict()
    # Folder with images/<id>.png and masks/<id>.png; "" for built-in sections.
    data.dir = ""
    data.image_size = 128  # pixels, side of the square that the network sees
    # "nearest" | "bilinear" | "pad" (mirrored), from tile to image_size.
    data.resize = "nearest"
    # Shares of training, validation and test tiles, sum 1.
    data.split = (0.7, 0.15, 0.15)
    # "random" | "coverage" (parts alike in salt) | "group" (groups are never parted).
    data.split_by = "random"
    # CSV file with columns id and group (or mosaic_id), only for split_by "group".
    data.groups = ""
    data.folds = 0  # K for cross-validation: each fold tests another Kth; 0 for none
    data.fold = 0  # which of the folds, 0 to K - 1
    data.synthetic_count = 4000  # built-in tiles, when dir is ""

    config.model = model = ConfigDict()
    model.name = "unet"  # "unet" | "fcn"
    model.features = (16, 32, 64, 128, 256)  # channels of each level
    model.downsample = "max_pool"  # "max_pool" | "strided"; unet only
    model.skip = True  # concatenate the encoder's maps in the decoder; unet only
    model.upsample = "transposed"  # "transposed" | "bilinear"; unet only
    model.norm = "none"  # "none" | "batch" | "group", after each 3×3 convolution
    model.dropout = 0.0  # rate after each block, in [0, 1)

    config.train = train = ConfigDict()
    train.epochs = 100  # at most
    train.batch_size = 32  # tiles per step
    train.dtype = "float32"  # "float32" | "bfloat16", of the network's arithmetic
    train.cpu_devices = 0  # virtual devices that share the CPU's cores; 0 chooses
    # Folder that keeps compiled programs between runs; "" for none.
    train.compile_cache = ""

    config.optim = optim = ConfigDict()
    optim.learning_rate = 1e-3  # Adam's, until the first plateau
    optim.weight_decay = 0.0  # decoupled, times the learning rate, on kernels only

    config.plateau = plateau = ConfigDict()
    plateau.factor = 0.1  # of the learning rate at a plateau of the validation loss
    plateau.patience = 5  # epochs without improvement that are borne; the next one cuts

    config.early_stopping = early_stopping = ConfigDict()
    # Epochs in a row above the best validation loss, then it ends.
    early_stopping.patience = 10

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every_minutes = 10.0  # at most this long between saves within an epoch

    config.eval = evaluation = ConfigDict()
    # "f1" (pixels, as the study) | "kaggle_map" | "iou" (means over tiles): what the threshold and
    # the least area make best on the validation tiles.
    evaluation.threshold_metric = "f1"
    # Pixels: smaller bodies of salt are left out of a mask; "auto" chooses.
    evaluation.min_area = "0"
    evaluation.tta = False  # average the probabilities of a tile and its mirror image

    config.predict = predict = ConfigDict()
    # From amplitudes to the network's range: "clip" (symmetric, at the 99th percentile of their
    # size) | "minmax" | "none" (they lie in [0, 1]). PNGs are taken as in training.
    predict.normalize = "clip"
    # Of a volume's sections: "inline" | "crossline" | "both", the mean of the two.
    predict.direction = "inline"
    return config.lock()  # a misspelt key in a variant raises
