"""--mode=compare: a table and a figure of all runs in a directory."""

import collections
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from saltjax.reporting import figures, tables
from saltjax.runs import result, settings
from saltjax.runs import workdir as run_directory
from saltjax.runs.result import Result
from saltjax.runs.workdir import Status
from saltjax.system import console, files, locks
from saltjax.system.errors import InputError, writing

# By title: the function that takes its value from a result, and its format.
COLUMNS: dict[str, tuple[Callable[[Result], Any], str]] = {
    "parameters": (lambda r: r.parameters, "{:,}"),
    "epochs": (lambda r: r.epochs, "{}"),
    "seconds": (lambda r: r.train_seconds, "{:.0f}"),
    "test loss": (lambda r: r.test.loss, "{:.4f}"),
    "accuracy at 0.5": (lambda r: r.test.accuracy, "{:.4f}"),
    "threshold": (lambda r: r.threshold.value, "{:.2f}"),
    "F1": (lambda r: r.test.f1, "{:.4f}"),
    "AP": (lambda r: r.test.average_precision, "{:.4f}"),
    "IoU": (lambda r: r.test_native.iou.value, "{:.4f}"),
    "Kaggle mAP": (lambda r: r.test_native.kaggle_map.value, "{:.4f}"),
}
# Columns whose means over folds are shown.
AVERAGED = ("test loss", "accuracy at 0.5", "F1", "AP", "IoU", "Kaggle mAP")


@dataclasses.dataclass(frozen=True)
class Run:
    """A completed run.

    Attributes:
      name: of its directory.
      config: every setting by its dotted key.
      result: its result.
    """

    name: str
    config: dict[str, Any]
    result: Result

    def score(self, title: str) -> Any:
        """Returns the value of a column of COLUMNS."""
        return COLUMNS[title][0](self.result)


@dataclasses.dataclass(frozen=True)
class Mean:
    """Mean scores over the folds of one config.

    Attributes:
      runs: the common name of the runs.
      folds: "4 of 5".
      scores: (mean, standard error) by title, the standard error being the standard deviation
        (n - 1) over √n.
    """

    runs: str
    folds: str
    scores: dict[str, tuple[float, float]]


def compare(folder: pathlib.Path) -> None:
    """Prints the completed runs of a directory, by data and test loss, with differing settings.

    Means over the folds of the same config follow. Writes compare.csv, compare.md, compare.png and,
    if there are means, folds.csv into the directory.

    Raises:
      InputError: if the directory holds no completed run.
    """
    runs = read_runs(folder)
    keys = differing_settings([run.config for run in runs])
    exact, written = [], []
    for run in runs:
        first = {"run": run.name, "data": run.result.data.label}
        first |= {key: settings.value_text(run.config.get(key, "")) for key in keys}
        exact.append(first | {title: run.score(title) for title in COLUMNS})
        written.append(
            first | {t: form.format(run.score(t)) for t, (_, form) in COLUMNS.items()}
        )
    tables.show_rows(written, ["run", *COLUMNS], COLUMNS)
    tables.show_rows(written, ["run", "data", *keys], ())
    means = average_folds(runs)
    markdown = tables.markdown(written, COLUMNS)
    names = ["compare.csv", "compare.md"]
    with locks.lock(folder, "--workdir"), writing(folder):
        if means:
            rows = [_written_mean(mean) for mean in means]
            console.say("Mean ± standard error over folds")
            tables.show_rows(rows, list(rows[0]), COLUMNS)
            markdown += "\nMean ± standard error over folds\n\n"
            markdown += tables.markdown(rows, COLUMNS)
            folds = [_exact_mean(mean) for mean in means]
            files.write_csv(folder / "folds.csv", list(folds[0]), folds)
            names.append("folds.csv")
        files.write_csv(folder / "compare.csv", list(exact[0]), exact)
        files.write_text(folder / "compare.md", markdown)
        figure = figures.comparison(
            {f"{run.name}, {run.result.data.label}": run.result for run in runs},
            {f"{mean.runs}, mean of {mean.folds} folds": mean.scores for mean in means},
        )
        figures.save(figure, folder / "compare.png")
    console.say(f"Written    {folder}: {', '.join(names)}, compare.png")


def average_folds(runs: Sequence[Run]) -> list[Mean]:
    """Returns the means over folds for each config that was run on two or more of them."""
    same: dict[str, dict[int, Run]] = collections.defaultdict(dict)
    for run in runs:
        config = dict(run.config)
        fold = config.pop("data.fold", 0)
        if not config.get("data.folds"):
            continue
        folds = same[json.dumps(config, sort_keys=True)]
        if fold in folds:
            console.say(
                f"{run.name}: the same fold as {folds[fold].name}, left out of the mean"
            )
        else:
            folds[fold] = run
    means = []
    for folds in same.values():
        members = list(folds.values())
        if len(members) < 2:
            continue
        scores = {}
        for title in AVERAGED:
            values = np.array([run.score(title) for run in members])
            error = values.std(ddof=1) / math.sqrt(len(values))
            scores[title] = float(values.mean()), float(error)
        count = f"{len(members)} of {members[0].config['data.folds']}"
        means.append(Mean(common_name([run.name for run in members]), count, scores))
    return means


def common_name(names: Sequence[str]) -> str:
    """Returns the common start and end of the names around a *; all names if there are none.

    >>> common_name(["unet-data.fold=0-data.folds=5", "unet-data.fold=13-data.folds=5"])
    'unet-data.fold=*-data.folds=5'
    """
    prefix = os.path.commonprefix
    start = prefix(names)
    ends = [name[len(start) :][::-1] for name in names]
    shared = f"{start}*{prefix(ends)[::-1]}"
    return ", ".join(names) if shared == "*" else shared


def _written_mean(mean: Mean) -> dict[str, str]:
    scores = {title: f"{m:.4f} ± {e:.4f}" for title, (m, e) in mean.scores.items()}
    return {"runs": mean.runs, "folds": mean.folds} | scores


def _exact_mean(mean: Mean) -> dict[str, Any]:
    cells: dict[str, Any] = {"runs": mean.runs, "folds": mean.folds}
    for title, (value, error) in mean.scores.items():
        cells |= {title: value, f"{title} standard error": error}
    return cells


def read_runs(folder: pathlib.Path) -> list[Run]:
    """Returns the completed runs of a directory, ordered by data, then by test loss.

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
                config = settings.read_json(path)
                for section in ("data", "model", "train", "optim"):
                    if not isinstance(config.get(section), dict):
                        reason = f"no settings {section}.*"
                        raise files.damaged(path / "config.json", reason)
                flat = settings.flatten(config)
                runs.append(Run(name, flat, result.read(path)))
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
    return sorted(runs, key=lambda run: (run.result.data.label, run.result.test.loss))


def differing_settings(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the dotted keys whose values are not the same in all configs, in config order.

    >>> differing_settings([{"model.skip": True, "model.norm": "none"},
    ...                     {"model.skip": False, "model.norm": "none"}])
    ['model.skip']
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    return [
        key for key in keys if any(c.get(key) != configs[0].get(key) for c in configs)
    ]
