"""Images cut out of a volume with labels: patches for training, whole lines for validation and test."""

import dataclasses
import importlib.util
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from saltjax.data import patches
from saltjax.data.blocks import NAMES, Block
from saltjax.data.labelled_volume import LabelledVolume, Scan
from saltjax.data.tiles import UNLABELLED, Tiles
from saltjax.seismic import amplitudes
from saltjax.seismic.neighbours import repeat_edges
from saltjax.system import console, seeds
from saltjax.system.errors import InputError

# Samples of validation or test that are scored; of more, lines at equal distances are.
MAX_SCORED = 2**25
# Of the machine's memory: patches that take more are read while training runs.
MEMORY_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of an inline or crossline: traces at `start` to `stop` - 1 of the other direction.

    Attributes:
      direction: "inline" or "crossline".
      index: of the line.
      start, stop: indices of its traces.
      beside: the lines, first to last + 1, that its neighbours may be.
    """

    direction: str
    index: int
    start: int
    stop: int
    beside: Block

    def traces(self, offset: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns inline and crossline indices int[n] of the traces `offset` lines away.

        Beyond `beside` the outermost line stands for all others.
        """
        along, (low, high) = np.arange(self.start, self.stop), self.beside
        line = np.full(len(along), np.clip(self.index + offset, low, high - 1))
        return (line, along) if self.direction == "inline" else (along, line)


@dataclasses.dataclass(frozen=True)
class Cutter:
    """Cuts images out of a volume.

    Attributes:
      volume: the amplitudes and labels.
      scanned: what is known of the labels.
      method, limits: the scaling of amplitudes, see `amplitudes.to_unit`.
      context: sections on either side that are channels too.
    """

    volume: LabelledVolume
    scanned: Scan
    method: str
    limits: amplitudes.Range
    context: int

    @property
    def channels(self) -> int:
        """C, the channels of images."""
        return 2 * self.context + 1 if self.context else 3

    def image(self, section: Section) -> np.ndarray:
        """Returns uint8[samples, traces, C]: the section thrice or, with context, 2k + 1 sections.

        As `predict` does, it repeats the next section towards the middle beside a dead trace.
        """
        read = [
            self.volume.amplitudes(*section.traces(offset))
            for offset in range(-self.context, self.context + 1)
        ]
        unit = np.stack(
            [amplitudes.to_unit(traces, self.limits, self.method) for traces in read]
        )
        repeat_edges(unit, np.stack([amplitudes.live(traces) for traces in read]))
        grey = np.rint(255 * unit).astype(np.uint8).transpose(2, 1, 0)
        return grey if self.context else np.broadcast_to(grey, (*grey.shape[:2], 3))

    def labels(self, section: Section) -> np.ndarray:
        """Returns uint8[samples, traces]: 0, 1 where salt, or UNLABELLED, as dead traces are."""
        traces = section.traces()
        found = self.volume.labels.read(*traces)
        found[self.scanned.dead[traces]] = UNLABELLED
        return found.T

    def sections(self, part: Sequence[Block], direction: str) -> Iterator[Section]:
        """Yields the sections of a part that hold labels: inlines, or crosslines through its blocks."""
        crosslines = self.volume.grid.shape[1]
        for block in part:
            labelled = self.scanned.labelled[slice(*block)] > 0
            if direction != "crossline":
                for i in np.flatnonzero(labelled.any(axis=1)).tolist():
                    yield Section("inline", block[0] + i, 0, crosslines, block)
            if direction != "inline":
                for x in np.flatnonzero(labelled.any(axis=0)).tolist():
                    yield Section("crossline", x, *block, (0, crosslines))


def lines_of(
    cut: Cutter, parts: dict[str, list[Block]], data: ConfigDict
) -> tuple[Tiles, dict[str, np.ndarray], np.ndarray]:
    """Returns the lines of validation and test, their split, and the units of a bootstrap.

    They are crosslines if all patches are; else inlines, the direction that `predict` takes unless
    told otherwise. Lines in a row, as many as `data.gap`, are one unit.
    """
    direction = "crossline" if data.direction == "crossline" else "inline"
    chosen = [
        (name, section)
        for name in ("val", "test")
        for section in _thinned(list(cut.sections(parts[name], direction)), name, cut)
    ]
    width = max(section.stop - section.start for _, section in chosen)
    shape = len(chosen), cut.volume.grid.shape[2], width
    images = np.zeros((*shape, cut.channels if cut.context else 1), np.uint8)
    found = np.full((*shape, 1), UNLABELLED, np.uint8)
    with console.Bar("Cutting", len(chosen), "lines") as bar:
        for n, (_, section) in enumerate(chosen):
            image = cut.image(section)
            images[n, :, : image.shape[1]] = image[:, :, : images.shape[3]]
            found[n, :, : image.shape[1], 0] = cut.labels(section)
            bar.advance(1)
    units = [(name, section.index // max(data.gap, 1)) for name, section in chosen]
    numbers = {unit: n for n, unit in enumerate(dict.fromkeys(units))}
    tiles = Tiles(
        tuple(
            f"{name}_{direction}_{cut.volume.number(direction, section.index)}"
            for name, section in chosen
        ),
        np.broadcast_to(images, (*images.shape[:3], cut.channels)),
        found,
        "volume",
        cut.volume.grid.name,
    )
    names = np.array([name for name, _ in chosen])
    split = {part: np.flatnonzero(names == part) for part in ("val", "test")}
    return tiles, split, np.array([numbers[unit] for unit in units])


def _thinned(sections: list[Section], part: str, cut: Cutter) -> list[Section]:
    """Returns as many sections as MAX_SCORED allows, at equal distances."""
    samples = cut.volume.grid.shape[2]
    most = max(1, MAX_SCORED // (samples * (sections[0].stop - sections[0].start)))
    if most >= len(sections):
        return sections
    console.say(
        f"Lines      {most} of {len(sections)} {sections[0].direction}s of {NAMES[part]} are scored, "
        "at equal distances, so that they fit into memory"
    )
    places = np.linspace(0, len(sections) - 1, most).round().astype(int)
    return [sections[i] for i in places]


def patches_of(cut: Cutter, training: Sequence[Block], data: ConfigDict) -> Tiles:
    """Returns the patches for training, drawn from `data.seed`.

    They are in memory if they take at most MEMORY_SHARE of it; else they are read when they are used.

    Raises:
      InputError: if they do not fit into the training block, too few can be drawn, or they do not fit
        into memory and grain is not installed.
    """
    places = _drawn(cut, training, data)
    stored = [
        StoredPatches(cut, data.tile, places, channels)
        for channels in (cut.channels, 1)
    ]
    ids = tuple(_patch_id(cut.volume, place, n) for n, place in enumerate(places))
    size, memory = sum(patches.nbytes for patches in stored), physical_memory()
    if size > MEMORY_SHARE * memory:
        require_grain(size)
        console.say(
            f"Patches    {size / 1e9:.1f} GB, more than {MEMORY_SHARE:.0%} of the memory of "
            f"{memory / 1e9:.1f} GB: they are read while training runs"
        )
        return Tiles(ids, stored[0], stored[1], "volume", cut.volume.grid.name)
    images, found = (np.empty(patches.shape, np.uint8) for patches in stored)
    with console.Bar("Cutting", len(places), "patches") as bar:
        for section, members in itertools.groupby(
            range(len(places)), key=lambda n: places[n].section
        ):
            image, label = cut.image(section), cut.labels(section)
            for n in members:
                at = places[n].square(data.tile)
                images[n], found[n, :, :, 0] = image[at], label[at]
                bar.advance(1)
    return Tiles(ids, images, found, "volume", cut.volume.grid.name)


def physical_memory() -> int:
    """Returns the bytes of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def require_grain(size: int) -> None:
    """Raises InputError if grain, which reads patches while training runs, is not installed."""
    if importlib.util.find_spec("grain") is None:
        raise InputError(
            f"the patches take {size / 1e9:.1f} GB, too much for the memory; reading them while "
            "training runs needs grain, which is not installed: pip install grain, or give fewer "
            "config.data.patches"
        )


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a patch is: the first sample and trace in a section."""

    section: Section
    row: int
    column: int

    def square(self, tile: int) -> tuple[slice, slice]:
        """Returns the samples and traces of the patch in an image of its section."""
        return (
            slice(self.row, self.row + tile),
            slice(self.column, self.column + tile),
        )


class StoredPatches:
    """Patches uint8[N, tile, tile, C] of images, or labels if C is 1, read when they are indexed."""

    def __init__(self, cut: Cutter, tile: int, places: Sequence[Place], channels: int):
        self._cut, self._tile, self._places = cut, tile, places
        self.shape = (len(places), tile, tile, channels)

    @property
    def nbytes(self) -> int:
        """Bytes of all patches."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = np.arange(len(self))[key]
        patches = [self._read(self._places[row]) for row in np.atleast_1d(rows)]
        found = np.array(patches, np.uint8).reshape(-1, *self.shape[1:])
        return found if np.ndim(rows) else found[0]

    def _read(self, place: Place) -> np.ndarray:
        rows, columns = place.square(self._tile)
        start = place.section.start
        part = dataclasses.replace(
            place.section, start=start + columns.start, stop=start + columns.stop
        )
        if self.shape[3] == 1:
            return self._cut.labels(part)[rows]
        return self._cut.image(part)[rows]


def _drawn(cut: Cutter, training: Sequence[Block], data: ConfigDict) -> list[Place]:
    """Returns where the patches for training are, in the order of their sections."""
    _, crosslines, samples = cut.volume.grid.shape
    sections = [
        section
        for section in cut.sections(training, data.direction)
        if section.stop - section.start >= data.tile and samples >= data.tile
    ]
    if not sections:
        widest = max(stop - start for start, stop in training)
        raise InputError(
            f"config.data.tile={data.tile}: the volume has {samples} samples and {crosslines} "
            f"crosslines, the training block {widest} inlines; expected patches that fit along "
            f"data.direction={data.direction}: give a smaller data.tile, or another "
            "data.direction"
        )
    drawn = patches.draw(
        lambda i: cut.labels(sections[i]),
        len(sections),
        data.tile,
        data.patches,
        data.salt_share,
        seeds.patches_rng(data.seed),
    )
    return [Place(sections[i], row, column) for i, row, column in drawn]


def _patch_id(volume: LabelledVolume, place: Place, n: int) -> str:
    """Returns the id of the nth patch: its line, and first trace, by number, and sample, by index."""
    section = place.section
    line = volume.number(section.direction, section.index)
    other = "crossline" if section.direction == "inline" else "inline"
    trace = volume.number(other, section.start + place.column)
    return f"{n:07d}_{section.direction}_{line}_{trace}_{place.row}"
