"""The figures of a run and of an evaluation, and the choice of the tiles that they show."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saltjax.data.tiles import Tiles, scored_noun, training_noun
from saltjax.reporting import figures, tile_figures
from saltjax.reporting.tile_figures import EXAMPLES, shortened
from saltjax.runs.result import Validation
from saltjax.scoring import metrics
from saltjax.scoring.postprocess import Postprocessing
from saltjax.system import console, files, seeds
from saltjax.system.errors import writing

if TYPE_CHECKING:
    # Not imported above since it imports JAX, which --mode=check does not need.
    from saltjax.scoring.scores import Test


def draw_data(tiles: Tiles, folder: pathlib.Path, seed: int) -> None:
    """Draws examples.png and coverage.png."""
    chosen = seeds.examples_rng(seed).permutation(len(tiles))[:EXAMPLES]
    examples = tile_figures.examples(
        tiles.shown(chosen),
        tiles.labels[chosen][:, :, :, 0],
        [title_of(tiles, i) for i in chosen],
        tiles.description,
    )
    coverage = figures.coverage(
        tiles.summary.coverage, tiles.description, training_noun(tiles.source)
    )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        figures.save(examples, folder / "examples.png")
        figures.save(coverage, folder / "coverage.png")


def title_of(tiles: Tiles, i: int) -> str:
    """Returns the id of a tile, its middle elided if it is wider than the tile.

    Of a patch of a volume it is its line, and its first trace and sample.
    """
    _, *place = tiles.ids[i].split("_")
    if tiles.source != "volume" or len(place) != 4:
        return shortened(tiles.ids[i])
    direction, line, trace, sample = place
    other = "crossline" if direction == "inline" else "inline"
    return f"{direction} {line},\n{other} {trace}, sample {sample}"


def draw_training(
    history: Sequence[dict[str, Any]],
    best_epoch: int,
    source: str,
    folder: pathlib.Path,
) -> None:
    """Draws curves.png for the rows of metrics.csv."""
    figures.save(figures.curves(history, best_epoch, source), folder / "curves.png")


def draw_thresholds(
    validation: Validation, curve: metrics.Curve, source: str, folder: pathlib.Path
) -> None:
    """Draws thresholds.png; `curve` is of the validation pixels."""
    figure = figures.thresholds(
        validation.thresholds, validation.threshold, curve, source
    )
    figures.save(figure, folder / "thresholds.png")


def draw_scores(
    curves: dict[str, metrics.Curve],
    test: Test,
    chosen: Postprocessing,
    tiles: Tiles,
    source: str,
    seed: int,
    folder: pathlib.Path,
    write: files.Writer = files.atomic_write,
) -> None:
    """Draws precision_recall, by_coverage, reliability, predictions and worst, all .png.

    Args:
      curves: see `figures.precision_recall`.
      test: the outcome of the test.
      chosen: the postprocessing.
      tiles: the tiles, of which `test.outputs.indices` were tested.
      source: what the data are.
      seed: of the choice of tiles.
      folder: the directory to write to.
      write: see `files.Writer`.
    """
    noun = scored_noun(tiles.source)
    drawn = {
        "precision_recall": figures.precision_recall(curves, chosen.threshold, source),
        "by_coverage": figures.by_coverage(test.scores.by_coverage, source, noun),
        "reliability": figures.reliability(test.scores.calibration, source),
    }
    mean = test.scores.test_native.iou.value
    many = console.counted(len(test.counts), noun)
    for name, rows, heading in (
        (
            "predictions",
            pick_examples(test.counts, seed),
            f"Evenly spaced ranks by IoU of {many}, mean IoU {mean:.2f}",
        ),
        (
            "worst",
            pick_worst(test.counts),
            f"Lowest IoU of {many}, ties by the number of wrong pixels",
        ),
    ):
        indices = test.outputs.indices[rows]
        iou = metrics.tile_scores(test.counts[rows])["iou"]
        drawn[name] = tile_figures.predictions(
            tiles.shown(indices),
            tiles.labels[indices, :, :, 0],
            test.outputs.prob_native[rows],
            test.masks[rows],
            chosen.threshold,
            [
                f"{shortened(tiles.ids[i])}\nIoU {score:.2f}"
                for i, score in zip(indices, iou)
            ],
            heading,
            source,
        )
    for name, figure in drawn.items():
        figures.save(figure, folder / f"{name}.png", write)


def pick_examples(counts: np.ndarray, seed: int) -> np.ndarray:
    """Returns rows of `metrics.confusion` counts int64[N, 4] at evenly spaced ranks by IoU.

    The seed orders tiles of the same IoU.
    """
    n = min(len(counts), EXAMPLES)
    order = seeds.examples_rng(seed).permutation(len(counts))
    ranked = order[np.argsort(metrics.tile_scores(counts)["iou"][order], kind="stable")]
    return ranked[(2 * np.arange(n) + 1) * len(counts) // (2 * n)]


def pick_worst(counts: np.ndarray) -> np.ndarray:
    """Returns rows of `metrics.confusion` counts int64[N, 4] with the lowest IoU, lowest first.

    Of equal IoU, those with more wrong pixels come first.
    """
    wrong = counts[:, 1] + counts[:, 2]
    return np.lexsort((-wrong, metrics.tile_scores(counts)["iou"]))[:EXAMPLES]
