"""The figures of a run. Every function returns a matplotlib Figure, ready to be saved.

Colours are Okabe & Ito's, which colour-blind readers can tell apart.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#E69F00", "#009E73", "#000000"
EXAMPLES = 5
MAX_CURVE_POINTS = 2000


def _figure(width: float, height: float, source: str) -> "Figure":
    """Returns a figure of that size in inches, with the data's source in its lower right corner."""
    # Half a second that no run pays before it draws.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    style = {"fontsize": 7, "color": "0.35", "x": 0.99, "ha": "right"}
    # Names of folders and tiles are no formulas, whatever dollars they hold.
    figure.supxlabel(f"Data: {source}", parse_math=False, **style)
    return figure


def _tidy(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def curves(history: list[dict], best_epoch: int, source: str) -> "Figure":
    """Loss, accuracy and learning rate over the epochs; rows of metrics.csv."""
    epochs = [row["epoch"] for row in history]
    figure = _figure(10, 3.2, source)
    loss, accuracy, rate = figure.subplots(1, 3)
    for axes, key, label in (
        (loss, "loss", "Loss (BCE)"),
        (accuracy, "accuracy", "Pixel accuracy"),
    ):
        for part, color, name in (
            ("train", BLUE, "training"),
            ("val", ORANGE, "validation"),
        ):
            values = [row[f"{part}_{key}"] for row in history]
            axes.plot(
                epochs, values, color=color, label=name, marker="o", markersize=2.5
            )
        axes.axvline(
            best_epoch,
            color=BLACK,
            linestyle=":",
            linewidth=1,
            label=f"best, epoch {best_epoch}",
        )
        axes.set(xlabel="Epoch", ylabel=label)
    loss.legend(frameon=False, fontsize=8)
    rates = [row["learning_rate"] for row in history]
    rate.step(epochs, rates, where="mid", color=GREEN, marker="o", markersize=2.5)
    rate.set(xlabel="Epoch", ylabel="Learning rate", yscale="log")
    rate.margins(y=0.3)
    for axes in (loss, accuracy, rate):
        _tidy(axes)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure


def precision_recall(curve: dict, source: str) -> "Figure":
    """The precision-recall curve of the validation pixels with the chosen threshold."""
    figure = _figure(4.6, 4.2, source)
    axes = figure.subplots()
    best, recall, precision = curve["best"], curve["recall"], curve["precision"]
    # Even steps of recall: even steps of index would crowd where thresholds crowd.
    wanted = np.linspace(recall[0], recall[-1], MAX_CURVE_POINTS)
    thinned = np.unique(len(recall) - 1 - np.searchsorted(recall[::-1], wanted))
    thinned = np.clip(thinned, 0, len(recall) - 1)
    label = f"average precision {curve['average_precision']:.3f}"
    axes.plot(recall[thinned], precision[thinned], color=BLUE, label=label)
    axes.plot(
        recall[best],
        precision[best],
        "o",
        color=ORANGE,
        markeredgecolor=BLACK,
        label=f"best F1 {curve['best_f1']:.3f}, threshold {curve['thresholds'][best]:.2f}",
    )
    axes.set(xlabel="Recall", ylabel="Precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.set_title("Validation pixels", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    _tidy(axes)
    return figure


def thresholds(rows: list[dict], chosen: float, source: str) -> "Figure":
    """Accuracy over thresholds; `rows` as in result.json."""
    figure = _figure(4.6, 3.6, source)
    axes = figure.subplots()
    x = [row["threshold"] for row in rows]
    for part, color, name in (("val", ORANGE, "validation"), ("test", BLUE, "test")):
        values = [row[f"{part}_accuracy"] for row in rows]
        axes.plot(x, values, color=color, marker="o", markersize=4, label=name)
    axes.axvline(
        chosen, color=BLACK, linestyle=":", linewidth=1, label=f"best F1, {chosen:.2f}"
    )
    axes.set(xlabel="Threshold on the probability of salt", ylabel="Pixel accuracy")
    axes.legend(frameon=False, fontsize=8)
    _tidy(axes)
    return figure


def examples(images: np.ndarray, labels: np.ndarray, source: str) -> "Figure":
    """Tiles uint8[N, H, W, 3] above their masks uint8[N, H, W]."""
    n = len(images)
    figure = _figure(1.7 * n, 3.6, source)
    grid = figure.subplots(2, n, squeeze=False)
    for column, (image, label) in enumerate(zip(images, labels)):
        _show(grid[0, column], image)
        _show(grid[1, column], label, cmap="gray", vmin=0, vmax=1)
        grid[1, column].set_xlabel(f"{label.mean():.0%} salt", fontsize=8)
    grid[0, 0].set_ylabel("Image")
    grid[1, 0].set_ylabel("Mask (white: salt)")
    return figure


def coverage(values: np.ndarray, source: str) -> "Figure":
    """Histogram of the tiles' salt coverage float[N] in [0, 1]; empty tiles are a bar of their own."""
    figure = _figure(4.6, 3.2, source)
    axes = figure.subplots()
    with_salt = values[values > 0]
    axes.bar(
        -0.05, len(values) - len(with_salt), width=0.06, color="0.6", label="no salt"
    )
    axes.hist(
        with_salt,
        bins=20,
        range=(0, 1),
        color=BLUE,
        edgecolor="white",
        label="with salt",
    )
    axes.axvline(
        values.mean(),
        color=BLACK,
        linestyle=":",
        linewidth=1,
        label=f"mean {values.mean():.1%}",
    )
    axes.set(xlabel="Share of the tile's pixels that are salt", ylabel="Tiles")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(frameon=False, fontsize=8)
    _tidy(axes)
    return figure


def predictions(
    images: np.ndarray,
    labels: np.ndarray,
    probs: np.ndarray,
    threshold: float,
    captions: list[str],
    source: str,
) -> "Figure":
    """A row a tile: image, mask, probability, and prediction with the outlines of both.

    Args:
      images: uint8[N, H, W, 3].
      labels: uint8[N, H, W], 1 where salt.
      probs: float32[N, H, W].
      threshold: where a probability becomes salt.
      captions: N, shown beside each row.
      source: what the data are.
    """
    n = len(images)
    figure = _figure(7.6, 1.72 * n + 0.5, source)
    grid = figure.subplots(n, 4, squeeze=False)
    for row, image, label, prob, caption in zip(grid, images, labels, probs, captions):
        _show(row[0], image)
        row[0].set_ylabel(caption, fontsize=7, parse_math=False)
        _show(row[1], label, cmap="gray", vmin=0, vmax=1)
        shown = _show(row[2], prob, cmap="viridis", vmin=0, vmax=1)
        _show(row[3], image)
        _outline(row[3], label, BLUE)
        _outline(row[3], prob >= np.float32(threshold), ORANGE)
    titles = ("Image", "Mask", "Probability of salt", f"Prediction (≥ {threshold:.2f})")
    for axes, title in zip(grid[0], titles):
        axes.set_title(title, fontsize=9)
    bar = figure.colorbar(
        shown, ax=grid.ravel().tolist(), shrink=0.6, aspect=40, pad=0.01
    )
    bar.set_label("Probability of salt", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    handles = [
        grid[0, 3].plot([], [], color=c, label=t)[0]
        for c, t in ((BLUE, "mask"), (ORANGE, "prediction"))
    ]
    figure.legend(
        handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=8
    )
    return figure


def _show(axes, array, **kwargs):
    """Shows an array with square pixels and no ticks."""
    axes.set(xticks=[], yticks=[])
    return axes.imshow(array, interpolation="nearest", **kwargs)


def _outline(axes, mask, color) -> None:
    """Draws the border of a mask, also along the tile's edges."""
    padded = np.pad(np.asarray(mask, float), 1)
    if padded.any():
        x, y = np.arange(-1, mask.shape[1] + 1), np.arange(-1, mask.shape[0] + 1)
        axes.contour(x, y, padded, levels=[0.5], colors=color, linewidths=1.3)
        axes.set(xlim=(-0.8, mask.shape[1] - 0.2), ylim=(mask.shape[0] - 0.2, -0.8))


def comparison(results: dict[str, dict]) -> "Figure":
    """Test scores of several runs; `results` maps names to the contents of result.json."""
    synthetic = {r["data"]["source"] == "synthetic" for r in results.values()}
    source = {
        frozenset({True}): "built-in synthetic sections, no real data",
        frozenset({False}): "tiles of a folder",
    }.get(
        frozenset(synthetic),
        "some runs on synthetic sections, some on tiles of a folder",
    )
    names = list(results)
    rows = np.arange(len(names))
    figure = _figure(11, 1.3 + 0.42 * len(names), source)
    panels = figure.subplots(1, 4, sharey=True)
    for axes, key, title in zip(
        panels,
        ("loss", "accuracy", "f1"),
        ("Test loss (BCE)", "Test accuracy", "Test F1"),
    ):
        values = [r["test"][key] for r in results.values()]
        axes.plot(values, rows, "o", color=BLUE)
        axes.set_xlabel(title)
    native = [r["test_native"]["iou"] for r in results.values()]
    value = np.array([s["value"] for s in native])
    errors = [value - [s["low"] for s in native], [s["high"] for s in native] - value]
    errors = np.maximum(errors, 0)  # rounding can put a value beside its interval
    panels[3].errorbar(value, rows, xerr=errors, fmt="o", color=BLUE, capsize=3)
    panels[3].set_xlabel("Mean IoU, 95 % interval")
    panels[0].set_yticks(rows, names, fontsize=8, parse_math=False)
    panels[0].invert_yaxis()
    for axes in panels:
        axes.margins(x=0.15, y=0.2)
        axes.locator_params(axis="x", nbins=4)
        _tidy(axes)
    return figure
