"""All runs of a folder side by side: a table on the screen and in files, and a figure."""

import collections
import csv
import io
import json
import math
import os
import pathlib

import numpy as np

from saltjax.data import tiles as data
from saltjax.reporting import figures as plots
from saltjax.runs import workdir as run
from saltjax.system import console, files
from saltjax.system.errors import InputError, writing

# Column: how its value is taken from result.json, and how it is written.
COLUMNS = {
    "parameters": (lambda r: r["parameters"], "{:,}"),
    "epochs": (lambda r: r["epochs"], "{}"),
    "seconds": (lambda r: r["train_seconds"], "{:.0f}"),
    "test loss": (lambda r: r["test"]["loss"], "{:.4f}"),
    "accuracy at 0.5": (lambda r: r["test"]["accuracy"], "{:.4f}"),
    "threshold": (lambda r: r["threshold"]["value"], "{:.2f}"),
    "F1": (lambda r: r["test"]["f1"], "{:.4f}"),
    "AP": (lambda r: r["test"]["average_precision"], "{:.4f}"),
    "IoU": (lambda r: r["test_native"]["iou"]["value"], "{:.4f}"),
    "Kaggle mAP": (lambda r: r["test_native"]["kaggle_map"]["value"], "{:.4f}"),
}
# Those whose means over folds are shown.
AVERAGED = ("test loss", "accuracy at 0.5", "F1", "AP", "IoU", "Kaggle mAP")


def compare(folder: pathlib.Path) -> None:
    """Prints the completed runs of a folder, by data and test loss, with what sets them apart.

    Folds of the same config are averaged too. Writes compare.csv, compare.md, compare.png and, of
    the averages, folds.csv into the folder.

    Raises:
      InputError: if the folder holds no completed run.
    """
    runs = _read_runs(folder)
    settings = differing_settings({name: row["config"] for name, row in runs.items()})
    exact, written = [], []
    for name, row in runs.items():
        flat = run.flatten(row["config"])
        first = {"run": name, "data": row["data"]}
        first |= {key: run.value_text(flat.get(key, "")) for key in settings}
        exact.append(first | row["scores"])
        written.append(
            first | {key: COLUMNS[key][1].format(x) for key, x in row["scores"].items()}
        )
    _print(written, ["run", *COLUMNS])
    _print(written, ["run", "data", *settings])
    means = average_folds(runs)
    tables = {"compare.csv": _csv(exact), "compare.md": _markdown(written)}
    if means:
        rows = [_written_mean(row) for row in means]
        console.say("Mean ± standard error over folds")
        _print(rows, list(rows[0]))
        tables["compare.md"] += (
            f"\nMean ± standard error over folds\n\n{_markdown(rows)}"
        )
        tables["folds.csv"] = _csv([_exact_mean(row) for row in means])
    labels = [f"{name}, {row['data']}" for name, row in runs.items()]
    results = dict(zip(labels, (row["result"] for row in runs.values())))
    with writing(folder):
        for name, text in tables.items():
            files.write_text(folder / name, text)
        averages = {
            f"{row['runs']}, mean of {row['folds']} folds": row for row in means
        }
        plots.save(plots.comparison(results, averages), folder / "compare.png")
    console.say(f"Written    {folder}: {', '.join(tables)}, compare.png")


def average_folds(runs: dict[str, dict]) -> list[dict]:
    """Returns for each config that was run on two or more folds the means over them.

    Each is {"runs": their common name, "folds": "4 of 5", "scores": {title: (mean, standard
    error)}}, the standard error being the standard deviation (n - 1) over √n.
    """
    same = collections.defaultdict(dict)
    for name, row in runs.items():
        flat = run.flatten(row["config"])
        fold = flat.pop("data.fold", 0)
        if not flat.get("data.folds"):
            continue
        folds = same[json.dumps(flat, sort_keys=True)]
        if fold in folds:
            console.say(f"{name}: the same fold as {folds[fold]}, left out of the mean")
        else:
            folds[fold] = name
    means = []
    for config, folds in same.items():
        if len(folds) < 2:
            continue
        scores = {}
        for title in AVERAGED:
            values = np.array([runs[name]["scores"][title] for name in folds.values()])
            error = values.std(ddof=1) / math.sqrt(len(values))
            scores[title] = float(values.mean()), float(error)
        found = f"{len(folds)} of {json.loads(config)['data.folds']}"
        name = common_name(list(folds.values()))
        means.append({"runs": name, "folds": found, "scores": scores})
    return means


def common_name(names: list[str]) -> str:
    """Returns what the names share, with a * for the rest; all of them if they share nothing.

    >>> common_name(["unet-data.fold=0-data.folds=5", "unet-data.fold=13-data.folds=5"])
    'unet-data.fold=*-data.folds=5'
    """
    start = os.path.commonprefix(names)
    ends = [name[len(start) :][::-1] for name in names]
    shared = f"{start}*{os.path.commonprefix(ends)[::-1]}"
    return ", ".join(names) if shared == "*" else shared


def _written_mean(row: dict) -> dict[str, str]:
    scores = {title: f"{m:.4f} ± {e:.4f}" for title, (m, e) in row["scores"].items()}
    return {"runs": row["runs"], "folds": row["folds"]} | scores


def _exact_mean(row: dict) -> dict:
    cells = {"runs": row["runs"], "folds": row["folds"]}
    for title, (mean, error) in row["scores"].items():
        cells |= {title: mean, f"{title} standard error": error}
    return cells


def _read_runs(folder: pathlib.Path) -> dict[str, dict]:
    """Returns the completed runs by name, ordered by data, then by test loss: see `_read_run`."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"--workdir={folder}: cannot list it ({error.strerror}); expected the folder that "
            "holds the runs"
        ) from None
    runs = {}
    for path in found:
        name = "".join(c if c.isprintable() else "?" for c in path.name)
        if (path / "result.json").exists():
            try:
                runs[name] = _read_run(path)
            except (InputError, KeyError, TypeError, ValueError) as error:
                console.say(f"{name}: left out, its files are damaged ({error})")
        elif (path / "config.json").exists():
            console.say(f"{name}: not complete yet, left out")
    if not runs:
        raise InputError(
            f"--workdir={folder}: no completed run in it; expected folders with a result.json"
        )
    return dict(
        sorted(
            runs.items(),
            key=lambda item: (item[1]["data"], item[1]["result"]["test"]["loss"]),
        )
    )


def _read_run(path: pathlib.Path) -> dict:
    """Returns a run's `config`, `result`, `scores` by the titles of COLUMNS, and `data` in a word.

    Raises:
      InputError, KeyError, TypeError, ValueError: if they are not what a run writes.
    """
    config, result = (files.read_json(path / f"{n}.json") for n in ("config", "result"))
    for section in ("data", "model", "train", "optim"):
        run.flatten(config[section])
    scores = {title: get(result) for title, (get, _) in COLUMNS.items()}
    for title, (_, form) in COLUMNS.items():
        form.format(scores[title])
    interval = result["test_native"]["iou"]
    math.fsum((*scores.values(), interval["low"], interval["high"]))
    return {
        "config": config,
        "result": result,
        "scores": scores,
        "data": data.source_label(result["data"]),
    }


def differing_settings(configs: dict[str, dict]) -> list[str]:
    """Returns the dotted keys whose values are not the same in all configs, in config order.

    >>> differing_settings({"a": {"model": {"skip": True, "norm": "none"}},
    ...                     "b": {"model": {"skip": False, "norm": "none"}}})
    ['model.skip']
    """
    flat = [run.flatten(config) for config in configs.values()]
    keys = dict.fromkeys(key for config in flat for key in config)
    return [key for key in keys if any(c.get(key) != flat[0].get(key) for c in flat)]


def _print(rows: list[dict[str, str]], titles: list[str]) -> None:
    """Prints the columns of those titles, aligned; a terminal too narrow wraps the lines."""
    lines = [titles] + [[row[title] for title in titles] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        cells = [
            cell.rjust(width) if title in COLUMNS else cell.ljust(width)
            for cell, width, title in zip(line, widths, titles)
        ]
        console.say("  ".join(cells).rstrip())
    console.say()


def _csv(rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(rows: list[dict[str, str]]) -> str:
    rule = ["---:" if title in COLUMNS else "---" for title in rows[0]]
    lines = [list(rows[0]), rule, *(row.values() for row in rows)]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)
