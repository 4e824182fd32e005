"""Checks of a config's values, so that a mistake is told before any work is done."""

from ml_collections import ConfigDict

from saltjax.runs import workdir as run
from saltjax.system.errors import InputError

CHOICES = {
    "data.resize": ("nearest", "bilinear", "pad"),
    "data.split_by": ("random", "coverage", "group"),
    "model.name": ("unet", "fcn"),
    "model.downsample": ("max_pool", "strided"),
    "model.upsample": ("transposed", "bilinear"),
    "model.norm": ("none", "batch", "group"),
    "train.dtype": ("float32", "bfloat16"),
    "eval.threshold_metric": ("f1", "kaggle_map", "iou"),
    "predict.normalize": ("clip", "minmax", "none"),
    "predict.direction": ("inline", "crossline", "both"),
}
# (least, greatest, whether the greatest is allowed)
RANGES = {
    "seed": (0, 2**31, False),
    "data.image_size": (8, 4096, True),
    "data.synthetic_count": (1, 1_000_000, True),
    "data.folds": (0, 1000, True),
    "data.fold": (0, 1000, False),
    "model.dropout": (0, 1, False),
    "train.epochs": (1, 1_000_000, True),
    "train.batch_size": (1, 65536, True),
    "train.cpu_devices": (0, 1024, True),
    "optim.weight_decay": (0, 1, True),
    "checkpoint.every_minutes": (0, 1_000_000, True),
    "plateau.patience": (0, 1_000_000, True),
    "early_stopping.patience": (1, 1_000_000, True),
}
# Of RANGES, those that need not be whole.
REAL = ("model.dropout", "optim.weight_decay", "checkpoint.every_minutes")
SWITCHES = ("model.skip", "eval.tta")
POSITIVE = {"optim.learning_rate": 1000.0, "plateau.factor": 1.0}
UNET_ONLY = {"downsample": "max_pool", "skip": True, "upsample": "transposed"}


def check(config: ConfigDict) -> None:
    """Raises InputError naming every setting that is out of its range or not among its choices."""
    problems = []
    flat = run.flatten(config.to_dict())
    for key, choices in CHOICES.items():
        if flat[key] not in choices:
            problems.append(
                f"config.{key}={flat[key]!r}; expected one of {', '.join(choices)}"
            )
    for key in SWITCHES:
        if type(flat[key]) is not bool:
            problems.append(f"config.{key}={flat[key]!r}; expected True or False")
    for key, (low, high, closed) in RANGES.items():
        if key not in REAL and type(flat[key]) is not int:
            problems.append(f"config.{key}={flat[key]!r}; expected a whole number")
        elif not (low <= flat[key] <= high) or (flat[key] == high and not closed):
            bound = f"at most {high}" if closed else f"less than {high}"
            problems.append(
                f"config.{key}={flat[key]}; expected at least {low} and {bound}"
            )
    for key, high in POSITIVE.items():
        if not 0 < flat[key] <= high:
            problems.append(
                f"config.{key}={flat[key]}; expected more than 0 and at most {high}"
            )
    problems += _check_split(config.data) + _check_model(config.model)
    area = str(config.eval.min_area)
    if area != "auto" and not (area.isascii() and area.isdecimal() and len(area) < 10):
        problems.append(
            f"config.eval.min_area={area!r}; expected auto, or a number of pixels"
        )
    if problems:
        raise InputError("\n".join(problems))


def _check_split(settings: ConfigDict) -> list[str]:
    problems = []
    if settings.folds == 1 or settings.fold >= max(settings.folds, 1):
        problems.append(
            f"config.data.fold={settings.fold} of config.data.folds={settings.folds}; expected "
            "at least 2 folds, numbered from 0, or neither"
        )
    if (settings.split_by == "group") != bool(settings.groups):
        problems.append(
            f"config.data.split_by={settings.split_by} with config.data.groups="
            f"{settings.groups!r}; a CSV file of groups goes with split_by=group, and with no other"
        )
    return problems + _check_shares(settings.split)


def _check_shares(split) -> list[str]:
    found = f"config.data.split={tuple(split)}; expected"
    if len(split) != 3 or not all(type(x) in (int, float) and x > 0 for x in split):
        return [f"{found} three positive shares: training, validation, test"]
    if abs(sum(split) - 1) > 1e-6:
        return [f"{found} shares that sum to 1, not {sum(split):g}"]
    return []


def _check_model(model: ConfigDict) -> list[str]:
    problems = []
    features = tuple(model.features)
    if not features or not all(type(f) is int and 1 <= f <= 4096 for f in features):
        problems.append(
            f"config.model.features={features}; expected channels of 1 to 4096 a level"
        )
    if len(features) > 8:
        problems.append(
            f"config.model.features has {len(features)} levels; expected at most 8"
        )
    if model.name == "fcn":
        for key, default in UNET_ONLY.items():
            if model[key] != default:
                problems.append(
                    f"config.model.{key}={model[key]}: an fcn has no such choice; leave it {default}"
                )
    return problems
