"""The completed runs of a directory beside each other: scores, means over folds and seeds, differences."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from saltjax.reporting import ablation, averages, paired
from saltjax.reporting.averages import Mean
from saltjax.reporting.figures import SCORE_NAMES
from saltjax.reporting.paired import Difference
from saltjax.runs.completed import Run, ranking_score, read_runs
from saltjax.scoring.differences import TestedTiles
from saltjax.system import console
from saltjax.system.errors import InputError

Score = tuple[Callable[[Run], Any], str]


def _native(name: str) -> Score:
    """Returns the function and format of a score that older results may lack."""

    def value(run: Run) -> float | None:
        score = getattr(run.result.test_native, name)
        return None if score is None else score.value

    return value, "{:.4f}"


# By title: the function that takes its value from a run, None if not known, and its format.
TRAINING: dict[str, Score] = {
    "parameters": (lambda run: run.result.parameters, "{:,}"),
    "epochs": (lambda run: run.result.epochs, "{}"),
    "seconds": (lambda run: run.result.train_seconds, "{:.0f}"),
}
VALIDATION: dict[str, Score] = {
    "val loss": (lambda run: run.best.get("val_loss"), "{:.4f}"),
    "val accuracy": (lambda run: run.best.get("val_accuracy"), "{:.4f}"),
    "val F1": (lambda run: run.result.threshold.f1, "{:.4f}"),
    "val AP": (lambda run: run.result.average_precision, "{:.4f}"),
    "val score": (lambda run: run.result.threshold.score, "{:.4f}"),
    "threshold": (lambda run: run.result.threshold.value, "{:.3f}"),
    "chosen by": (lambda run: SCORE_NAMES[run.result.threshold.metric], "{}"),
}
TEST: dict[str, Score] = {
    "test loss": (lambda run: run.result.test.loss, "{:.4f}"),
    "accuracy at 0.5": (lambda run: run.result.test.accuracy, "{:.4f}"),
    "F1": (lambda run: run.result.test.f1, "{:.4f}"),
    "AP": (lambda run: run.result.test.average_precision, "{:.4f}"),
    "IoU": _native("iou"),
    "Kaggle mAP": _native("kaggle_map"),
    "two-class mean IoU": _native("mean_iou"),
    "mean class accuracy": _native("mean_class_accuracy"),
}
COLUMNS = TRAINING | VALIDATION | TEST
AVERAGED = [t for t in VALIDATION | TEST if t not in ("threshold", "chosen by")]
# The reference that stands for the row above.
PREVIOUS = "previous"


@dataclasses.dataclass(frozen=True)
class Compared:
    """Runs beside each other.

    Attributes:
      runs: in their order.
      order: what they are ordered by, in words.
      keys: of the settings that differ.
      means: over folds and seeds.
      tested: by run, the scores on its test tiles; without runs that have no usable outputs.
      differences: of runs and means to a reference; in an additive table of each of its rows to the
        one above.
      additive: the rows of an additive table; None if it is none.
    """

    runs: list[Run]
    order: str
    keys: list[str]
    means: list[Mean]
    tested: dict[str, TestedTiles]
    differences: list[Difference]
    additive: list[ablation.Row] | None


def read(folder: pathlib.Path, reference: str) -> Compared:
    """Returns the completed runs of a directory beside each other; says what is left out.

    Args:
      folder: the directory.
      reference: name or path of a run in it; "" for the first of those with the same test tiles;
        PREVIOUS for an additive table: runs and means are ordered by name, and the reference of
        each is the one before it.

    Raises:
      InputError: if the directory holds no completed run, or not the reference.
    """
    runs = read_runs(folder)
    order = f"validation {SCORE_NAMES[ranking_score(runs)]}"
    name = "" if reference == PREVIOUS else reference_name(runs, folder, reference)
    if reference == PREVIOUS:
        runs, order = ablation.by_name(runs), "name"
    elif len({run.data for run in runs}) > 1:
        order = f"data, then {order}"
    for run in runs:
        if run.bias:
            console.say(f"{run.name}: {run.bias}")
    groups = averages.group(runs)
    means = averages.average(groups, averaged_scores)
    if reference != PREVIOUS:
        means = by_score(means, ranking_score(runs))
    keys = averages.differing_settings([run.config for run in runs])
    tested = paired.read_all(runs)
    rows = None
    if reference == PREVIOUS:
        rows = ablation.find_rows(groups, tested)
        found = [row.gain for row in rows if row.gain is not None]
    else:
        found = paired.find_differences(tested, means, name)
    return Compared(runs, order, keys, means, tested, found, rows)


def by_score(means: Sequence[Mean], metric: str) -> list[Mean]:
    """Returns the means by data, then by the validation score that runs are ranked by.

    Args:
      means: over folds and seeds.
      metric: see `completed.ranking_score`.
    """
    title = "val F1" if metric == "f1" else "val score"

    def rank(mean: Mean) -> tuple[tuple[str, str], float]:
        value, _ = mean.scores[title] or (-math.inf, 0)
        return mean.runs[0].data, -value

    return sorted(means, key=rank)


def scores(run: Run, titles: Iterable[str]) -> dict[str, Any]:
    """Returns the scores of a run with these titles, None where not known."""
    return {title: COLUMNS[title][0](run) for title in titles}


def texts(run: Run, titles: Iterable[str]) -> dict[str, str]:
    """Returns the scores of a run with these titles as text."""
    return {
        title: "–" if value is None else COLUMNS[title][1].format(value)
        for title, value in scores(run, titles).items()
    }


def averaged_scores(run: Run) -> dict[str, float | None]:
    """Returns the scores of a run that means are taken of."""
    return scores(run, AVERAGED)


def reference_name(runs: Sequence[Run], folder: pathlib.Path, reference: str) -> str:
    """Returns the name of the run that --reference gives by name or path; "" for none.

    Raises:
      InputError: if it is not among the runs of the directory.
    """
    path, name = pathlib.Path(reference), pathlib.Path(reference).name
    beside = path.parent.resolve() == folder.resolve()
    elsewhere = path.parent != pathlib.Path() and not beside
    if reference and (elsewhere or name not in [run.name for run in runs]):
        raise InputError(
            f"--reference={reference}: no completed run of that name in {folder}; expected {PREVIOUS}, "
            f"or one of {', '.join(run.name for run in runs)}"
        )
    return name
