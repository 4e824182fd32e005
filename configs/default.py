"""Every setting of saltjax, with the study's baseline as default.

A variant's file takes this one and states only its differences.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the complete config."""
    config = ConfigDict()
    # Seed of initial weights, order and augmentation of training tiles, and dropout.
    config.seed = 0

    config.data = data = ConfigDict()
    # Seed of split, synthetic tiles, patches of a volume, bootstrap intervals and the choice of example
    # tiles.
    data.seed = 0
    # Directory with images/<id>.png and masks/<id>.png; "" for built-in synthetic sections.
    data.dir = ""
    data.image_size = 128  # pixels, side of the square that a tile is resized to
    # How a tile is resized: "nearest" | "bilinear" | "pad" (by mirroring; enlarges only).
    data.resize = "nearest"
    # Shares of training, validation and test tiles, or inlines of a volume that hold labels, sum 1.
    data.split = (0.7, 0.15, 0.15)
    # "random" | "coverage" (the same mix of salt coverage) | "group" (groups stay together).
    data.split_by = "random"
    # CSV file with columns id and group (or mosaic_id), for split_by "group"; with any split_by,
    # intervals of scores resample these groups. "" for none.
    data.groups = ""
    data.folds = 0  # K of K-fold cross-validation; 0 for none
    data.fold = 0  # the test fold, 0 to K - 1
    data.synthetic_count = 4000  # synthetic tiles, when dir is ""

    # Random changes of training tiles: "none" | "flip" (left to right) | "affine" (also shifted by up
    # to 20 pixels, scaled by 0.85 to 1.15, rotated by up to 10°, contrast and brightness by 10 %).
    data.augment = "none"

    # Bytes of the trace headers of SEG-Y, from 1, with inline and crossline numbers of four bytes.
    data.header_bytes = (189, 193)

    # Value of masks, or of labels of a volume, that counts in no loss and no score; for masks
    # negative for none.
    data.unlabelled = -1

    # Volume of amplitudes, .sgy, .segy, .npy, .zgy, .zarr or .mdio, in place of dir; "" for none.
    data.volume = ""
    # Its interpretation: a volume of the same shape in any of these formats; or two text files with
    # the picks of top and base of salt, joined by a comma.
    data.labels = ""
    data.salt = (1,)  # values of labels that are salt
    data.tile = 128  # samples and traces of a patch, which is resized to image_size
    data.direction = "inline"  # sections of patches: "inline" | "crossline" | "both"
    data.gap = 8  # inlines that are left out between training, validation and test
    data.patches = 4000  # drawn from the training inlines
    data.salt_share = 0.5  # share of the patches that hold salt
    # Sections on either side of a section whose pixels are channels too (2.5-D); 0 for none: the
    # section is repeated in all three channels.
    data.context = 0

    config.model = model = ConfigDict()
    model.name = "unet"  # "unet" | "fcn"
    model.features = (16, 32, 64, 128, 256)  # channels of each level
    model.downsample = "max_pool"  # "max_pool" | "strided"; unet only
    # Concatenate the encoder's feature maps in the decoder; unet only.
    model.skip = True
    model.upsample = "transposed"  # "transposed" | "bilinear"; unet only
    # "none" | "batch" | "group", after each 3×3 convolution of a block.
    model.norm = "none"
    model.dropout = 0.0  # rate after each block, in [0, 1)
    # Initial weights: "he_normal" (biases 0) | "torch_default" (PyTorch's, as in the study).
    model.init = "he_normal"

    config.train = train = ConfigDict()
    train.epochs = 100  # at most
    train.batch_size = 32  # tiles per step
    train.dtype = "float32"  # "float32" | "bfloat16", of the network's arithmetic
    # Factors of float32 products, where a device has faster units for them than float32's:
    # "float32" | "tensorfloat32" (three digits; on GPUs). No effect on CPUs.
    train.matmul_precision = "float32"
    train.cpu_devices = 0  # virtual devices that the CPU is split into; 0 chooses
    # Directory that keeps compiled programs between runs; "" for none.
    train.compile_cache = ""

    # Trained network whose weights the run begins with: a run directory, a network file, or the name
    # of a packaged network; "" for random weights.
    train.init_from = ""
    # Take over the arrays of the same path and shape, where the network is another one.
    train.init_partial = False
    # Write metrics and example tiles for TensorBoard into tensorboard/ of the run directory.
    train.tensorboard = False
    train.ema = 0.0  # decay per step of averaged weights, which are tested; 0 for none

    config.loss = loss = ConfigDict()
    # Weight of the symmetric Lovász hinge of each tile, which is added to the cross-entropy.
    loss.lovasz = 0.0

    config.optim = optim = ConfigDict()
    optim.learning_rate = 1e-3  # peak learning rate of Adam
    # "plateau" (reduced by the settings plateau.) | "cosine" (rises for warmup_epochs, then falls to
    # 0 at the last epoch).
    optim.schedule = "plateau"
    optim.warmup_epochs = 0  # "cosine" only
    optim.weight_decay = 0.0  # 0 for none
    # Whether kernels shrink by learning rate times decay (AdamW). If not, decay times weight is added
    # to the gradient of all parameters: L2 regularization, PyTorch's Adam, as in the study.
    optim.decoupled = True

    config.plateau = plateau = ConfigDict()
    # Factor of the learning rate when the validation loss reaches a plateau.
    plateau.factor = 0.1
    # Epochs without improvement; one more reduces the learning rate.
    plateau.patience = 5

    config.early_stopping = early_stopping = ConfigDict()
    # Epochs in a row with a validation loss above the best, after which training stops; 0: never.
    early_stopping.patience = 10

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every_minutes = 10.0  # interval between saves within an epoch

    # The epoch that is tested: "val_loss" (lowest) | "kaggle_map" (highest on the validation tiles,
    # at 0.5) | "last".
    checkpoint.select = "val_loss"

    config.eval = evaluation = ConfigDict()
    # What threshold and minimum component size maximize on the validation tiles: "f1" (over pixels,
    # as in the study) | "kaggle_map" | "iou" (means over tiles).
    evaluation.threshold_metric = "f1"
    # Minimum component size, pixels: smaller components are removed from a mask; -1 chooses.
    evaluation.min_area = 0
    evaluation.tta = False  # average the probabilities of a tile and its mirror image

    config.predict = predict = ConfigDict()
    # Scaling of amplitudes: "clip" (symmetric, at the 99th percentile of their absolute value) |
    # "minmax" | "none" (they lie in [0, 1]). It scales the patches of a volume, too; images are scaled as
    # in training.
    predict.normalize = "clip"
    # Sections of a volume: "inline" | "crossline" | "both" (the mean of the two).
    predict.direction = "inline"
    return config.lock()  # a misspelt key in a variant raises
