"""report.html of a directory of runs: their scores, curves and test tiles beside each other."""

import datetime
import os
import pathlib
import shlex
import urllib.parse
from collections.abc import Sequence
from typing import Any

import numpy as np

from saltjax.reporting import ablation, compared, html, paired, shared_tiles
from saltjax.reporting.averages import Mean
from saltjax.reporting.compared import Compared
from saltjax.reporting.paired import Difference
from saltjax.reporting.shared_tiles import SharedTiles
from saltjax.runs import environment, settings, workdir
from saltjax.runs.completed import Run
from saltjax.runs.result import Interval
from saltjax.runs.workdir import Status
from saltjax.system import console, files, output_directory
from saltjax.system.errors import InputError, writing

NAME = "report.html"
STYLES = ("page.css", "runs.css")
SCRIPTS = (
    "common.js",
    "arrays.js",
    "charts.js",
    "colors.js",
    "tiles.js",
    "sortable.js",
    "curves.js",
    "side_by_side.js",
    "runs.js",
)
# By the title of a score of COLUMNS: its name in `NativeScores`, which has its interval.
INTERVALS = {
    "IoU": "iou",
    "Kaggle mAP": "kaggle_map",
    "two-class mean IoU": "mean_iou",
    "mean class accuracy": "mean_class_accuracy",
}
# Columns of metrics.csv that are drawn, with their titles.
CURVES = {
    "val_loss": "Validation loss",
    "train_loss": "Training loss",
    "val_accuracy": "Validation accuracy at 0.5",
    "val_kaggle_map": "Validation Kaggle mAP at 0.5",
    "learning_rate": "Learning rate",
}


def holds_runs(folder: pathlib.Path) -> bool:
    """Returns whether a directory holds those of runs, and is none itself."""
    names = {"config.json", "result.json"}

    def holds_run(path: pathlib.Path) -> bool:
        try:
            return path.is_dir() and not names.isdisjoint(os.listdir(path))
        except OSError:  # `compared.read` says why
            return True

    if not folder.is_dir() or not names.isdisjoint(os.listdir(folder)):
        return False
    return any(map(holds_run, folder.iterdir()))


def write(folder: pathlib.Path, reference: str) -> None:
    """Writes report.html into a directory of runs; says what is left out.

    Args:
      folder: the directory.
      reference: see `compared.read`.

    Raises:
      InputError: if there is no completed run, or not the reference, or the page cannot be written.
    """
    with console.heard() as notes:
        found = compared.read(folder, reference)
        others = unfinished(folder)
        curves = read_curves(found.runs, others)
        shared = shared_tiles.find(
            found.runs, found.tested, pathlib.Path(reference).name
        )
        tiles, arrays = describe_tiles(shared, found)
    page = html.render(
        "runs.html",
        STYLES,
        SCRIPTS,
        **describe(folder, found),
        notes=notes,
        shared=shared,
        arrays=arrays,
        data=table(found)
        | {
            "names": [run.name for run in found.runs] + list(others),
            "completed": len(found.runs),
            "titles": list(CURVES.items()),
            "curves": curves,
            "tiles": tiles,
        },
    )
    with (
        output_directory.claim(folder, "--workdir", folder) as claimed,
        writing(folder),
    ):
        # The directory of the runs is the user's: there, too, only saltjax's files are replaced.
        claimed.check([folder / NAME])
        files.write_text(folder / NAME, page, claimed.write)


def describe(folder: pathlib.Path, found: Compared) -> dict[str, Any]:
    """Returns what the template says about the runs, apart from tables and tiles."""
    whole = html.text(str(folder.resolve()))
    now = datetime.datetime.now(datetime.UTC)
    references = list(dict.fromkeys(one.reference for one in found.differences))
    return {
        "name": html.text(files.path_label(whole)),
        "folder": whole,
        "order": found.order,
        "runs": found.runs,
        "synthetic": [
            r.name for r in found.runs if r.result.data.source == "synthetic"
        ],
        "references": references,
        "resampled": list(dict.fromkeys(one.resampled for one in found.differences)),
        "previous": found.additive is not None,
        "sections": ablation.tables(found.additive) if found.additive else {},
        "command": f"{environment.program()} --mode=report --workdir={shlex.quote(whole)} "
        "--reference=RUN",
        "version": environment.version(),
        "written": now.strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


def table(found: Compared) -> dict[str, Any]:
    """Returns columns and rows of the table of scores, runs and then means, for the page.

    A cell is {text} with, for numbers, {value} and, for those with an interval, {low, high}.
    """
    groups = {
        "test": compared.TEST,
        "validation": compared.VALIDATION,
        "training": compared.TRAINING,
        "settings": found.keys,
    }
    columns = [{"title": "data", "group": "training"}]
    columns += [
        {"title": t, "group": g} for g, titles in groups.items() for t in titles
    ]
    differences = {one.name: one for one in found.differences}
    if differences:
        several = len({one.reference for one in found.differences}) > 1
        columns += [{"title": "reference", "group": "difference"}] * several
        for group, titles in zip(
            ("difference", "difference at 0.5"), paired.TITLES.values()
        ):
            columns += [{"title": f"Δ {t}", "group": group} for t in titles]
    rows = [
        _row_of_run(run, found.keys) | {"run": i} for i, run in enumerate(found.runs)
    ]
    rows += [_row_of_mean(mean, found.keys) for mean in found.means]
    for row in rows:
        if one := differences.get(row["name"]):
            row["cells"] |= _difference_cells(one)
    return {"columns": columns, "rows": rows}


def _row_of_run(run: Run, keys: Sequence[str]) -> dict[str, Any]:
    values, texts = (
        f(run, compared.COLUMNS) for f in (compared.scores, compared.texts)
    )
    cells: dict[str, dict[str, Any]] = {t: {"text": texts[t]} for t in texts}
    for title, value in values.items():
        if isinstance(value, int | float):
            cells[title]["value"] = value
        interval = getattr(run.result.test_native, INTERVALS.get(title, ""), None)
        if interval is not None:
            cells[title] |= {"low": interval.low, "high": interval.high}
    cells |= {"data": {"text": run.result.data.label}} | _setting_cells(run, keys)
    own = run.path / NAME
    link = urllib.parse.quote(os.fsencode(run.path.name), safe="")
    return {
        "name": run.name,
        "mean": "",
        "link": f"./{link}/{NAME}" if own.is_file() else "",
        "cells": cells,
    }


def _row_of_mean(mean: Mean, keys: Sequence[str]) -> dict[str, Any]:
    cells: dict[str, dict[str, Any]] = {}
    texts = mean.written()
    for title, score in mean.scores.items():
        cells[title] = {"text": texts[title]}
        if score is not None:
            cells[title]["value"] = score[0]
    settings_of = [_setting_cells(run, keys) for run in mean.runs]
    for key in keys:
        if all(cells_of[key] == settings_of[0][key] for cells_of in settings_of):
            cells[key] = settings_of[0][key]
    return {"name": mean.name, "mean": mean.description, "link": "", "cells": cells}


def _setting_cells(run: Run, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {k: {"text": settings.value_text(run.config.get(k, ""))} for k in keys}


def _difference_cells(one: Difference) -> dict[str, dict[str, Any]]:
    cells: dict[str, dict[str, Any]] = {"reference": {"text": one.reference}}
    for titles in paired.TITLES.values():
        for title, key in titles.items():
            score: Interval = one.scores[key]
            cells[f"Δ {title}"] = {
                "text": f"{score.value:+z.4f}".replace("-", "−"),
                "value": score.value,
                "low": score.low,
                "high": score.high,
            }
    return cells


def unfinished(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the directories of runs without a result, by their names."""

    def is_unfinished(path: pathlib.Path) -> bool:
        try:
            return workdir.status(path) is Status.RESUME
        except InputError:
            return False

    paths = sorted(folder.iterdir())
    return {html.text(path.name): path for path in paths if is_unfinished(path)}


def read_curves(
    runs: Sequence[Run], others: dict[str, pathlib.Path]
) -> list[dict[str, Any]]:
    """Returns what is drawn of metrics.csv, of each run by its number; says which cannot be read.

    Args:
      runs: those that are completed, from number 0.
      others: those that are not, by name, with the numbers that follow.
    """
    found = [(run.name, run.path, run.result.best_epoch) for run in runs]
    curves = []
    for number, (name, path, best) in enumerate(
        [*found, *((*one, None) for one in others.items())]
    ):
        try:
            rows = workdir.read_metrics(path)
        except InputError as error:
            console.say(f"{name}: no curves ({error})")
            continue
        if rows:
            shown = [key for key in ("epoch", *CURVES) if key in rows[0]]
            values = {key: [float(f"{row[key]:.6g}") for row in rows] for key in shown}
            curves.append({"run": number, "best": best, "values": values})
    return curves


def describe_tiles(
    shared: SharedTiles | None, found: Compared
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Returns what the page's script reads of the tiles, and by id the packed arrays."""
    runs = found.runs
    if shared is None:
        return None, {}
    _, height, width = shared.labels.shape
    arrays = {"labels": html.pack(shared.labels.tobytes()), "mosaic": ""}
    columns = 0
    known = [run for run in runs if run.name in shared.runs]
    try:
        images = shared_tiles.find_images(shared, known)
        arrays["mosaic"], columns = html.mosaic(images)
    except InputError as error:
        console.say(f"Without the images of the tiles: {error}")
    references = {one.name: one.reference for one in found.differences}
    names = {run.name: number for number, run in enumerate(runs)}
    described = []
    for number, run in enumerate(runs):
        if run.name not in shared.runs:
            continue
        own, arrays_of = (
            shared.runs[run.name],
            np.zeros((2, *shared.labels.shape), np.uint8),
        )
        for i, name in enumerate(shared.ids):
            if name in own:
                arrays_of[:, i] = own[name].prob, own[name].mask
        arrays[f"prob-{number}"] = html.pack_uint8(arrays_of[0])
        arrays[f"mask-{number}"] = html.pack(arrays_of[1].tobytes())
        described.append(
            {
                "run": number,
                "threshold": run.result.threshold.value,
                "minArea": run.result.min_area,
                "reference": names.get(references.get(run.name, "")),
                "iou": [own[i].iou if i in own else None for i in shared.ids],
            }
        )
    tiles = {"ids": shared.ids, "height": height, "width": width, "columns": columns}
    return tiles | {"runs": described}, arrays
