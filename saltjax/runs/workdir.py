"""The run directory: its status and deletion, and metrics.csv."""

import csv
import enum
import json
import math
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from saltjax.runs import replacement, result, saved_config, settings
from saltjax.system import console, files
from saltjax.system.errors import InputError, reading

METRICS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
)
# config.json is deleted last: without it the other files are not recognized as a run.
RUN_FILES = (
    "env.json",
    "data.json",
    "metrics.csv",
    "result.json",
    "test_outputs.npz",
    "evaluation.json",
    "report.html",
    "config.json",
)
RUN_FOLDERS = ("checkpoints", "plots", replacement.STAGE, "evaluation", "tensorboard")


class Status(enum.Enum):
    """What a directory holds: see `status`."""

    NEW = "no run"
    RESUME = "a run without a result"
    OUTDATED = "a result of fewer epochs, or under other settings of the test"
    FINISHED = "a result"


def status(workdir: pathlib.Path, config: dict[str, Any] | None = None) -> Status:
    """Returns what the directory holds, for a run of that config.

    Args:
      workdir: the run's directory, which need not exist.
      config: the complete config. A run of another one is refused, apart from `settings.free`,
        `settings.PATHS` (see `check_data`) and, but for the schedule "cosine", train.epochs (see
        `progress.check_epochs`). If settings of the test differ, or there are to be more epochs than
        the result has and training did not stop early, the result is to be replaced (OUTDATED). None
        accepts any run.

    Raises:
      InputError: if the run has another config, naming what differs, or more epochs; or its
        config.json is damaged or, beside a result.json, missing; or the directory cannot be read.
    """
    with reading(workdir):
        names = os.listdir(workdir) if workdir.is_dir() else []
    finished = "result.json" in names
    if "config.json" not in names:
        if finished:
            raise InputError(
                f"{workdir} has a result.json but no config.json, so the settings of that result "
                "are unknown; choose another --workdir"
            )
        return Status.NEW
    before = saved_config.read_json(workdir)
    if config is not None:
        # As it is read from config.json: tuples are lists.
        now = json.loads(json.dumps(config))
        _refuse_other(workdir, before, now)
        if finished and _tested_under(before) != _tested_under(now):
            return Status.OUTDATED
        epochs = now["train"]["epochs"]
        if finished and epochs != before.get("train", {}).get("epochs"):
            return _status_of_epochs(workdir, epochs)
    return Status.FINISHED if finished else Status.RESUME


def _tested_under(config: dict[str, Any]) -> tuple[Any, bool]:
    """Returns what a config says of the test: "eval", and whether it resamples groups of tiles."""
    return config.get("eval"), bool(settings.flatten(config).get("data.groups"))


def _status_of_epochs(workdir: pathlib.Path, epochs: int) -> Status:
    """Returns what a finished run is for another number of epochs; see `status`."""
    found = result.read(workdir)
    if epochs < found.epochs:
        raise InputError(
            f"--workdir={workdir} holds a run of {found.epochs} epochs; expected at least as many, "
            f"not config.train.epochs={epochs}: choose another --workdir, or start again with "
            "--overwrite"
        )
    if found.stopped_early:
        console.say(
            f"Training stopped early after epoch {found.epochs}: train.epochs={epochs} changes "
            "nothing."
        )
        return Status.FINISHED
    return Status.OUTDATED if epochs > found.epochs else Status.FINISHED


def _refuse_other(
    workdir: pathlib.Path, before: dict[str, Any], now: dict[str, Any]
) -> None:
    """Raises InputError if a run of the first config cannot go on with the second."""
    unknown = sorted(settings.flatten(before).keys() - settings.flatten(now).keys())
    if unknown:
        raise InputError(
            f"{workdir / 'config.json'} has settings that this version does not know: "
            f"{', '.join(unknown)}; use the newer version that wrote it, or choose another "
            "--workdir"
        )
    flat = [settings.flatten(config) for config in (before, now)]
    on_volume = any(config.get("data.volume") for config in flat)
    allowed = set(settings.free(on_volume))
    growing = flat[1]["optim.schedule"] != "cosine"  # see `progress.check_epochs`
    if growing and type(flat[0].get("train.epochs")) is int:
        allowed.add("train.epochs")
    notes = {}
    if not growing:
        notes["train.epochs"] = ", on which the rates of optim.schedule=cosine depend"
    # Paths may differ if what they lead to is known; built-in sections have none.
    if (workdir / "data.json").exists():
        allowed |= {key for key, old, new in moved(before, now) if old and new}
    # Groups that do not divide the tiles are only resampled by the intervals of the test.
    if "group" not in [config.get("data.split_by") for config in flat]:
        allowed.add("data.groups")
    lines = [
        f"  {key}: {old!r} there, {new!r} now{notes.get(key, '')}"
        for key, old, new in settings.differences(before, now)
        if key not in allowed
    ]
    if lines:
        raise InputError(
            f"--workdir={workdir} holds a run of another config:\n"
            + "\n".join(lines)
            + "\nchoose another --workdir, or start again with --overwrite"
        )


def moved(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns (dotted key, old path, new path) for each of `settings.PATHS` that differs."""
    differences = settings.differences(before, now)
    return [change for change in differences if change[0] in settings.PATHS]


def elsewhere(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Returns whether one of `settings.PATHS` leads to another place, and not only by its spelling."""
    places = [
        [pathlib.Path(path).expanduser().resolve() for path in settings.paths(key, one)]
        for key, *both in moved(before, now)
        for one in both
    ]
    return places[::2] != places[1::2]


def earlier_splits(workdir: pathlib.Path) -> dict[str, list[str]] | None:
    """Returns the ids of each part of the split in data.json, None if there is none.

    Raises:
      InputError: if data.json is damaged.
    """
    path = workdir / "data.json"
    return files.read_json(path).get("splits") if path.exists() else None


def check_data(
    workdir: pathlib.Path, facts: dict[str, Any], tested: bool = True
) -> None:
    """Checks that the run in the directory, if any, has the tiles of `facts`.

    Args:
      workdir: the run's directory.
      facts: `source.Data.facts`, which are compared with data.json.
      tested: whether the run's result is kept. If it is to be tested, it may be by other groups,
        which only its intervals resample, unless the split depends on them.

    Raises:
      InputError: if content, split or groups differ, or data.json is damaged or of a newer version.
    """
    path = workdir / "data.json"
    if not path.exists():
        return
    before = files.read_json(path)
    noun, old = "tiles", "tiles"
    cause = "has the file of config.data.groups changed? Restore it"
    if "volume" in facts:
        noun, old = "patches", "volume and labels"
        cause = "are its lines numbered as before? Restore the old volume"
    if before.get("content_sha256") != facts["content_sha256"]:
        raise InputError(
            f"the data have changed since the run in {workdir} began: {before.get('tiles')} {noun}, "
            f"hash {before.get('content_sha256')} then, {facts['tiles']} {noun}, hash "
            f"{facts['content_sha256']} now; restore the old {old}, or choose another --workdir"
        )
    if _unlabelled_hash(before) not in (None, _unlabelled_hash(facts)):
        raise InputError(
            f"the volume has changed since the run in {workdir} began: amplitudes of inlines without "
            "labels, which shape patches too; restore the old volume, or choose another --workdir"
        )
    if before.get("splits") != facts["splits"]:
        raise InputError(
            f"the split has changed since the run in {workdir} began: {cause}, or choose "
            "another --workdir"
        )
    units = before.get("units_sha256", facts["units_sha256"])
    if tested and units != facts["units_sha256"]:
        raise InputError(
            f"the groups have changed since the run in {workdir} began; restore the file of "
            "config.data.groups, or choose another --workdir"
        )
    unknown = sorted(before.keys() - facts.keys())
    if unknown:
        raise InputError(
            f"{path} has keys that this version does not know: {', '.join(unknown)}; use the newer "
            "version of saltjax that wrote it"
        )


def _unlabelled_hash(facts: dict[str, Any]) -> str | None:
    """Returns the hash of a volume's unlabelled amplitudes, None of tiles and of runs without it."""
    return facts.get("volume", {}).get("unlabelled_sha256")


def delete(workdir: pathlib.Path) -> None:
    """Deletes the files of the run in a directory, config.json last, and no others.

    Raises:
      InputError: if files have a run's names but there is no config.json of a run, or if they
        cannot be deleted.
    """
    names = [name for name in (*RUN_FOLDERS, *RUN_FILES) if (workdir / name).exists()]
    # In version 0.1 `check` drew figures into the directory before a run had started in it.
    if set(names) - {"plots"} and not _is_run(workdir):
        raise InputError(
            f"--overwrite: {workdir} holds {', '.join(names)} but no config.json of a run; "
            "delete them yourself, or choose another --workdir"
        )
    try:
        for name in names:
            path = workdir / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise InputError(
            f"--overwrite: cannot delete {error.filename}: {error.strerror}"
        ) from None


def _is_run(workdir: pathlib.Path) -> bool:
    """Returns whether config.json or, if that is damaged or missing, metrics.csv is a run's."""
    try:
        config = files.read_json(workdir / "config.json")
        if {"model", "optim", "train"} <= config.keys():
            return True
    except InputError:
        pass
    try:
        with (workdir / "metrics.csv").open(encoding="utf-8") as file:
            return file.readline().rstrip("\n").split(",")[: len(METRICS)] == [*METRICS]
    except (OSError, ValueError):
        return False


def write_metrics(workdir: pathlib.Path, history: Sequence[dict[str, Any]]) -> None:
    """Writes metrics.csv, a row for each epoch."""
    more = [key for key in (history[0] if history else ()) if key not in METRICS]
    files.write_csv(workdir / "metrics.csv", [*METRICS, *more], history)


def read_metrics(workdir: pathlib.Path) -> list[dict[str, float]]:
    """Returns the rows of metrics.csv; none if there is no such file, before the first epoch.

    Raises:
      InputError: if it is damaged.
    """
    path = workdir / "metrics.csv"
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [{key: float(value) for key, value in row.items()} for row in reader]
        if not {*METRICS} <= set(reader.fieldnames or ()):
            raise ValueError(f"expected the columns {', '.join(METRICS)}")
        if not all(math.isfinite(value) for row in rows for value in row.values()):
            raise ValueError("a value is not finite")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise files.damaged(path, error) from None
    return rows
