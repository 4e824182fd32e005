"""The completed runs of a directory."""

import csv
import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from saltjax.runs import environment, result, saved_config, settings
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
      content, units: the hashes of the data and of groups in data.json; "" if they cannot be read.
      initial: the checksum of the weights that it began with; "" for random ones.
      bias: a sentence if these know its test tiles, see `InitialWeights.bias`; else "".
    """

    path: pathlib.Path
    name: str
    config: dict[str, Any]
    result: Result
    best: dict[str, float]
    content: str
    units: str
    initial: str = ""
    bias: str = ""

    @property
    def data(self) -> tuple[str, str]:
        """Where its data are and, unless they are built-in sections, their hash."""
        built_in = not (self.config.get("data.dir") or self.config.get("data.volume"))
        return self.result.data.place, "" if built_in else self.content


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
    runs, names = [], set[str]()
    for path in paths:
        name = "".join(c if c.isprintable() else "?" for c in path.name)
        while name in names:  # of another directory
            name += "~"
        names.add(name)
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

    def rank(run: Run) -> tuple[tuple[str, str], float]:
        chosen = run.result.threshold
        score = chosen.f1 if name == "f1" else chosen.score
        return run.data, -score

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
    for key, value in settings.flatten(config).items():
        default = settings.defaults().get(key)
        if default is not None and not settings.same_type(value, default):
            raise files.damaged(path / "config.json", f"{key} {value!r}")
    if config["data"].get("dir"):
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
    try:
        began = environment.initial(environment.read(path))
    except InputError:
        began = {}
    initial, bias = (str(began.get(key, "")) for key in ("weights_sha256", "bias"))
    flat = {
        # Of a path that is not UTF-8, a text that can be shown and written.
        key: value.encode(errors="replace").decode() if type(value) is str else value
        for key, value in settings.flatten(config).items()
    }
    return Run(path, name, flat, found, best, content, units, initial, bias)


def _with_one_path(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs with one path for the same data, groups or initial weights.

    They may have moved between two runs, or be given by another spelling: that is no difference.
    """
    paths: dict[tuple[str, str], str] = {}
    unified = []
    for run in runs:
        config, data = dict(run.config), run.result.data
        groups = run.content and run.units and run.content + run.units
        hashes = dict.fromkeys(("data.dir", "data.volume", "data.labels"), run.content)
        hashes |= {"data.groups": groups, "train.init_from": run.initial}
        for key, digest in hashes.items():
            if digest and config.get(key):
                config[key] = paths.setdefault((key, digest), config[key])
        place = config.get("data.dir") or config.get("data.volume")
        if place:
            data = dataclasses.replace(data, dir=place)
        found = dataclasses.replace(run.result, data=data)
        unified.append(dataclasses.replace(run, config=config, result=found))
    return unified


def _best_epoch(path: pathlib.Path, epoch: int) -> dict[str, float]:
    """Returns the row of an epoch in metrics.csv; {} if it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if int(row["epoch"]) == epoch:
                    keys = ("val_loss", "val_accuracy")
                    found = {key: float(row[key]) for key in keys}
                    if all(map(math.isfinite, found.values())):
                        return found
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        pass
    console.say(f"{path}: no epoch {epoch} in it, so the validation loss is unknown")
    return {}
