"""report.html of a run: what is there of it, gathered from its directory and written as one page."""

import contextlib
import dataclasses
import datetime
import hashlib
import pathlib
import shlex
from typing import Any

import numpy as np

from saltjax.data.tiles import COVERAGE_CLASSES, UNLABELLED, Tiles, scored_noun
from saltjax.reporting import html, tile_images
from saltjax.reporting.figures import SCORE_NAMES
from saltjax.reporting.run_contents import Run, Start, read
from saltjax.runs import environment, saved_outputs, settings
from saltjax.runs.result import Result
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.scoring import metrics, postprocess
from saltjax.system import console, files, locks
from saltjax.system.errors import InputError, reading

NAME = "report.html"
STYLES = ("page.css",)
SCRIPTS = (
    "common.js",
    "arrays.js",
    "masks.js",
    "scores.js",
    "charts.js",
    "colors.js",
    "tiles.js",
    "gallery.js",
    "choice.js",
    "run.js",
)
# The end of the title of every page, by which one is known.
MARK = "– saltjax</title>"
# Of the test tiles in a page, which then has about 15 MB; of more tiles it shows a sample.
MAX_PIXELS = 8_000_000


def refresh(workdir: pathlib.Path, tiles: Tiles, running: bool) -> None:
    """Writes report.html from within training, which goes on if that fails.

    Args:
      workdir: the run directory.
      tiles: those of the run.
      running: whether training goes on; then only its curves are written, which takes no time.
    """
    try:
        write(read(workdir, with_outputs=not running), running, tiles)
        if not running:
            console.say(f"Report     {workdir / NAME}")
    except Exception as error:  # a report is never worth a run
        console.say(
            f"Report     not written ({type(error).__name__}: {error}); training is not affected"
        )


def write(run: Run, running: bool | None = None, tiles: Tiles | None = None) -> None:
    """Writes report.html into the directory of a run.

    Args:
      run: what is there of it.
      running: whether it is being trained; None to find out.
      tiles: those of the run, if they are at hand; else they are read or made again.

    Raises:
      InputError: if it cannot be written, or something else has its name.
    """
    refuse_others(run.workdir / NAME)
    live = running is True
    running = locks.is_locked(run.workdir) if running is None else running
    shown, notes = test_tiles(run, tiles, live)
    page = html.render(
        "run.html",
        STYLES,
        SCRIPTS,
        **describe(run, running, live),
        problems=run.problems,
        notes=notes,
        **shown,
    )
    files.write_text(run.workdir / NAME, page)


def refuse_others(path: pathlib.Path) -> None:
    """Raises InputError if a file is there that is no page of saltjax."""
    if not path.is_file():
        return
    with reading(path), path.open(encoding="utf-8", errors="replace") as file:
        start = file.read(10_000)  # with the title
    if MARK not in start:
        raise InputError(
            f"{path}: not written by saltjax, and not replaced; move it to another place"
        )


def test_tiles(
    run: Run, tiles: Tiles | None, live: bool
) -> tuple[dict[str, Any], list[str]]:
    """Returns what the page holds of the test tiles, and notes on what it lacks of them."""
    empty = {"tiles": None, "prob": "", "labels": "", "mosaic": ""}
    if run.result is None:
        return empty, ["Scores and test tiles follow when the run is complete."]
    rest = f"--mode=evaluate --workdir={shlex.quote(_absolute(run.workdir))}"
    if live:
        return empty, ["The test tiles follow when training is complete."]
    if run.outputs is None:
        return empty, [
            f"The probabilities of the test tiles are not there ({saved_outputs.NAME}). "
            f"{environment.program()} {rest} computes them; then write this report again."
        ]
    outputs, notes = run.outputs, []
    if not _belong_together(outputs, run.result):
        notes.append(
            f"{saved_outputs.NAME} has other scores than result.json: it is of another test. Delete "
            f"it; {environment.program()} {rest} computes it again."
        )
    n, height, width = outputs.prob.shape
    rows = list(range(n))
    if (most := max(MAX_PIXELS // (height * width), 1)) < n:
        rows = np.linspace(0, n - 1, most).round().astype(int).tolist()
        notes.append(
            f"Of {n} test tiles this file holds an even sample of {most}, so that it stays small: "
            "scores, curves and gallery are of these."
        )
    ids = [outputs.ids[i] for i in rows]
    labels, prob = outputs.labels[rows], outputs.prob[rows]
    try:
        images = tile_images.find(ids, labels, run.config, tiles)
        picture, columns = html.mosaic(images)
    except InputError as error:
        picture, columns = "", 0
        notes.append(f"Without the images of the tiles: {error}.")
    shown = {
        "ids": ids,
        "height": height,
        "width": width,
        "columns": columns,
        "coverageClasses": COVERAGE_CLASSES,
        "unlabelled": bool((labels == UNLABELLED).any()),
    }
    return {
        "tiles": shown,
        "prob": html.pack_uint16(prob),
        "labels": html.pack(labels.tobytes()),
        "mosaic": picture,
    }, notes


def _belong_together(outputs: SavedOutputs, found: Result) -> bool:
    """Returns whether the outputs have the mean IoU of a result."""
    chosen = postprocess.Postprocessing(found.threshold.value, found.min_area)
    masks = postprocess.salt_mask(postprocess.from_sixteen_bits(outputs.prob), chosen)
    iou = metrics.mean_score(metrics.confusion(masks, outputs.labels), "iou")
    return abs(iou - found.test_native.iou.value) < saved_outputs.TOLERANCE


def describe(run: Run, running: bool, live: bool) -> dict[str, Any]:
    """Returns what the template says about a run, apart from its test tiles."""
    found, workdir = run.result, _absolute(run.workdir)
    name = files.path_label(workdir)
    start = run.starts[-1] if run.starts else Start()
    volume = bool(run.config.get("data.volume"))
    noun = scored_noun("volume" if volume else "")
    now = datetime.datetime.now(datetime.UTC)
    data: dict[str, Any] = {
        "history": run.history,
        "bestEpoch": best_epoch(run),
        "bestName": best_name(run),
        # In milliseconds, as JavaScript counts; for a page that a run in training refreshes.
        "written": 1000 * now.timestamp() if live else None,
        "result": None,
        "noun": noun,
        "commands": commands(workdir),
    }
    if found is not None:
        data["result"] = {
            "threshold": found.threshold.value,
            "minArea": found.min_area,
            "units": found.test_units,
            "native": dataclasses.asdict(found.test_native),
            "calibration": dataclasses.asdict(found.calibration),
        }
    return {
        "name": html.text(name),
        "workdir": workdir,
        "state": state(run, running),
        "live": live,
        "version": environment.version(),
        "written": now.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "result": found,
        "config": run.config,
        "facts": run.facts,
        "splits": run.facts.splits
        if {"train", "val", "test"} <= run.facts.splits.keys()
        else None,
        "noun": noun,
        "others": "lines of it" if volume else "others",
        "history": run.history,
        "best_epoch": data["bestEpoch"],
        "best_name": data["bestName"],
        "commands": data["commands"],
        "score_names": SCORE_NAMES,
        "differing": differing_settings(run.config),
        "all_settings": [(k, settings.value_text(v)) for k, v in run.config.items()],
        "start": start,
        "starts": run.starts,
        "began": next((s.init for s in reversed(run.starts) if s.init), None),
        "repeat": environment.command_line(start.command),
        "hashes": hashes(run),
        "data": data,
    }


def state(run: Run, running: bool) -> tuple[str, str]:
    """Returns the state of a run in one word, and in a sentence."""
    done, most = len(run.history), run.config.get("train.epochs", "?")
    epochs = f"{console.counted(done, 'epoch')} of at most {most}"
    if run.result is not None and done <= run.result.epochs:
        return "finished", ""
    beyond = ""
    if run.result is not None:
        beyond = f" The result below is that of the first {run.result.epochs}."
    if running:
        return "running", f"Training is under way: {epochs} complete.{beyond}"
    command = run.starts[-1].command if run.starts else []
    without = (
        ", without --overwrite," if command != environment.resuming(command) else ""
    )
    return "interrupted", (
        f"Training was interrupted after {epochs}. The command that trained the run{without} "
        f"resumes it.{beyond}"
    )


def best_epoch(run: Run) -> int | None:
    """Returns the epoch that was tested or, before that, the one that would be."""
    if run.result is not None:
        return run.result.best_epoch
    if not run.history:
        return None
    select = run.config.get("checkpoint.select", "val_loss")
    if select == "kaggle_map" and "val_kaggle_map" in run.history[0]:
        best = max(run.history, key=lambda row: row["val_kaggle_map"])
    elif select == "last":
        best = run.history[-1]
    else:
        best = min(run.history, key=lambda row: row["val_loss"])
    return int(best["epoch"])


def best_name(run: Run) -> str:
    """Returns what the epoch of `best_epoch` is called."""
    if run.result is not None:
        return "tested"
    last = run.config.get("checkpoint.select") == "last"
    return "last so far" if last else "best so far"


def differing_settings(config: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns (dotted key, value, the study's) of the settings that differ from the study's."""
    texts = {key: settings.value_text(value) for key, value in config.items()}
    study = {k: settings.value_text(v) for k, v in settings.defaults().items()}
    return [
        (key, text, study.get(key, "–"))
        for key, text in texts.items()
        if text != study.get(key)
    ]


def commands(workdir: str) -> dict[str, str]:
    """Returns the command that writes the page, and the first parts of those that use its choice."""
    run = f"--workdir={shlex.quote(workdir)}"
    return {
        "report": f"{environment.program()} --mode=report {run}",
        "evaluate": f"{environment.program()} --mode=evaluate {run}",
        "predict": f"{environment.program()} --mode=predict {run} --input=INPUT --output=OUTPUT",
    }


def hashes(run: Run) -> list[tuple[str, str]]:
    """Returns what identifies data, code and outcome of a run, with a name for each."""
    found = [
        ("data, SHA-256", run.facts.content_sha256),
        ("groups, SHA-256", run.facts.units_sha256),
        ("commit of saltjax", run.starts[-1].git_commit if run.starts else ""),
    ]
    for name in ("config.json", "result.json", saved_outputs.NAME):
        with contextlib.suppress(OSError):  # there is none; or it has been left out
            content = (run.workdir / name).read_bytes()
            found.append((f"{name}, SHA-256", hashlib.sha256(content).hexdigest()))
    return [(name, value) for name, value in found if value]


def _absolute(path: pathlib.Path) -> str:
    return html.text(str(path.resolve()))
