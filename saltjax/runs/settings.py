"""Settings: their defaults, the checks of their values, and config.json of a run."""

import copy
import functools
import importlib.util
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from saltjax.system import console, files
from saltjax.system.errors import InputError

CHOICES = {
    "data.resize": ("nearest", "bilinear", "pad"),
    "data.split_by": ("random", "coverage", "group"),
    "model.name": ("unet", "fcn"),
    "model.downsample": ("max_pool", "strided"),
    "model.upsample": ("transposed", "bilinear"),
    "model.norm": ("none", "batch", "group"),
    "model.init": ("he_normal", "torch_default"),
    "train.dtype": ("float32", "bfloat16"),
    "train.matmul_precision": ("float32", "tensorfloat32"),
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
    "model.dropout": (0, 1, False),
    "train.epochs": (1, 1_000_000, True),
    "train.batch_size": (1, 65536, True),
    "train.cpu_devices": (0, 1024, True),
    "optim.weight_decay": (0, 1, True),
    "checkpoint.every_minutes": (0, 1_000_000, True),
    "plateau.patience": (0, 1_000_000, True),
    "early_stopping.patience": (1, 1_000_000, True),
    "eval.min_area": (-1, 1_000_000_000, False),
}
POSITIVE = {"optim.learning_rate": 1000.0, "plateau.factor": 1.0}
# The version of config.json. A new setting raises it, and ADDED says what the setting means for the
# runs that were written before it: they load, resume and are tested under that value. A function
# takes the run's other settings by their dotted keys. Files without a version are of version 0.
SCHEMA = 1
ADDED: dict[int, dict[str, Any]] = {
    1: {
        "model.init": "he_normal",
        "train.matmul_precision": "float32",
        "optim.decoupled": True,
        # One seed was of everything.
        "data.seed": lambda flat: flat.get("seed", 0),
        "data.header_bytes": (189, 193),
    },
}
# What a run reads from: it may resume under another path that leads to the same tiles and splits.
PATHS = ("data.dir", "data.groups")
# The last integer of four bytes in the 240 of a trace header begins at 237.
HEADER_BYTES = (
    "expected two different bytes of the trace header, 1 to 237, such as 189,193"
)
UNET_ONLY = {"downsample": "max_pool", "skip": True, "upsample": "transposed"}
# A run may resume with other values of these. They change no weights but by rounding: "eval." only
# the test of the run, "predict." only inference.
FREE = (
    "train.cpu_devices",
    "train.compile_cache",
    "checkpoint.every_minutes",
    "data.header_bytes",
    "predict.normalize",
    "predict.direction",
    "eval.threshold_metric",
    "eval.min_area",
    "eval.tta",
)


def configs_folder() -> pathlib.Path:
    """Returns the directory of the config files: in an installed package, or beside it."""
    package = pathlib.Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


@functools.cache
def defaults() -> dict[str, Any]:
    """Returns every setting of configs/default.py by its dotted key."""
    path = configs_folder() / "default.py"
    spec = importlib.util.spec_from_file_location("saltjax_default_config", path)
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
            "configs/default.py"
        )
    problems = {
        key: f"config.{key}={flat[key]!r}; expected {_TYPES[type(default)]}, such as {default!r}"
        for key, default in expected.items()
        if not _same_type(flat[key], default)
    }
    valid = {key: value for key, value in flat.items() if key not in problems}
    for key, choices in CHOICES.items():
        if key in valid and valid[key] not in choices:
            problems[key] = (
                f"config.{key}={flat[key]!r}; expected one of {', '.join(choices)}"
            )
    for key, (low, high, closed) in RANGES.items():
        if key in valid and not (low <= valid[key] < high + closed):
            bound = f"at most {high}" if closed else f"less than {high}"
            problems[key] = (
                f"config.{key}={flat[key]}; expected at least {low} and {bound}"
            )
    for key, greatest in POSITIVE.items():
        if key in valid and not 0 < valid[key] <= greatest:
            problems[key] = (
                f"config.{key}={flat[key]}; expected more than 0 and at most {greatest}"
            )
    lines = list(problems.values())
    if not any(key.startswith("data.") for key in problems):
        lines += _check_split(config.data)
        if not are_header_bytes(config.data.header_bytes):
            lines.append(
                f"config.data.header_bytes={tuple(config.data.header_bytes)}; {HEADER_BYTES}"
            )
    if not any(key.startswith("model.") for key in problems):
        lines += _check_model(config.model)
    if lines:
        raise InputError("\n".join(lines))


_TYPES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a string",
    tuple: "a tuple",
}


def _same_type(value: Any, default: Any) -> bool:
    """Returns whether a setting has the type of its default; an int is valid for a float."""
    if isinstance(default, float):
        return type(value) in (int, float)
    if isinstance(default, tuple):
        return isinstance(value, (tuple, list))
    return type(value) is type(default)


def are_header_bytes(found: Sequence[Any]) -> bool:
    """Returns whether they are HEADER_BYTES."""
    known = all(type(byte) is int and 1 <= byte <= 237 for byte in found)
    return known and len(found) == 2 and found[0] != found[1]


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


def read(workdir: pathlib.Path) -> ConfigDict:
    """Returns the checked config of a run.

    Raises:
      InputError: if config.json is missing, damaged or of another version.
    """
    path = workdir / "config.json"
    try:
        config = ConfigDict(_with_tuples(read_json(workdir)))
        check(config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if str(error).startswith(str(path)):
            raise
        raise InputError(f"{path}: damaged, or of another version: {error}") from None
    return config


def write(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Writes config.json of a run: its version and every setting.

    Raises:
      InputError: if it cannot be written.
    """
    tree = {"schema": SCHEMA} | config.to_dict()
    files.write_json(workdir / "config.json", tree)


def read_json(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns config.json of a run, unchecked, with today's settings; see `upgrade`.

    The settings "eval." are those that its result was tested under, if result.json says so: it is
    replaced before config.json is, and the program may be killed in between.

    Raises:
      InputError: if it is missing or damaged, or a newer version wrote it.
    """
    path = workdir / "config.json"
    tree = files.read_json(path)
    version = tree.pop("schema", 0)
    if type(version) is not int or not 0 <= version <= SCHEMA:
        raise InputError(
            f"{path} has version {version!r}; expected at most {SCHEMA}: use the newer version of "
            "saltjax that wrote it"
        )
    tested = _tested_settings(workdir)
    if tested and isinstance(tree.get("eval"), dict):
        tree["eval"] |= tested
    return upgrade(tree, version)


def _tested_settings(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns the settings "eval." of a run's result.json; none if it holds none."""
    try:
        found = files.read_json(workdir / "result.json").get("eval")
    except InputError:  # reported by whoever reads the result itself
        return {}
    return found if isinstance(found, dict) else {}


def upgrade(tree: dict[str, Any], version: int) -> dict[str, Any]:
    """Returns the settings of an earlier version of config.json with those of ADDED.

    Before version 1 `eval.min_area` was a string.
    """
    tree = copy.deepcopy(tree)
    evaluation = tree.get("eval")
    if isinstance(evaluation, dict) and isinstance(evaluation.get("min_area"), str):
        area = evaluation["min_area"]
        if area == "auto" or (area.isascii() and area.isdecimal() and len(area) < 10):
            evaluation["min_area"] = -1 if area == "auto" else int(area)
    before = flatten(tree)
    for added in range(version + 1, SCHEMA + 1):
        for key, value in ADDED[added].items():
            section, _, name = key.rpartition(".")
            settings = tree.get(section) if section else tree
            if isinstance(settings, dict) and name not in settings:
                settings[name] = value(before) if callable(value) else value
    return tree


def adopt_added(workdir: pathlib.Path, config: ConfigDict) -> ConfigDict:
    """Returns the config with which the same command continues a run that older settings began.

    Where the config has the default of a setting of ADDED, and the run what the setting means for
    older runs, the run's value is taken, with a message; without a run, the config is returned.

    Raises:
      InputError: if config.json is damaged, or a newer version wrote it.
    """
    if not (workdir / "config.json").exists():
        return config
    run, now = flatten(read_json(workdir)), flatten(config.to_dict())
    adopted = {}
    for key, value in ((k, v) for added in ADDED.values() for k, v in added.items()):
        meaning = value(run) if callable(value) else value
        if run.get(key) == meaning != now[key] == defaults()[key]:
            adopted[key] = meaning
            console.say(f"{key}={value_text(meaning)}, as in the run that began here")
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(adopted)
    return config


def _with_tuples(tree: Any) -> Any:
    """Returns a tree read from JSON with its lists as tuples, as in a config."""
    if isinstance(tree, dict):
        return {key: _with_tuples(value) for key, value in tree.items()}
    return tuple(tree) if isinstance(tree, list) else tree


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {"a.b": value} for {"a": {"b": value}}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns (dotted key, old value, new value) for each setting that differs."""
    a, b = flatten(old), flatten(new)
    keys = sorted(a.keys() | b.keys())
    return [(k, a.get(k), b.get(k)) for k in keys if a.get(k) != b.get(k)]


def value_text(value: Any) -> str:
    """Returns a setting as text for names and tables: (4, 8) is "4,8"."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
