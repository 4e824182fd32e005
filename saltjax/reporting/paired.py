"""Differences of runs, and of means over runs, to a reference on the same test tiles."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from saltjax.reporting.averages import Mean
from saltjax.runs import saved_outputs
from saltjax.runs.completed import Run
from saltjax.runs.result import Interval
from saltjax.scoring import differences
from saltjax.scoring.differences import TestedTiles
from saltjax.scoring.postprocess import Postprocessing
from saltjax.system import console, files
from saltjax.system.errors import InputError

# Of the scores of `differences`, by their titles, under what their tables are headed.
TITLES = {
    "each run's own threshold and minimum component size": {
        "IoU": "iou",
        "Kaggle mAP": "kaggle_map",
        "F1": "f1",
        "accuracy at threshold": "accuracy",
    },
    "the threshold 0.5, without a minimum component size": {
        "IoU at 0.5": "iou at 0.5",
        "Kaggle mAP at 0.5": "kaggle_map at 0.5",
        "F1 at 0.5": "f1 at 0.5",
        "accuracy at 0.5": "accuracy at 0.5",
    },
}
NUMERIC = [title for titles in TITLES.values() for title in titles]


@dataclasses.dataclass(frozen=True)
class Difference:
    """Differences of a run, or of a mean over runs, to another on the same test tiles.

    Attributes:
      name, reference: of the runs or means.
      tiles, units: number of test tiles, and of what the intervals resample.
      scores: by the keys of `differences.differences`, at the tiles' own resolution.
    """

    name: str
    reference: str
    tiles: int
    units: int
    scores: dict[str, Interval]

    @property
    def resampled(self) -> str:
        """What the intervals resample, in words."""
        tiles = console.counted(self.tiles, "tile")
        groups = console.counted(self.units, "group")
        return tiles if self.units == self.tiles else f"{groups}, {tiles}"

    def exact(self) -> dict[str, Any]:
        """Returns the cells of differences.csv by their titles."""
        cells: dict[str, Any] = {"run": self.name, "reference": self.reference}
        cells |= {"tiles": self.tiles, "units": self.units}
        for titles in TITLES.values():
            for title, key in titles.items():
                score = self.scores[key]
                cells |= {title: score.value, f"{title} low": score.low}
                cells[f"{title} high"] = score.high
        return cells


def tables(found: Sequence[Difference]) -> dict[str, list[dict[str, str]]]:
    """Returns the rows of the printed tables, by the heading of each."""
    written: dict[str, list[dict[str, str]]] = {}
    for masks, titles in TITLES.items() if found else ():
        heading = f"Difference from the reference (95 % interval), at {masks}"
        written[heading] = [
            {"run": one.name, "reference": one.reference, "resampled": one.resampled}
            | {title: interval_text(one.scores[key]) for title, key in titles.items()}
            for one in found
        ]
    return written


def interval_text(score: Interval) -> str:
    """Returns a difference with its interval.

    >>> interval_text(Interval(-0.00001, -0.025, 0.0125))
    '+0.0000 (-0.0250 to +0.0125)'
    """
    return f"{score.value:+z.4f} ({score.low:+z.4f} to {score.high:+z.4f})"


def find_differences(
    tested: dict[str, TestedTiles], means: Sequence[Mean], reference: str
) -> list[Difference]:
    """Returns the differences of runs and of means to the reference on the same test tiles.

    Without a reference it is for each the first with the same tiles. A mean is compared with the
    mean that the reference is part of, if there is one.

    Args:
      tested: the scores of runs by name, see `read_all`.
      means: over runs.
      reference: the name of a run; "" for none.

    Raises:
      InputError: if the reference has no usable test_outputs.npz.
    """
    of_means, within = {}, {}
    for mean in means:
        names = [run.name for run in mean.runs]
        if all(name in tested for name in names):
            whole = differences.mean_over_runs([tested[name] for name in names])
            if whole is not None:
                of_means[mean.name] = whole
                if reference in names:
                    within[mean.name] = whole
    if not reference:
        return _paired(tested, tested) + _paired(of_means, of_means)
    if reference not in tested:
        raise InputError(
            f"--reference={reference} has no usable test_outputs.npz, see above; choose another"
        )
    alone = {reference: tested[reference]}
    return _paired(tested, alone) + _paired(of_means, within or alone)


def read_all(runs: Sequence[Run]) -> dict[str, TestedTiles]:
    """Returns the scores of the runs with a usable test_outputs.npz by name; reports the others."""
    tested: dict[str, TestedTiles] = {}
    lacking = []
    for run in runs:
        try:
            tiles = read_tested(run)
        except InputError as error:
            console.say(f"{run.name}: no differences ({error})")
            continue
        if not run.content:
            console.say(f"{run.name}: no differences (its data.json cannot be read)")
        elif tiles is None:
            lacking.append(run.name)
        else:
            tested[run.name] = tiles
    if lacking:
        console.say(
            f"No differences of {', '.join(lacking)}: without test_outputs.npz, which earlier "
            "versions did not write; --mode=evaluate --workdir=RUN writes it"
        )
    return tested


def read_tested(run: Run) -> TestedTiles | None:
    """Returns a run's scores on its test tiles; None without test_outputs.npz.

    Raises:
      InputError: if that is damaged, or not of the test that result.json tells of.
    """
    outputs = saved_outputs.read(run.path)
    if outputs is None:
        return None
    chosen = Postprocessing(run.result.threshold.value, run.result.min_area)
    tested = differences.score_tiles(outputs, chosen, run.content)
    iou = float(tested.values()["iou"][0])
    if abs(iou - run.result.test_native.iou.value) > saved_outputs.TOLERANCE:
        raise files.damaged(
            run.path / saved_outputs.NAME,
            f"IoU {iou:.6f}, in result.json {run.result.test_native.iou.value:.6f}",
            saved_outputs.ADVICE,
        )
    return tested


def _paired(
    tested: dict[str, TestedTiles], references: dict[str, TestedTiles]
) -> list[Difference]:
    """Returns the difference of each to the first of the references with the same tiles."""
    found = []
    for name, tiles in tested.items():
        for reference, others in references.items():
            if others.same_tiles(tiles):
                if reference != name:
                    found.append(difference(name, tiles, reference, others))
                break
        else:
            console.say(f"{name}: not the test tiles of {', '.join(references)}")
    return found


def difference(
    name: str, tested: TestedTiles, reference: str, others: TestedTiles
) -> Difference:
    """Returns the difference of scores to those of a reference on the same tiles."""
    units = len(np.unique(differences.common_units(tested, others)))
    scores = differences.differences(tested, others, seed=0)
    return Difference(name, reference, len(tested.ids), units, scores)
