"""The settings of a config: their defaults, choices and ranges, and which of them change no weights."""

import functools
import importlib.util
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from saltjax.system.errors import InputError

# What computes a trained network.
ENGINES = ("jax", "openvino")
CHOICES = {
    "data.resize": ("nearest", "bilinear", "pad"),
    "data.split_by": ("random", "coverage", "group"),
    "data.augment": ("none", "flip", "affine"),
    "data.direction": ("inline", "crossline", "both"),
    "model.name": ("unet", "fcn"),
    "model.downsample": ("max_pool", "strided"),
    "model.upsample": ("transposed", "bilinear"),
    "model.norm": ("none", "batch", "group"),
    "model.init": ("he_normal", "torch_default"),
    "train.dtype": ("float32", "bfloat16"),
    "train.matmul_precision": ("float32", "tensorfloat32"),
    "optim.schedule": ("plateau", "cosine"),
    "checkpoint.select": ("val_loss", "kaggle_map", "last"),
    "eval.threshold_metric": ("f1", "kaggle_map", "iou"),
    "predict.normalize": ("clip", "minmax", "none"),
    "predict.direction": ("inline", "crossline", "both"),
}
# (minimum, maximum, whether the maximum is allowed)
RANGES = {
    "seed": (0, 2**31, False),
    "data.seed": (0, 2**31, False),
    "data.image_size": (8, 4096, True),
    "data.synthetic_count": (1, 1_000_000, True),
    "data.folds": (0, 1000, True),
    "data.fold": (0, 1000, False),
    "data.unlabelled": (-(2**31), 2**31, False),
    "data.tile": (8, 4096, True),
    "data.gap": (0, 100_000, True),
    "data.patches": (1, 10_000_000, True),
    "data.salt_share": (0, 1, True),
    "data.context": (0, 16, True),
    "model.dropout": (0, 1, False),
    "train.epochs": (1, 1_000_000, True),
    "train.batch_size": (1, 65536, True),
    "train.cpu_devices": (0, 1024, True),
    "train.ema": (0, 1, False),
    "loss.lovasz": (0, 1000, True),
    "optim.weight_decay": (0, 1, True),
    "optim.warmup_epochs": (0, 1_000_000, True),
    "checkpoint.every_minutes": (0, 1_000_000, True),
    "plateau.patience": (0, 1_000_000, True),
    "early_stopping.patience": (0, 1_000_000, True),
    "eval.min_area": (-1, 1_000_000_000, False),
}
# Those that must be greater than 0, and their maximum.
POSITIVE = {"optim.learning_rate": 1000.0, "plateau.factor": 1.0}
_TYPES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a string",
    tuple: "a tuple",
}
# What a run reads from: it may resume under another path that leads to the same tiles, splits and
# initial weights.
PATHS = ("data.dir", "data.groups", "data.volume", "data.labels", "train.init_from")
# The one of them that may hold two, joined by a comma: picks of top and base of salt.
_PAIR = "data.labels"
# The last integer of four bytes in the 240 of a trace header begins at 237.
HEADER_BYTES = (
    "expected the first bytes of two numbers of four bytes in the trace header, 1 to 237, such as "
    "189,193"
)
UNET_ONLY = {"downsample": "max_pool", "skip": True, "upsample": "transposed"}
# Settings that change no weights but by rounding: "eval." only the test of a run, "predict." only
# inference, unless the run is on a volume, see `free`.
_FREE = (
    "train.cpu_devices",
    "train.compile_cache",
    "train.tensorboard",
    "checkpoint.every_minutes",
    "data.header_bytes",
    "predict.normalize",
    "predict.direction",
    "eval.threshold_metric",
    "eval.min_area",
    "eval.tta",
)


def free(on_volume: bool) -> tuple[str, ...]:
    """Returns the keys of the settings with other values of which a run may resume.

    They change no weights but by rounding: on a volume predict.normalize is none of them, since it
    scales the patches.
    """
    return tuple(k for k in _FREE if not (on_volume and k == "predict.normalize"))


def configs_folder() -> pathlib.Path:
    """Returns the directory of the config files: in an installed package, or beside it."""
    package = pathlib.Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def default_path() -> pathlib.Path:
    """Returns the path of configs/default.py, which has every setting."""
    return configs_folder() / "default.py"


@functools.cache
def defaults() -> dict[str, Any]:
    """Returns every setting of configs/default.py by its dotted key."""
    spec = importlib.util.spec_from_file_location(
        "saltjax_default_config", default_path()
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return flatten(module.get_config().to_dict())


def check(config: ConfigDict) -> None:
    """Checks keys, types and values of a complete config.

    Raises:
      InputError: naming every setting that is missing or unknown; or, if there is none, every
        setting of another type, out of its range or not among its choices.
    """
    expected, flat = defaults(), flatten(config.to_dict())
    if flat.keys() != expected.keys():
        lacking = ", ".join(sorted(expected.keys() - flat.keys())) or "none"
        unknown = ", ".join(sorted(flat.keys() - expected.keys())) or "none"
        raise InputError(
            f"missing settings: {lacking}; unknown settings: {unknown}; build the config on "
            f"{default_path()}"
        )
    problems = _check_values(flat)
    lines = list(problems.values())
    if not any(key.startswith("data.") for key in problems):
        lines += _check_split(config.data) + _check_volume(config.data)
        if not are_header_bytes(config.data.header_bytes):
            lines.append(
                f"config.data.header_bytes={tuple(config.data.header_bytes)}; {HEADER_BYTES}"
            )
    if not problems.keys() & {"optim.schedule", "optim.warmup_epochs", "train.epochs"}:
        lines += _check_schedule(config.optim, config.train.epochs)
    if not any(key.startswith("model.") for key in problems):
        lines += _check_model(config.model)
    if flat["train.init_partial"] is True and flat["train.init_from"] == "":
        lines.append(
            "config.train.init_partial=True without config.train.init_from; expected the network "
            "to take weights from"
        )
    if lines:
        raise InputError("\n".join(lines))


def _check_values(flat: dict[str, Any]) -> dict[str, str]:
    """Returns a line for each setting of another type, out of its range or not among its choices.

    `flat` holds every setting by its dotted key.
    """
    problems = {
        key: f"config.{key}={flat[key]!r}; expected {_TYPES[type(default)]}, such as {default!r}"
        for key, default in defaults().items()
        if not same_type(flat[key], default)
    }
    valid = {key: value for key, value in flat.items() if key not in problems}
    for key, choices in CHOICES.items():
        if key in valid and valid[key] not in choices:
            problems[key] = (
                f"config.{key}={flat[key]!r}; expected one of {', '.join(choices)}"
            )
    for key, (low, high, closed) in RANGES.items():
        if key not in valid:
            continue
        value = valid[key]
        if not (low <= value < high or (closed and value == high)):
            bound = f"at most {high}" if closed else f"less than {high}"
            problems[key] = f"config.{key}={value}; expected at least {low} and {bound}"
    for key, greatest in POSITIVE.items():
        if key in valid and not 0 < valid[key] <= greatest:
            problems[key] = (
                f"config.{key}={flat[key]}; expected more than 0 and at most {greatest}"
            )
    return problems


def same_type(value: Any, default: Any) -> bool:
    """Returns whether a setting has the type of its default; an int is valid for a float."""
    if isinstance(default, float):
        return type(value) in (int, float)
    if isinstance(default, tuple):
        return isinstance(value, (tuple, list))
    return type(value) is type(default)


def are_header_bytes(found: Sequence[Any]) -> bool:
    """Returns whether they are HEADER_BYTES."""
    known = all(type(byte) is int and 1 <= byte <= 237 for byte in found)
    return known and len(found) == 2 and abs(found[0] - found[1]) >= 4


def _check_split(settings: ConfigDict) -> list[str]:
    problems = []
    if settings.folds == 1 or settings.fold >= max(settings.folds, 1):
        problems.append(
            f"config.data.fold={settings.fold} of config.data.folds={settings.folds}; expected "
            "at least 2 folds, numbered from 0, or neither"
        )
    if settings.split_by == "group" and not settings.groups:
        problems.append(
            "config.data.split_by=group without config.data.groups; expected a CSV file of groups"
        )
    return problems + _check_shares(settings.split)


def _check_volume(settings: ConfigDict) -> list[str]:
    volume, labels, problems = settings.volume, settings.labels, []
    if volume and settings.dir:
        problems.append(
            f"config.data.volume={volume} and config.data.dir={settings.dir}; expected one of them: "
            "a volume, or a directory of tiles"
        )
    if bool(volume) != bool(labels):
        given, lacking = ("volume", "labels") if volume else ("labels", "volume")
        problems.append(
            f"config.data.{given}={settings[given]} without config.data.{lacking}; expected a volume "
            "of amplitudes and its labels"
        )
    if volume and volume == labels:
        problems.append(
            f"config.data.volume and config.data.labels are both {volume}; expected amplitudes, and the "
            "labels of their salt"
        )
    parts = labels.split(",")
    if len(parts) > 2 or (labels and not all(part.strip() for part in parts)):
        problems.append(
            f"config.data.labels={labels}; expected a volume, or two files of picks, top and base of "
            "salt, joined by a comma"
        )
    for key in ("groups", "split_by") if volume else ():
        default = defaults()[f"data.{key}"]
        if settings[key] != default:
            problems.append(
                f"config.data.{key}={settings[key]} with config.data.volume, which is split into "
                f"blocks of inlines; expected {default!r}"
            )
    if settings.context and not volume:
        problems.append(
            f"config.data.context={settings.context} without config.data.volume: tiles have no "
            "neighbouring lines; expected 0"
        )
    if settings.unlabelled == 0 and not volume:
        problems.append(
            "config.data.unlabelled=0, which is no salt in masks; expected another value, or -1 for none"
        )
    salt = tuple(settings.salt)
    if not salt or not all(type(value) is int for value in salt):
        problems.append(
            f"config.data.salt={salt}; expected the whole numbers that are salt in the labels, such "
            "as (1,)"
        )
    elif volume and settings.unlabelled in salt:
        problems.append(
            f"config.data.unlabelled={settings.unlabelled} is in config.data.salt={salt}; expected "
            "another value"
        )
    return problems


def _check_shares(split) -> list[str]:
    found = f"config.data.split={tuple(split)}; expected"
    if len(split) != 3 or not all(type(x) in (int, float) and x > 0 for x in split):
        return [f"{found} three positive shares: training, validation, test"]
    if abs(sum(split) - 1) > 1e-6:
        return [f"{found} shares that sum to 1, not {sum(split):g}"]
    return []


def _check_schedule(optim: ConfigDict, epochs: int) -> list[str]:
    warmup = optim.warmup_epochs
    if optim.schedule != "cosine" and warmup > 0:
        return [
            f"config.optim.warmup_epochs={warmup} with config.optim.schedule={optim.schedule}; "
            "only cosine has a warm-up: expected 0"
        ]
    if optim.schedule == "cosine" and warmup >= epochs:
        return [
            f"config.optim.warmup_epochs={warmup} of config.train.epochs={epochs}; expected fewer epochs of "
            "warm-up than epochs: give a smaller config.optim.warmup_epochs, or more epochs"
        ]
    return []


def _check_model(model: ConfigDict) -> list[str]:
    problems = []
    features = tuple(model.features)
    if not features or not all(type(f) is int and 1 <= f <= 4096 for f in features):
        problems.append(
            f"config.model.features={features}; expected 1 to 4096 channels for each level"
        )
    if len(features) > 8:
        problems.append(
            f"config.model.features has {len(features)} levels; expected at most 8"
        )
    if model.name == "fcn":
        for key, default in UNET_ONLY.items():
            if model[key] != default:
                problems.append(
                    f"config.model.{key}={model[key]}: model.name=fcn has no such option; "
                    f"expected {default}"
                )
    return problems


def paths(key: str, value: str) -> list[str]:
    """Returns the paths that a setting holds.

    >>> paths("data.labels", "top.txt, base.txt"), paths("data.dir", "a,b")
    (['top.txt', 'base.txt'], ['a,b'])
    """
    return [path.strip() for path in value.split(",")] if key == _PAIR else [value]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {"a.b": value} for {"a": {"b": value}}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def unflatten(flat: dict[str, Any]) -> dict[str, Any]:
    """Returns {"a": {"b": value}} for {"a.b": value}: the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = value
    return tree


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns (dotted key, old value, new value) for each setting that differs."""
    a, b = flatten(old), flatten(new)
    keys = sorted(a.keys() | b.keys())
    return [(k, a.get(k), b.get(k)) for k in keys if a.get(k) != b.get(k)]


def value_text(value: Any) -> str:
    """Returns a setting as text for names and tables: (4, 8) is "4,8"."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
