"""What a volume of training data is: its facts as text, its split as a map, amplitudes and lines."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from saltjax.data import labels
from saltjax.data.blocks import NAMES, PARTS
from saltjax.data.volumes import VolumeData
from saltjax.reporting import figures
from saltjax.reporting.figures import BLACK, BLUE, GREEN, ORANGE, PURPLE
from saltjax.seismic import amplitudes
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system import console
from saltjax.system.errors import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {"train": BLUE, "val": ORANGE, "test": GREEN}
UNITS = {"ms": "Two-way time, ms", "m": "Depth, m", "ft": "Depth, ft"}
IN_GAP = 0.82  # grey of labelled traces that are in no part
BINS = 120
SHOWN_LINES = 3  # of validation and of test
OTHER = {"inline": "crossline", "crossline": "inline"}


def show(data: VolumeData) -> None:
    """Prints the facts of a volume."""
    facts, scanned = data.facts, data.scanned
    inlines, crosslines, samples = facts["shape"]
    axis = SampleAxis(**facts["axis"])
    console.say(
        f"Volume     {inlines} inlines, {crosslines} crosslines, {samples} samples "
        f"({labels.axis_text(axis)})"
    )
    for name in ("inlines", "crosslines"):
        first, last = facts[name]
        console.say(f"           {name} {first} to {last}")
    traces = int(scanned.has_labels.sum()) * crosslines
    share = scanned.labelled.sum() / (traces * samples)
    console.say(
        f"Labels     {facts['labelled_inlines']} of {inlines} inlines hold labels, for {share:.1%} of "
        f"their samples; {facts['dead_traces']} of their {traces} traces are dead"
    )
    if facts["label_values"]:
        console.say(f"           values {facts['label_values']}")
    low, high = facts["amplitudes"]
    console.say(
        f"Amplitudes {low:g} to {high:g} become black to white, by the training inlines"
    )
    for name in PARTS:
        spans = " and ".join(
            f"inlines {a} to {b}" if a != b else f"inline {a}"
            for a, b in facts["blocks"][name]
        )
        console.say(
            f"Block      {NAMES[name]}: {spans}, salt in {facts['salt'][name]:.1%} of the labelled "
            "samples"
        )
    console.say(f"Gap        {facts['gap']} inlines between two parts. {across(facts)}")


def across(facts: dict[str, Any]) -> str:
    """Returns what data.json says of the resemblance of inlines, in a sentence."""
    found = {k: f"{v:.2f}" for k, v in facts["correlation"].items() if v is not None}
    if not found:
        return "Too few live traces for correlations of amplitudes."
    near = found.pop("neighbours", "unknown")
    gaps = ", ".join(f"{value} {pair}" for pair, value in found.items())
    text = f"Correlation of amplitudes: {near} of neighbouring inlines"
    return f"{text}; across the gaps {gaps}" if gaps else text


def draw(data: VolumeData, folder: pathlib.Path) -> None:
    """Draws split.png, amplitudes.png and lines.png."""
    drawn = {
        "split": split_map(data),
        "amplitudes": histogram(data),
        "lines": lines(data),
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            figures.save(figure, folder / f"{name}.png")


def split_map(data: VolumeData) -> Figure:
    """The volume from above, with the blocks of the split, and the salt of each inline."""
    facts, scanned = data.facts, data.scanned
    figure = figures.figure_of(7.5, 5.5, data.lines.description)
    above, shares = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.3))
    picture = _colors_from_above(data)
    (i0, i1), (x0, x1) = facts["inlines"], facts["crosslines"]
    di, dx = (
        max(abs(b - a), 1) / max(n - 1, 1) / 2
        for a, b, n in ((i0, i1, len(picture)), (x0, x1, picture.shape[1]))
    )
    extent = (i0 - di, i1 + di, x1 + dx, x0 - dx)
    above.imshow(
        picture.transpose(1, 0, 2),
        extent=extent,
        aspect="auto",
        interpolation="nearest",
    )
    above.set(
        ylabel="Crossline",
        title="Split into blocks of inlines, from above (pale: no salt, paler: unlabelled)",
    )
    handles = [
        above.fill_between([], [], color=COLORS[name], label=f"{NAMES[name]}, salt")
        for name in PARTS
    ]
    if (picture == IN_GAP).all(axis=-1).any():
        handles.append(
            above.fill_between([], [], color=str(IN_GAP), label="gap, labelled")
        )
    if scanned.dead.any():
        handles.append(above.fill_between([], [], color=BLACK, label="dead trace"))
    above.legend(
        handles=handles,
        fontsize=7,
        ncols=5,
        loc="lower center",
        bbox_to_anchor=(0.5, -0.16),
        frameon=False,
    )
    share = scanned.salt.sum(axis=1) / np.maximum(scanned.labelled.sum(axis=1), 1)
    numbers = np.linspace(i0, i1, len(share))
    color = np.full(len(share), "0.6", object)
    for name in PARTS:
        for start, stop in data.blocks[name]:
            color[start:stop] = COLORS[name]
    shares.bar(numbers, 100 * share, width=2 * di, color=color)
    shares.set(xlabel="Inline", ylabel="Salt, % of labelled")
    figures.tidy(shares)
    return figure


def _colors_from_above(data: VolumeData) -> np.ndarray:
    """Returns the colour of each trace, float[inlines, crosslines, 3]."""
    from matplotlib.colors import to_rgb

    scanned = data.scanned
    picture = np.ones((*scanned.salt.shape, 3))
    picture[scanned.labelled > 0] = IN_GAP
    for name in PARTS:
        color = np.array(to_rgb(COLORS[name]))
        for start, stop in data.blocks[name]:
            picture[start:stop] = 1 - 0.12 * (1 - color)
            held = scanned.labelled[start:stop] > 0
            salt = scanned.salt[start:stop] > 0
            picture[start:stop][held] = 1 - 0.4 * (1 - color)
            picture[start:stop][salt] = color
    picture[scanned.dead] = 0
    return picture


def histogram(data: VolumeData) -> Figure:
    """The amplitudes of the training inlines, and the range that the network sees."""
    low, high = data.facts["amplitudes"]
    live = data.sample[amplitudes.live(data.sample)].ravel()
    figure = figures.figure_of(5, 3.2, data.lines.description)
    axes = figure.subplots()
    reach = 2 * max(abs(low), abs(high)) or 1
    outside = float(np.mean((live < low) | (live > high))) if live.size else 0.0
    axes.hist(np.clip(live, -reach, reach), BINS, color=BLUE)
    for value in (low, high):
        axes.axvline(value, color=ORANGE, linewidth=1.5)
    axes.set(
        xlabel="Amplitude, training inlines",
        ylabel="Samples",
        title=f"{low:.4g} to {high:.4g} become black to white;\n{outside:.1%} lie beyond",
    )
    axes.title.set_fontsize(9)
    axes.locator_params(axis="x", nbins=5)  # amplitudes may have many digits
    figures.tidy(axes)
    return figure


def _examples(data: VolumeData) -> np.ndarray:
    """Returns the indices of some lines of validation and of test, evenly spaced."""
    chosen = []
    for name in ("val", "test"):
        part = data.split[name]
        n = min(SHOWN_LINES, len(part))
        chosen.append(part[(2 * np.arange(n) + 1) * len(part) // (2 * n)])
    return np.concatenate(chosen)


def lines(data: VolumeData) -> Figure:
    """Lines of validation and test with their salt; unlabelled samples are tinted."""
    from matplotlib.colors import to_rgba

    tiles, chosen, axis = data.lines, _examples(data), SampleAxis(**data.facts["axis"])
    columns = min(len(chosen), SHOWN_LINES)
    rows = -(-len(chosen) // columns)
    figure = figures.figure_of(3.4 * columns, 2.8 * rows, tiles.description)
    grid = figure.subplots(rows, columns, squeeze=False)
    height, width = tiles.size
    depth = (axis.first + (height - 0.5) * axis.step, axis.first - axis.step / 2)
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for axes, i in zip(grid.flat, chosen):
        label = tiles.labels[i, :, :, 0]
        part, direction, number = tiles.ids[i].split("_")
        first, step = _traces(data.facts, part, direction)
        extent = (first - step / 2, first + (width - 0.5) * step, *depth)
        middle = tiles.images.shape[3] // 2
        axes.imshow(
            tiles.images[i, :, :, middle],
            cmap="gray",
            vmin=0,
            vmax=255,
            extent=extent,
            aspect="auto",
            interpolation="nearest",
        )
        over = np.zeros((height, width, 4))
        over[label == 1] = to_rgba(ORANGE, 0.35)
        over[label > 1] = to_rgba(PURPLE, 0.35)
        axes.imshow(over, extent=extent, aspect="auto", interpolation="nearest")
        axes.set_title(f"{NAMES[part]}, {direction} {number}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in grid[:, 0]:
        axes.set_ylabel(UNITS.get(axis.unit, "Sample"), fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel(OTHER[direction].capitalize(), fontsize=8)
    tint = ", violet: unlabelled or dead" if (tiles.labels[chosen] > 1).any() else ""
    figure.suptitle(f"Orange: salt by the labels{tint}", fontsize=9)
    return figure


def _traces(facts: dict[str, Any], part: str, direction: str) -> tuple[int, float]:
    """Returns the number of the first trace of the lines of a part, and the step of the numbers."""
    other = OTHER[direction]
    first, last = facts[f"{other}s"]
    step = (last - first) / max(facts["shape"][other == "crossline"] - 1, 1) or 1
    # Crosslines end where the block does.
    return first if other == "crossline" else facts["blocks"][part][0][0], step
