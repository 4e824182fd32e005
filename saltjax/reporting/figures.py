"""Figures of a run's training, scores and data, as matplotlib Figures that `save` writes.

Colours are those of Okabe & Ito, which colour-blind readers can distinguish.
"""

from __future__ import annotations

import pathlib
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saltjax.runs.result import (
    Calibration,
    CoverageScores,
    Interval,
    Threshold,
    ThresholdAccuracy,
)
from saltjax.system import files
from saltjax.system.console import counted, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from saltjax.scoring.metrics import Curve

BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#E69F00", "#009E73", "#000000"
PURPLE = "#CC79A7"
SCORE_NAMES = {
    "f1": "F1",
    "iou": "IoU",
    "dice": "Dice",
    "kaggle_map": "Kaggle mAP",
    "mean_iou": "two-class mean IoU",
    "mean_class_accuracy": "mean class accuracy",
}
MAX_CURVE_POINTS = 2000
# Of the line that names the data, in an inch.
CHARACTERS = 18


def figure_of(width: float, height: float, source: str, share: float = 1) -> Figure:
    """Returns a figure with the data's source in its lower right corner.

    Args:
      width, height: in inches.
      source: what the data are.
      share: of the width that its lines may take.
    """
    # Imported here since it takes half a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    style = {"fontsize": 7, "color": "0.35", "x": 0.99, "ha": "right"}
    text = textwrap.fill(f"Data: {source}", int(CHARACTERS * share * width))
    # Names of directories and tiles may hold dollars, which are not formulas.
    figure.supxlabel(text, parse_math=False, **style)
    return figure


def save(
    figure: Figure, path: pathlib.Path, write: files.Writer = files.atomic_write
) -> None:
    """Writes a figure as PNG, atomically."""
    with write(path) as temporary:
        figure.savefig(temporary, format="png")


def tidy(axes) -> None:
    """Draws a light grid and no frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def curves(history: Sequence[dict[str, Any]], best_epoch: int, source: str) -> Figure:
    """Loss, accuracy, Kaggle mAP if there is one, and learning rate; rows of metrics.csv."""
    epochs, columns = [row["epoch"] for row in history], history[0].keys()
    labels = {"loss": "Loss (BCE)", "accuracy": "Pixel accuracy"}
    if "val_kaggle_map" in columns:
        labels["kaggle_map"] = "Kaggle mAP at 0.5"
    count = len(labels) + 1
    figure = figure_of(10 * count / 3, 3.2, source)
    *scores, rate = figure.subplots(1, count)
    for axes, (key, label) in zip(scores, labels.items()):
        for column, color, name in (
            (f"train_{key}", BLUE, "training"),
            (f"val_{key}", ORANGE, "validation"),
        ):
            if column in columns:
                values = [row[column] for row in history]
                axes.plot(
                    epochs, values, color=color, label=name, marker="o", markersize=2.5
                )
        axes.axvline(
            best_epoch,
            color=BLACK,
            linestyle=":",
            linewidth=1,
            label=f"tested, epoch {best_epoch}",
        )
        axes.set(xlabel="Epoch", ylabel=label)
    scores[0].legend(frameon=False, fontsize=8)
    rates = [row["learning_rate"] for row in history]
    rate.step(epochs, rates, where="mid", color=GREEN, marker="o", markersize=2.5)
    rate.set(xlabel="Epoch", ylabel="Learning rate", yscale="log")
    rate.margins(y=0.3)
    for axes in (*scores, rate):
        tidy(axes)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure


def precision_recall(curves: dict[str, Curve], threshold: float, source: str) -> Figure:
    """Precision-recall curves over all pixels, with the chosen threshold on the first.

    Args:
      curves: one or two, by the name of the tiles; the last is of the test tiles.
      threshold: the chosen one.
      source: what the data are.
    """
    figure = figure_of(4.6, 4.2, source)
    axes = figure.subplots()
    for (name, curve), color in zip(curves.items(), (ORANGE, BLUE)):
        recall, precision = curve.recall, curve.precision
        # Thinned to even steps of recall; even steps of index would cluster where thresholds do.
        wanted = np.linspace(recall[0], recall[-1], MAX_CURVE_POINTS)
        thinned = np.unique(len(recall) - 1 - np.searchsorted(recall[::-1], wanted))
        # The first has salt everywhere; others of the same recall are above it.
        thinned = np.union1d(np.clip(thinned, 0, len(recall) - 1), 0)
        label = f"{name}, average precision {curve.average_precision:.3f}"
        axes.plot(recall[thinned], precision[thinned], color=color, label=label)
    name, first = next(iter(curves.items()))
    i = first.index(threshold)
    # Above all probabilities nothing is predicted as salt.
    point = (first.recall[i], first.precision[i]) if i < len(first.f1) else (0, 0)
    axes.plot(
        *point,
        "o",
        color=ORANGE,
        markeredgecolor=BLACK,
        label=f"threshold {threshold:.3f}, F1 {first.f1_at(threshold):.3f} on {name}",
    )
    name, last = list(curves.items())[-1]
    axes.axhline(
        last.salt_share,
        color=BLACK,
        linestyle=":",
        linewidth=1,
        label=f"salt everywhere, {name}: precision {last.salt_share:.2f}",
    )
    axes.set(xlabel="Recall", ylabel="Precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(framealpha=0.8, edgecolor="none", fontsize=8, loc="best")
    tidy(axes)
    return figure


def thresholds(
    rows: Sequence[ThresholdAccuracy], chosen: Threshold, curve: Curve, source: str
) -> Figure:
    """F1 and accuracy over thresholds.

    Args:
      rows: accuracies at the study's thresholds.
      chosen: the chosen threshold.
      curve: of the validation pixels.
      source: what the data are.
    """
    figure = figure_of(4.6, 5.2, source)
    f1, accuracy = figure.subplots(2, 1, sharex=True)
    thinned = np.unique(np.linspace(0, len(curve.f1) - 1, MAX_CURVE_POINTS).astype(int))
    f1.plot(curve.thresholds[thinned], curve.f1[thinned], color=ORANGE)
    f1.set_ylabel("F1 over pixels, validation")
    x = [row.threshold for row in rows]
    for part, color, name in (("val", ORANGE, "validation"), ("test", BLUE, "test")):
        values = [getattr(row, f"{part}_accuracy") for row in rows]
        accuracy.plot(x, values, color=color, marker="o", markersize=4, label=name)
    accuracy.set(
        xlabel="Threshold on the probability of salt",
        ylabel="Pixel accuracy",
        xlim=(0, 1),
    )
    metric = SCORE_NAMES[chosen.metric]
    for axes in (f1, accuracy):
        label = f"threshold {chosen.value:.3f}, chosen by {metric} on validation"
        axes.axvline(chosen.value, color=BLACK, linestyle=":", linewidth=1, label=label)
        tidy(axes)
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", frameon=False, fontsize=8
    )
    return figure


def coverage(values: np.ndarray, source: str, noun: str = "tile") -> Figure:
    """Histogram of the tiles' salt coverage float[N] in [0, 1]; empty tiles have their own bar."""
    figure = figure_of(4.6, 3.2, source)
    axes = figure.subplots()
    with_salt = values[values > 0]
    empty = len(values) - len(with_salt)
    axes.bar(-0.16, empty, width=0.1, color="0.6")
    axes.text(-0.16, empty, f"{empty}", ha="center", va="bottom", fontsize=7)
    axes.hist(with_salt, bins=10, range=(0, 1), color=BLUE, edgecolor="white")
    axes.axvline(
        values.mean(),
        color=BLACK,
        linestyle=":",
        linewidth=1,
        label=f"mean of all {plural(noun)} {values.mean():.1%}",
    )
    axes.set(xlabel=f"Salt coverage of the {noun}", ylabel=plural(noun).capitalize())
    shares = np.arange(0, 1.01, 0.2)
    axes.set_xticks([-0.16, *shares], ["none", *(f"{s:.0%}" for s in shares)])
    axes.locator_params(axis="y", integer=True)
    axes.legend(frameon=False, fontsize=8)
    tidy(axes)
    return figure


def by_coverage(
    rows: Sequence[CoverageScores], source: str, noun: str = "tile"
) -> Figure:
    """Mean scores of the tiles in each class of salt coverage, with their intervals."""
    figure = figure_of(4.6, 3.6, source)
    axes = figure.subplots()
    x = np.arange(len(rows))
    for shift, key, color, marker in (
        (-0.12, "iou", BLUE, "o"),
        (0.12, "kaggle_map", ORANGE, "s"),
    ):
        value, errors = error_bars([getattr(row, key) for row in rows])
        style: dict[str, Any] = {"fmt": marker, "markersize": 5, "capsize": 3}
        label = f"{SCORE_NAMES[key]}, 95 % interval"
        axes.errorbar(x + shift, value, yerr=errors, label=label, color=color, **style)
    names = [f"{percent_range(r.coverage)}\n{counted(r.tiles, noun)}" for r in rows]
    axes.set_xticks(x, names, fontsize=8)
    axes.set(
        xlabel=f"Salt coverage of the {noun}",
        ylabel=f"Mean over {plural(noun)}",
        ylim=(-0.03, 1.03),
        xlim=(-0.5, len(rows) - 0.5),
    )
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    tidy(axes)
    return figure


def error_bars(intervals: Sequence[Interval]) -> tuple[np.ndarray, np.ndarray]:
    """Returns values [n] and the lengths [2, n] of their error bars."""
    value, low, high = np.array([[i.value, i.low, i.high] for i in intervals]).T
    # By rounding, a value can lie outside its interval.
    return value, np.maximum([value - low, high - value], 0)


def percent_range(coverage: str) -> str:
    """Returns a class of salt coverage in percent.

    >>> percent_range("0.1-0.4"), percent_range("0")
    ('10–40 %', 'none')
    """
    bounds = [f"{float(bound):.0%}"[:-1] for bound in coverage.split("-")]
    return "none" if bounds == ["0"] else f"{'–'.join(bounds)} %"


def reliability(calibration: Calibration, source: str) -> Figure:
    """Observed share of salt over the predicted probability, and the number of pixels per bin."""
    rows = calibration.bins
    figure = figure_of(4.6, 5.2, source)
    share, number = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)}
    )
    share.plot((0, 1), (0, 1), color=BLACK, linestyle=":", linewidth=1, label="ideal")
    share.plot(
        [row.mean_probability for row in rows],
        [row.salt_share for row in rows],
        color=BLUE,
        marker="o",
        markersize=5,
        clip_on=False,
        label=f"ten bins; expected calibration error {calibration.ece:.3f}",
    )
    share.set(ylabel="Observed share of salt", xlim=(0, 1), ylim=(0, 1))
    for row in rows:
        width = row.high - row.low
        style = {"align": "edge", "color": BLUE, "edgecolor": "white"}
        number.bar(row.low, row.pixels, width, **style)
    number.set(xlabel="Predicted probability of salt", ylabel="Pixels", yscale="log")
    number.set_ylim(bottom=1)
    for axes in (share, number):
        tidy(axes)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure
