"""The figure that compares runs, and their labels in it."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saltjax.reporting.averages import REPEATED, differing_settings, neutral
from saltjax.reporting.figures import (
    BLACK,
    BLUE,
    ORANGE,
    error_bars,
    figure_of,
    tidy,
)
from saltjax.runs import settings
from saltjax.runs.result import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# With more settings that differ, a label names only those that are not the default.
FEW_SETTINGS = 3
# By whether it is a mean over runs: colour and marker.
STYLES = {False: (BLUE, "o"), True: (ORANGE, "D")}
# By the label of a panel: the titles of its scores of validation and test tiles.
PANELS = {
    "Loss (BCE)": ("val loss", "test loss"),
    "Accuracy at 0.5": ("val accuracy", "accuracy at 0.5"),
    "F1 at the threshold": ("val F1", "F1"),
    "IoU, mean over tiles,\n95 % interval": ("", "IoU"),
    "Kaggle mAP, mean over tiles,\n95 % interval": ("", "Kaggle mAP"),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the figure: a run, or a mean over runs.

    Attributes:
      label: what it is.
      scores: by the titles in PANELS, with an interval or an error where there is one; those that
        are not known are left out.
      difference: to the reference; None if there is none.
      is_reference: whether others are compared with it.
      is_mean: whether it is a mean over runs.
    """

    label: str
    scores: dict[str, Interval]
    difference: Interval | None
    is_reference: bool
    is_mean: bool


def labels(
    configs: Sequence[dict[str, Any]], names: Sequence[str], repeated: bool = True
) -> list[str]:
    """Returns a label for each run: its name, as in the tables, and the settings that differ.

    Settings that the name holds already are left out.

    >>> configs = [{"model.skip": skip, "seed": seed} for skip in (True, False) for seed in (0, 1)]
    >>> labels(configs, ["a", "b", "unet-model.skip=False", "d"])[1:3]
    ['b: skip=True, seed=1', 'unet-model.skip=False: seed=0']
    >>> labels([{"seed": 0}] * 2, "ab")
    ['a', 'b']

    Args:
      configs: every setting by its dotted key.
      names: of the runs.
      repeated: whether fold and seeds are shown.
    """
    without = neutral(configs)
    keys = [key for key in differing_settings(configs) if key not in without]
    repeats = [key for key in REPEATED if key in keys and repeated]
    keys = [key for key in keys if key not in REPEATED]
    last = {key: key.removesuffix(".name").rpartition(".")[2] for key in keys + repeats}
    uses = collections.Counter(last.values())
    defaults = settings.defaults()
    found = []
    for config, name in zip(configs, names):
        texts = {key: settings.value_text(config.get(key, "")) for key in last}
        shown = keys
        if len(keys) > FEW_SETTINGS:
            shown = [
                k for k in keys if texts[k] != settings.value_text(defaults.get(k))
            ]
        parts = ["default settings"] if keys and not shown else []
        for key in [*shown, *repeats]:
            value = pathlib.PurePath(texts[key]).name
            in_name = f"{key}={value.replace(',', 'x')}" in name.split("-")
            if in_name or (key == "data.fold" and not config.get("data.folds")):
                continue
            absent = "synthetic" if key == "data.dir" else "none"
            title = last[key] if uses[last[key]] == 1 else key
            parts.append(f"{title}={value or absent}")
        found.append(f"{name}: {', '.join(parts)}" if parts else name)
    return found


def comparison(rows: Sequence[Row], source: str, additive: bool = False) -> Figure:
    """Validation and test scores of runs and of means, and differences from a reference.

    Args:
      rows: the rows, from the top.
      source: what the data are.
      additive: whether the differences are of Kaggle mAP to the row above, or of IoU.
    """
    names = [textwrap.fill(r.label, 44, max_lines=4, placeholder=" …") for r in rows]
    lines = sum(name.count("\n") + 1 for name in names)
    figure = figure_of(15, 1.7 + 0.17 * (lines + len(rows)), source)
    panels = figure.subplots(1, len(PANELS) + 1, sharey=True)
    for axes, (panel, titles) in zip(panels, PANELS.items()):
        axes.set_xlabel(panel, fontsize=9)
        for title, part, face, shift in zip(
            titles, ("validation", "test"), ("white", None), (-0.14, 0.14)
        ):
            for is_mean, (color, marker) in STYLES.items():
                shown = {
                    y: row.scores[title]
                    for y, row in enumerate(rows)
                    if row.is_mean == is_mean and title in row.scores
                }
                label = part + ", mean ± standard error" * is_mean
                _draw(axes, shown, shift, label, color, marker, face or color)
    _draw_differences(panels[-1], rows)
    difference = "IoU minus the reference's,\n95 % interval"
    if additive:
        difference = "Kaggle mAP: gain over the\nrow above, 95 % interval"
    panels[-1].set_xlabel(difference, fontsize=9)
    panels[0].set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    means = [y for y, row in enumerate(rows) if row.is_mean]
    for axes in panels:
        if means and means[0]:
            axes.axhline(means[0] - 0.5, color="0.6", linewidth=0.8)
        axes.margins(x=0.15)
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(axis="x", labelsize=8)
        tidy(axes)
    handles: dict[str, Any] = {}
    for axes in panels[:-1]:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize=8,
    )
    return figure


def _draw(
    axes,
    shown: dict[int, Interval],
    shift: float,
    label: str,
    color: str,
    marker: str,
    face: str,
) -> None:
    """Draws scores with their error bars at the rows that are their keys."""
    if shown:
        value, errors = error_bars(list(shown.values()))
        style = {"fmt": marker, "color": color, "mfc": face, "markersize": 4.5}
        y = np.array(list(shown)) + shift
        axes.errorbar(value, y, xerr=errors, label=label, capsize=2.5, **style)


def _draw_differences(axes, rows: Sequence[Row]) -> None:
    axes.axvline(0, color=BLACK, linestyle=":", linewidth=1)
    for is_mean, (color, marker) in STYLES.items():
        shown = {
            y: row.difference
            for y, row in enumerate(rows)
            if row.difference is not None and row.is_mean == is_mean
        }
        _draw(axes, shown, 0, "", color, marker, color)
    for y, row in enumerate(rows):
        if row.is_reference:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            style = {"ha": "center", "va": "center", "fontsize": 7, "color": "0.35"}
            axes.text(0, y, "reference", bbox=box, **style)
