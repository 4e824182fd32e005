"""Images cut out of a volume with labels: patches for training, whole lines for validation and test."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from saltjax.data import patches
from saltjax.data.blocks import NAMES, Block
from saltjax.data.labelled_volume import LabelledVolume, Scan
from saltjax.data.tiles import UNLABELLED, Tiles
from saltjax.seismic import amplitudes
from saltjax.system import console, seeds
from saltjax.system.errors import InputError

# Samples of validation or test that are scored; of more, lines at equal distances are.
MAX_SCORED = 2**26
# Of patches in memory; more are refused.
MAX_PATCH_BYTES = 2**33


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of an inline or crossline: traces at `start` to `stop` - 1 of the other direction.

    Attributes:
      direction: "inline" or "crossline".
      index: of the line.
      start, stop: indices of its traces.
      block: the inlines that its neighbours come from.
    """

    direction: str
    index: int
    start: int
    stop: int
    block: Block

    def traces(
        self, offset: int, first: int = 0, count: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns inline and crossline indices int[n] of traces, those of a neighbouring line.

        Beyond the block, and the volume, the outermost line stands for all others.

        Args:
          offset: of the neighbouring line.
          first, count: which of the traces; all by default.
        """
        count = self.stop - self.start if count is None else count
        along = self.start + first + np.arange(count)
        low, high = self.block
        line = np.full(count, np.clip(self.index + offset, low, high - 1))
        return (line, along) if self.direction == "inline" else (along, line)


@dataclasses.dataclass(frozen=True)
class Cutter:
    """Cuts images out of a volume.

    Attributes:
      volume: the amplitudes and labels.
      method, limits: the scaling of amplitudes, see `amplitudes.to_unit`.
      context: sections on either side that are channels too.
    """

    volume: LabelledVolume
    method: str
    limits: amplitudes.Range
    context: int

    def image(
        self, section: Section, first: int = 0, count: int | None = None
    ) -> np.ndarray:
        """Returns uint8[samples, traces, C]: the section thrice or, with context, 2k + 1 sections."""
        offsets = range(-self.context, self.context + 1)
        channels = [
            self._grey(section.traces(offset, first, count)) for offset in offsets
        ]
        if len(channels) == 1:
            return np.broadcast_to(channels[0][..., None], (*channels[0].shape, 3))
        return np.stack(channels, axis=-1)

    def _grey(self, traces: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        unit = amplitudes.to_unit(
            self.volume.amplitudes(*traces), self.limits, self.method
        )
        return np.rint(255 * unit).astype(np.uint8).T

    def labels(self, section: Section) -> np.ndarray:
        """Returns uint8[samples, traces]: 0, 1 where salt, or UNLABELLED."""
        return self.volume.read(*section.traces(0))[1].T


def sections_of(
    part: Sequence[Block], labelled: np.ndarray, crosslines: int, direction: str
) -> Iterator[Section]:
    """Yields the sections of a part: its labelled inlines, or crosslines through its blocks."""
    for block in part:
        if direction in ("inline", "both"):
            for i in range(*block):
                if labelled[i]:
                    yield Section("inline", i, 0, crosslines, block)
        if direction in ("crossline", "both"):
            for x in range(crosslines):
                yield Section("crossline", x, *block, (0, crosslines))


def lines_of(
    cut: Cutter, parts: dict[str, list[Block]], scanned: Scan, data: ConfigDict
) -> tuple[Tiles, dict[str, np.ndarray], np.ndarray]:
    """Returns the lines of validation and test, their split, and the units of a bootstrap.

    They are crosslines if all patches are; else inlines, the direction that `predict` takes unless
    told otherwise. Lines in a row, as many as `data.gap`, are one unit.
    """
    direction = "crossline" if data.direction == "crossline" else "inline"
    _, crosslines, samples = cut.volume.grid.shape
    chosen: list[tuple[str, Section]] = []
    for name in ("val", "test"):
        sections = list(
            sections_of(parts[name], scanned.has_labels, crosslines, direction)
        )
        most = max(1, MAX_SCORED // (samples * (sections[0].stop - sections[0].start)))
        if most < len(sections):
            places = np.linspace(0, len(sections) - 1, most).round().astype(int)
            console.say(
                f"Lines      {most} of {len(sections)} {direction}s of {NAMES[name]} are scored, at "
                "equal distances, so that they fit into memory"
            )
            sections = [sections[i] for i in places]
        chosen += [(name, section) for section in sections]
    images, found, ids, names, units = [], [], [], [], []
    width = max(section.stop - section.start for _, section in chosen)
    with console.Bar("Cutting", len(chosen), "lines") as bar:
        for name, section in chosen:
            label = cut.labels(section)
            bar.advance(1)
            if (label == UNLABELLED).all():
                continue
            images.append(
                _widened(cut.image(section)[:, :, : _channels(cut)], width, 0)
            )
            found.append(_widened(label[..., None], width, UNLABELLED))
            ids.append(
                f"{name}_{cut.volume.name(direction, section.index)}".replace(" ", "_")
            )
            names.append(name)
            units.append((name, section.index // max(data.gap, 1)))
    stacked = np.stack(images)
    if not cut.context:
        stacked = np.broadcast_to(stacked, (*stacked.shape[:3], 3))
    numbers = {unit: n for n, unit in enumerate(dict.fromkeys(units))}
    split = {part: np.flatnonzero(np.array(names) == part) for part in ("val", "test")}
    tiles = Tiles(tuple(ids), stacked, np.stack(found), "volume", cut.volume.grid.name)
    return tiles, split, np.array([numbers[unit] for unit in units])


def _channels(cut: Cutter) -> int:
    return 2 * cut.context + 1


def _widened(x: np.ndarray, width: int, value: int) -> np.ndarray:
    """Returns x [samples, traces, C] with columns of a value up to a width."""
    return np.pad(x, ((0, 0), (0, width - x.shape[1]), (0, 0)), constant_values=value)


def patches_of(
    cut: Cutter, training: Sequence[Block], scanned: Scan, data: ConfigDict
) -> Tiles:
    """Returns the patches for training, drawn from `data.seed`."""
    _, crosslines, samples = cut.volume.grid.shape
    tile, count = data.tile, data.patches
    size = count * tile**2 * (max(_channels(cut), 3) + 1)
    if size > MAX_PATCH_BYTES:
        raise InputError(
            f"config.data.patches={count} of {tile}×{tile} take {size / 1e9:.1f} GB of memory; "
            f"expected at most {MAX_PATCH_BYTES / 1e9:.1f} GB: give fewer"
        )
    sections = [
        section
        for section in sections_of(
            training, scanned.has_labels, crosslines, data.direction
        )
        if section.stop - section.start >= tile and samples >= tile
    ]
    if not sections:
        widest = max(stop - start for start, stop in training)
        raise InputError(
            f"config.data.tile={tile}: the volume has {samples} samples and {crosslines} crosslines, "
            f"the training block {widest} inlines; expected patches that fit along "
            f"data.direction={data.direction}: give a smaller data.tile"
        )
    drawn = patches.draw(
        lambda i: cut.labels(sections[i]),
        range(len(sections)),
        tile,
        count,
        data.salt_share,
        seeds.patches_rng(data.seed),
    )
    images = np.empty((count, tile, tile, max(_channels(cut), 3)), np.uint8)
    found = np.empty((count, tile, tile, 1), np.uint8)
    ids: list[str] = []
    with console.Bar("Cutting", count, "patches") as bar:
        for places in drawn:
            section = sections[places.section]
            image, label = cut.image(section), cut.labels(section)
            line = cut.volume.name(section.direction, section.index)
            for row, column in zip(places.rows, places.columns):
                n = len(ids)
                images[n] = image[row : row + tile, column : column + tile]
                found[n, :, :, 0] = label[row : row + tile, column : column + tile]
                other = "crossline" if section.direction == "inline" else "inline"
                place = cut.volume.number(other, section.start + column)
                ids.append(f"{n:07d}_{line}_{place}_{row}".replace(" ", "_"))
                bar.advance(1)
    return Tiles(tuple(ids), images, found, "volume", cut.volume.grid.name)
