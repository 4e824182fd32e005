"""Figures of tiles, as matplotlib Figures: examples with their masks, and predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from saltjax.data.tiles import UNLABELLED, salt_coverage
from saltjax.reporting import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 5
SLIVER = 3  # the ratio of the sides, as of crosslines in a narrow block
EMPTY_TEXT = {"color": "white", "ha": "center", "va": "center", "fontsize": 8}
BLACK_BOX = {"facecolor": "black", "edgecolor": "none", "pad": 1}
PATCH = {"linestyle": "none", "marker": "s", "markersize": 8, "alpha": 0.5}


def examples(
    images: np.ndarray, labels: np.ndarray, titles: list[str], source: str
) -> Figure:
    """Tiles uint8[N, H, W, 3] under their titles, above their labels uint8[N, H, W]."""
    n = len(images)
    figure = figures.figure_of(1.7 * n, 3.6, source)
    grid = figure.subplots(2, n, squeeze=False)
    coverage = salt_coverage(labels[..., None])
    for column, (image, label, name) in enumerate(zip(images, labels, titles)):
        _show(grid[0, column], image)
        title = grid[0, column].set_title(name, fontsize=8)
        title.set_parse_math(False)
        _show_label(grid[1, column], label)
        text = f"{coverage[column]:.1%} salt" if coverage[column] else "no salt"
        grid[1, column].set_xlabel(text, fontsize=8)
    grid[0, 0].set_ylabel("Image")
    unlabelled = ",\ntinted: unlabelled" if (labels == UNLABELLED).any() else ""
    grid[1, 0].set_ylabel(f"Mask (white: salt{unlabelled})")
    return figure


def predictions(
    images: np.ndarray,
    labels: np.ndarray,
    probs: np.ndarray,
    predicted: np.ndarray,
    threshold: float,
    captions: list[str],
    heading: str,
    source: str,
) -> Figure:
    """A row for each tile: image, mask, probability, and prediction with both masks' outlines.

    Args:
      images: uint8[N, H, W, 3].
      labels: uint8[N, H, W], 1 where salt, 0 where none, or UNLABELLED, which is tinted.
      probs: float32[N, H, W].
      predicted: bool[N, H, W], masks.
      threshold: of the probability, for the title.
      captions: N, shown beside each row.
      heading: how the tiles were chosen.
      source: what the data are.
    """
    n = len(images)
    # The legend takes the other half.
    figure = figures.figure_of(7.6, 1.72 * n + 0.6, source, share=0.5)
    grid = figure.subplots(n, 4, squeeze=False)
    columns = (grid, images, labels, probs, predicted, captions)
    for row, image, label, prob, mask, caption in zip(*columns):
        _show(row[0], image)
        row[0].set_ylabel(caption, fontsize=7, parse_math=False)
        _show_label(row[1], label)
        shown = _show(row[2], prob, cmap="viridis", vmin=0, vmax=1)
        if not (label == 1).any():
            box = BLACK_BOX if (label == UNLABELLED).any() else None
            middle = np.array(label.shape[::-1]) / 2
            row[1].text(*middle, "no salt", bbox=box, **EMPTY_TEXT)
        _show(row[3], image)
        _show(row[3], _agreement(label, mask))
        _outline(row[3], mask, figures.ORANGE, "-")
        _outline(row[3], label == 1, figures.BLUE, (0, (3, 2)))
    titles = ("Image", "Mask", "Probability of salt", f"Prediction (≥ {threshold:.3f})")
    for axes, title in zip(grid[0], titles):
        axes.set_title(title, fontsize=9)
    bar = figure.colorbar(shown, ax=grid.ravel().tolist(), aspect=60, pad=0.01)
    bar.set_label("Probability of salt", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    entries: list[tuple[str, str, dict[str, Any]]] = [
        (figures.BLUE, "mask", {"linestyle": (0, (3, 2))}),
        (figures.ORANGE, "prediction", {}),
        (figures.GREEN, "true positive", PATCH),
        (figures.ORANGE, "false positive", PATCH),
        (figures.BLUE, "false negative", PATCH),
    ]
    if (labels == UNLABELLED).any():
        entries.append((figures.PURPLE, "unlabelled", PATCH))
    handles = [
        grid[0, 3].plot([], [], color=color, label=label, **style)[0]
        for color, label, style in entries
    ]
    style = {"frameon": False, "fontsize": 7, "columnspacing": 1.0, "handlelength": 1.6}
    figure.legend(handles=handles, loc="outside lower left", ncols=3, **style)
    figure.suptitle(heading, fontsize=9)
    return figure


def _agreement(label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns RGBA float64[H, W, 4]: true positives green, false positives orange, missed blue.

    Unlabelled pixels are tinted purple, whatever is predicted there.
    """
    salt, none = label == 1, label == 0
    return _tints(
        (salt & predicted, figures.GREEN),
        (none & predicted, figures.ORANGE),
        (salt & ~predicted, figures.BLUE),
        (label == UNLABELLED, figures.PURPLE),
    )


def _tints(*areas: tuple[np.ndarray, str]) -> np.ndarray:
    """Returns RGBA float64[H, W, 4], half transparent in areas bool[H, W] of a colour."""
    overlay = np.zeros((*areas[0][0].shape, 4))
    for where, color in areas:
        overlay[where] = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] + [0.4]
    return overlay


def _show_label(axes, label):
    """Shows a label: white where salt, black where none, tinted where unlabelled."""
    _show(axes, label, cmap="gray", vmin=0, vmax=1)
    if (unlabelled := label == UNLABELLED).any():
        _show(axes, _tints((unlabelled, figures.PURPLE)))


def _show(axes, array, **kwargs):
    """Shows an array without ticks, with square pixels unless it would be a sliver."""
    axes.set(xticks=[], yticks=[])
    height, width = array.shape[:2]
    aspect = "auto" if max(height, width) > SLIVER * min(height, width) else "equal"
    return axes.imshow(array, interpolation="nearest", aspect=aspect, **kwargs)


def _outline(axes, mask, color, linestyle) -> None:
    """Draws the border of a mask, also along the tile's edges."""
    padded = np.pad(np.asarray(mask, float), 1)
    if padded.any():
        x, y = np.arange(-1, mask.shape[1] + 1), np.arange(-1, mask.shape[0] + 1)
        style = {"colors": color, "linestyles": [linestyle], "linewidths": 1.3}
        axes.contour(x, y, padded, levels=[0.5], **style)
        axes.set(xlim=(-0.8, mask.shape[1] - 0.2), ylim=(mask.shape[0] - 0.2, -0.8))


def shortened(name: str) -> str:
    """Returns the name, its middle elided if it is wider than a tile."""
    return name if len(name) <= 18 else f"{name[:8]}…{name[-9:]}"
