"""The completed runs of a directory."""

import csv
import dataclasses
import pathlib
from collections.abc import Sequence
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
      content, units: the hashes of tiles and of groups in data.json; "" if they cannot be read.
    """

    path: pathlib.Path
    name: str
    config: dict[str, Any]
    result: Result
    best: dict[str, float]
    content: str
    units: str


def read_runs(folder: pathlib.Path) -> list[Run]:
    """Returns the completed runs of a directory, by data, then by their validation score.

    The score is that of `ranking_score`, the best first. Other directories are left out, with a
    message.

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
            console.say(f"{name}: left out ({error})")
    if not runs and (folder / "result.json").exists():
        raise InputError(
            f"--workdir={folder} is a run; expected the directory that holds the runs, such as "
            f"{folder.parent}"
        )
    if not runs:
        raise InputError(
            f"--workdir={folder}: no completed run in it; expected directories with a result.json"
        )
    name = ranking_score(runs)

    def rank(run: Run) -> tuple[str, float]:
        chosen = run.result.threshold
        score = chosen.f1 if name == "f1" else chosen.score
        return run.result.data.label, -score

    return sorted(_with_one_path(runs), key=rank)


def ranking_score(runs: Sequence[Run]) -> str:
    """Returns the name of the validation score that ranks runs, trained with whatever loss.

    It is the one that all their thresholds were chosen by; if they were chosen by several, "f1".
    """
    names = {run.result.threshold.metric for run in runs}
    return names.pop() if len(names) == 1 else "f1"


def _read_run(path: pathlib.Path, name: str) -> Run:
    """Returns a run; raises InputError if its config or result is damaged."""
    config = saved_config.read_json(path)
    for section in ("data", "model", "train", "optim"):
        if not isinstance(config.get(section), dict):
            raise files.damaged(path / "config.json", f"no settings {section}.*")
    folder = config["data"].get("dir", "")
    if not isinstance(folder, str):
        raise files.damaged(path / "config.json", f"data.dir {folder!r}")
    if folder:
        config["data"].pop("synthetic_count", None)  # without effect
    found = result.read(path)
    try:
        facts = files.read_json(path / "data.json")
    except InputError:
        facts = {}
    content, units = (
        str(facts.get(key, "")) for key in ("content_sha256", "units_sha256")
    )
    best = _best_epoch(path / "metrics.csv", found.best_epoch)
    return Run(path, name, settings.flatten(config), found, best, content, units)


def _with_one_path(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs with one path for the same tiles, and for the same groups of them.

    They may have moved between two runs, or be given by another spelling: that is no difference.
    """
    folders: dict[str, str] = {}
    groups: dict[tuple[str, str], str] = {}
    unified = []
    for run in runs:
        config, data = dict(run.config), run.result.data
        if run.content and config.get("data.dir"):
            folder = folders.setdefault(run.content, config["data.dir"])
            config["data.dir"], data = folder, dataclasses.replace(data, dir=folder)
            if run.units and config.get("data.groups"):
                config["data.groups"] = groups.setdefault(
                    (run.content, run.units), config["data.groups"]
                )
        found = dataclasses.replace(run.result, data=data)
        unified.append(dataclasses.replace(run, config=config, result=found))
    return unified


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
