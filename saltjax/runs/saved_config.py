"""config.json of a run: its version, and what it means where a later version has more settings."""

import copy
import pathlib
from typing import Any

from ml_collections import ConfigDict

from saltjax.runs import settings
from saltjax.system import console, files
from saltjax.system.errors import InputError

# The version of config.json; files without one are of version 0. A release with new settings raises it,
# and ADDED says what each of them means for the runs that were written before: they load, resume and
# are tested under that value, which is as JSON has it. A function takes the run's other settings by
# their dotted keys.
SCHEMA = 4
ADDED: dict[int, dict[str, Any]] = {
    1: {
        "model.init": "he_normal",
        "train.matmul_precision": "float32",
        "optim.decoupled": True,
        # One seed was of everything.
        "data.seed": lambda flat: flat.get("seed", 0),
        "data.header_bytes": [189, 193],
    },
    2: {
        "data.augment": "none",
        "train.ema": 0.0,
        "loss.lovasz": 0.0,
        "optim.schedule": "plateau",
        "optim.warmup_epochs": 0,
        "checkpoint.select": "val_loss",
        "train.init_from": "",
        "train.init_partial": False,
    },
    3: {"train.tensorboard": False},
    4: {
        "data.volume": "",
        "data.labels": "",
        "data.salt": [1],
        "data.unlabelled": -1,
        "data.tile": 128,
        "data.direction": "inline",
        "data.gap": 8,
        "data.patches": 4000,
        "data.salt_share": 0.5,
        "data.context": 0,
    },
}


def read(workdir: pathlib.Path) -> ConfigDict:
    """Returns the checked config of a run.

    Raises:
      InputError: if config.json is missing, damaged or of another version.
    """
    path = workdir / "config.json"
    try:
        return checked(read_json(workdir))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if str(error).startswith(str(path)):
            raise
        raise InputError(f"{path}: damaged, or of another version: {error}") from None


def checked(tree: dict[str, Any]) -> ConfigDict:
    """Returns the config of a tree of today's settings that was read from JSON.

    Raises:
      AttributeError, KeyError, TypeError, ValueError: if it is none.
    """
    config = ConfigDict(_with_tuples(tree))
    settings.check(config)
    return config


def write(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Writes config.json of a run: its version and every setting.

    Raises:
      InputError: if it cannot be written.
    """
    files.write_json(workdir / "config.json", with_version(config))


def with_version(config: ConfigDict) -> dict[str, Any]:
    """Returns what config.json holds: its version and every setting."""
    return {"schema": SCHEMA} | config.to_dict()


def read_json(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns config.json of a run, unchecked, with today's settings; see `upgrade`.

    The settings "eval." are those that its result was tested under, if result.json says so: it is
    replaced before config.json is, and the program may be killed in between.

    Raises:
      InputError: if it is missing or damaged, or a newer version wrote it.
    """
    path = workdir / "config.json"
    tree = files.read_json(path)
    version = pop_version(tree, path)
    tested = _tested_settings(workdir)
    if tested and isinstance(tree.get("eval"), dict):
        tree["eval"] |= tested
    return upgrade(tree, version)


def pop_version(tree: dict[str, Any], path: pathlib.Path) -> int:
    """Removes the version from what config.json, or another file at `path`, holds; returns it.

    Raises:
      InputError: if a newer version of saltjax wrote it.
    """
    version = tree.pop("schema", 0)
    if type(version) is not int or not 0 <= version <= SCHEMA:
        raise InputError(
            f"{path} has version {version!r}; expected at most {SCHEMA}: use the newer version of "
            "saltjax that wrote it"
        )
    return version


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
    before = settings.flatten(tree)
    for added in range(version + 1, SCHEMA + 1):
        for key, value in ADDED[added].items():
            section, _, name = key.rpartition(".")
            found = tree.setdefault(section, {}) if section else tree
            if isinstance(found, dict) and name not in found:
                found[name] = value(before) if callable(value) else value
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
    run = settings.flatten(_with_tuples(read_json(workdir)))
    now = settings.flatten(config.to_dict())
    adopted = {}
    for key, value in ((k, v) for added in ADDED.values() for k, v in added.items()):
        meaning = _with_tuples(value(run) if callable(value) else value)
        if run.get(key) == meaning != now[key] == settings.defaults()[key]:
            adopted[key] = meaning
            console.say(
                f"{key}={settings.value_text(meaning)}, as in the run that began here"
            )
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(adopted)
    return config


def _with_tuples(tree: Any) -> Any:
    """Returns a tree read from JSON with its lists as tuples, as in a config."""
    if isinstance(tree, dict):
        return {key: _with_tuples(value) for key, value in tree.items()}
    return tuple(tree) if isinstance(tree, list) else tree
