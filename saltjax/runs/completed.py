"""The completed runs of a directory."""

import csv
import dataclasses
import math
import pathlib
from typing import Any

from saltjax.runs import result, saved_config, settings
from saltjax.runs import workdir as run_directory
from saltjax.runs.result import Result
from saltjax.runs.workdir import Status
from saltjax.system import console, files
from saltjax.system.errors import InputError


@dataclasses.dataclass(frozen=True)
class Run:
    """A completed run.

    Attributes:
      path: of its directory.
      name: of its directory, with printable characters only.
      config: every setting by its dotted key.
      result: its result.
      best: `val_loss` and `val_accuracy` of the best epoch, from metrics.csv; {} if that cannot be
        read.
      content: the content hash in data.json; "" if that cannot be read.
    """

    path: pathlib.Path
    name: str
    config: dict[str, Any]
    result: Result
    best: dict[str, float]
    content: str


def read_runs(folder: pathlib.Path) -> list[Run]:
    """Returns the completed runs of a directory, ordered by data, then by validation loss.

    Others are left out, with a message.

    Raises:
      InputError: if there is none.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"--workdir={folder}: cannot list it ({error.strerror}); expected the directory that "
            "holds the runs"
        ) from None
    runs = []
    for path in paths:
        name = "".join(c if c.isprintable() else "?" for c in path.name)
        try:
            status = run_directory.status(path)
            if status is Status.FINISHED:
                runs.append(_read_run(path, name))
            elif status is Status.RESUME:
                console.say(f"{name}: not complete yet, left out")
        except InputError as error:
            console.say(f"{name}: left out, its files are damaged ({error})")
    if not runs and (folder / "result.json").exists():
        raise InputError(
            f"--workdir={folder} is a run; expected the directory that holds the runs, such as "
            f"{folder.parent}"
        )
    if not runs:
        raise InputError(
            f"--workdir={folder}: no completed run in it; expected directories with a result.json"
        )
    return sorted(
        runs,
        key=lambda run: (run.result.data.label, run.best.get("val_loss", math.inf)),
    )


def _read_run(path: pathlib.Path, name: str) -> Run:
    """Returns a run; raises InputError if its config or result is damaged."""
    config = saved_config.read_json(path)
    for section in ("data", "model", "train", "optim"):
        if not isinstance(config.get(section), dict):
            raise files.damaged(path / "config.json", f"no settings {section}.*")
    if config["data"].get("dir"):
        config["data"].pop("synthetic_count", None)  # without effect
    found = result.read(path)
    try:
        content = str(files.read_json(path / "data.json").get("content_sha256", ""))
    except InputError:
        content = ""
    best = _best_epoch(path / "metrics.csv", found.best_epoch)
    return Run(path, name, settings.flatten(config), found, best, content)


def _best_epoch(path: pathlib.Path, epoch: int) -> dict[str, float]:
    """Returns the row of an epoch in metrics.csv; {} if it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if int(row["epoch"]) == epoch:
                    return {
                        key: float(row[key]) for key in ("val_loss", "val_accuracy")
                    }
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        pass
    console.say(f"{path}: no epoch {epoch} in it, so the validation loss is unknown")
    return {}
