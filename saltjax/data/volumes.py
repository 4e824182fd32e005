"""A volume of amplitudes and its labels as training data: read once, split, cut into patches and lines."""

import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from saltjax.data import blocks, labels, patches
from saltjax.data.blocks import Block
from saltjax.data.labels import Labels, LabelVolume
from saltjax.data.tiles import UNLABELLED, Tiles
from saltjax.seismic import amplitudes, grid
from saltjax.seismic.grid import Grid
from saltjax.system import console, seeds
from saltjax.system.errors import InputError

OPTION = "config.data.volume"
# Samples of validation or test that are scored; of more, lines at equal distances are.
MAX_SCORED = 2**26
# Of patches in memory; more are refused.
MAX_PATCH_BYTES = 2**33
PARTS = ("train", "val", "test")
NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclasses.dataclass(frozen=True)
class LabelledVolume:
    """Amplitudes and labels of the same traces.

    Attributes:
      grid: the amplitudes.
      labels: the labels.
    """

    grid: Grid
    labels: Labels

    def read(
        self, inline: np.ndarray, crossline: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns amplitudes [n, samples] and labels uint8[n, samples] of traces at indices int[n].

        Dead traces are unlabelled.

        Raises:
          InputError: if they cannot be read, or samples of a live trace are not finite.
        """
        traces = self.amplitudes(inline, crossline)
        found = self.labels.read(inline, crossline)
        found[~amplitudes.live(traces)] = UNLABELLED
        return traces, found

    def amplitudes(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """Returns amplitudes [n, samples], see `read`."""
        traces, damaged = amplitudes.clean(self.grid.read(inline, crossline))
        if damaged.any():
            i = int(np.flatnonzero(damaged)[0])
            place = f"{self.name('inline', inline[i])}, {self.name('crossline', crossline[i])}"
            raise InputError(
                f"{OPTION}={self.grid.name}: {place} has samples that are not finite; replace them, "
                "or set all samples of a missing trace to NaN or 0"
            )
        return traces

    def name(self, kind: str, index: int) -> str:
        """Returns the name of a line of kind "inline" or "crossline": its number or else its index."""
        return f"{kind} {self.number(kind, index)}"

    def number(self, kind: str, index: int) -> int:
        """Returns the number of a line, its index if the format has no numbers."""
        numbers = self.grid.inlines if kind == "inline" else self.grid.crosslines
        return int(index if numbers is None else numbers[index])


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
class Scan:
    """What is known of a volume after its labels have been read once.

    Attributes:
      labelled, salt: int32[inlines, crosslines], samples of each trace with a label, and of salt.
      dead: bool[inlines, crosslines], dead traces on labelled inlines.
      digest: SHA-256 of shape, amplitudes as float32, and labels of the labelled inlines.
      values: the values of the labels, as text; "" of horizons.
    """

    labelled: np.ndarray
    salt: np.ndarray
    dead: np.ndarray
    digest: str
    values: str

    @property
    def has_labels(self) -> np.ndarray:
        """bool[inlines], which inlines hold labels."""
        return self.labelled.any(axis=1)


def open_volume(config: ConfigDict) -> LabelledVolume:
    """Opens the volume and the labels that `config.data` names.

    Raises:
      InputError: if one cannot be read, or they do not belong together.
    """
    data = config.data
    volume = grid.open_grid(pathlib.Path(data.volume), data.header_bytes, OPTION)
    files = labels.paths(data.labels)
    if len(files) == 2:
        from saltjax.data import horizons

        return LabelledVolume(volume, horizons.open_horizons(*files, volume))
    interpreted = grid.open_grid(files[0], data.header_bytes, labels.OPTION)
    labels.check_alike(
        volume,
        interpreted.shape,
        (interpreted.inlines, interpreted.crosslines),
        interpreted.axis,
        interpreted.name,
    )
    return LabelledVolume(
        volume, LabelVolume(interpreted, tuple(data.salt), data.unlabelled)
    )


def scan(volume: LabelledVolume) -> Scan:
    """Reads all labels, and the amplitudes of the inlines that hold any.

    Raises:
      InputError: if they cannot be read, samples are not finite, or labels are of unknown values.
    """
    inlines, crosslines, _ = volume.grid.shape
    everything = np.arange(crosslines)
    labelled, salt = (np.zeros((inlines, crosslines), np.int32) for _ in range(2))
    dead = np.zeros((inlines, crosslines), bool)
    digest = hashlib.sha256(repr(tuple(volume.grid.shape)).encode())
    with console.Bar("Reading", inlines, "inlines") as bar:
        for i in range(inlines):
            line = np.full(crosslines, i)
            found = volume.labels.read(line, everything)
            if (found != UNLABELLED).any():
                read = volume.amplitudes(line, everything)
                dead[i] = ~amplitudes.live(read)
                found[dead[i]] = UNLABELLED
                digest.update(f"{i}".encode())
                # Integers have no -0.
                digest.update((np.asarray(read, "<f4") + np.float32(0)).tobytes())
                digest.update(found.tobytes())
            labelled[i] = (found != UNLABELLED).sum(axis=1)
            salt[i] = (found == 1).sum(axis=1)
            bar.advance(1)
    values = ""
    if isinstance(volume.labels, LabelVolume):
        volume.labels.check_values()
        values = volume.labels.description()
    return Scan(labelled, salt, dead, digest.hexdigest(), values)


@dataclasses.dataclass(frozen=True)
class VolumeData:
    """A volume as training data.

    Attributes:
      patches: for training, [tile, tile] in samples and traces.
      lines: whole lines for validation and test, [samples, traces].
      split: indices of "train" into `patches`, of "val" and "test" into `lines`.
      units: int[lines], one number for the lines that a bootstrap resamples together.
      facts: what data.json says of the volume.
      scanned: what its labels are.
      blocks: the inlines of each part.
      sample: traces [n, samples] all over the training blocks, by which amplitudes are scaled.
    """

    patches: Tiles
    lines: Tiles
    split: dict[str, np.ndarray]
    units: np.ndarray
    facts: dict[str, Any]
    volume: LabelledVolume
    scanned: Scan
    blocks: dict[str, list[Block]]
    sample: np.ndarray


def load(config: ConfigDict) -> VolumeData:
    """Reads a volume and its labels, splits it into blocks, and cuts patches and lines.

    Raises:
      InputError: if they cannot be read, or do not suit each other or the settings.
    """
    data = config.data
    volume = open_volume(config)
    scanned = scan(volume)
    parts = blocks.split(
        scanned.has_labels, data.split, data.gap, data.folds, data.fold
    )
    _check_salt(parts, scanned, volume)
    sample = _sample(volume, parts["train"])
    method, limits = amplitudes.scaling(sample, config.predict.normalize)
    cut = Cutter(volume, method, limits, data.context)
    lines, split, units = _lines(cut, parts, scanned, data)
    drawn = _patches(cut, parts["train"], scanned, data)
    split["train"] = np.arange(len(drawn))
    facts = describe(volume, scanned, parts, limits, data)
    return VolumeData(
        drawn,
        lines,
        {name: split[name] for name in PARTS},
        units,
        facts,
        volume,
        scanned,
        parts,
        sample,
    )


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
        return np.uint8(np.rint(255 * unit)).T

    def labels(self, section: Section) -> np.ndarray:
        """Returns uint8[samples, traces]: 0, 1 where salt, or UNLABELLED."""
        return self.volume.read(*section.traces(0))[1].T


def _check_salt(
    parts: dict[str, list[Block]], scanned: Scan, volume: LabelledVolume
) -> None:
    for name in PARTS:
        if not scanned.salt[blocks.members(parts[name])].any():
            where = " and ".join(_span(volume, block) for block in parts[name])
            raise InputError(
                f"{labels.OPTION}={volume.labels.name}: no salt in the {NAMES[name]} part, inlines "
                f"{where}; give other shares (data.split), or folds (data.folds, data.fold)"
            )


def _span(volume: LabelledVolume, block: Block) -> str:
    first, last = (volume.number("inline", i) for i in (block[0], block[1] - 1))
    return f"{first} to {last}"


def _sample(volume: LabelledVolume, training: Sequence[Block]) -> np.ndarray:
    """Returns traces [n, samples] at equal distances, all over the training blocks."""
    inlines, (_, crosslines, samples) = blocks.members(training), volume.grid.shape
    total = len(inlines) * crosslines
    wanted = max(1, amplitudes.MAX_SAMPLES // samples)
    numbers = np.unique(np.linspace(0, total - 1, wanted).astype(int))
    return volume.amplitudes(inlines[numbers // crosslines], numbers % crosslines)


def _sections(
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


def _lines(
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
            _sections(parts[name], scanned.has_labels, crosslines, direction)
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


def _patches(
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
        for section in _sections(
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


def describe(
    volume: LabelledVolume,
    scanned: Scan,
    parts: dict[str, list[Block]],
    limits: amplitudes.Range,
    data: ConfigDict,
) -> dict[str, Any]:
    """Returns what data.json says of a volume."""
    inlines, crosslines, samples = volume.grid.shape
    axis = volume.grid.axis
    return {
        "labels": volume.labels.name,
        "shape": [inlines, crosslines, samples],
        "inlines": _ends(volume, "inline", inlines),
        "crosslines": _ends(volume, "crossline", crosslines),
        "axis": dataclasses.asdict(axis),
        "labelled_inlines": int(scanned.has_labels.sum()),
        "label_values": scanned.values,
        "dead_traces": int(scanned.dead.sum()),
        "amplitudes": [limits.low, limits.high],
        "gap": data.gap,
        "blocks": {
            name: [
                [volume.number("inline", i) for i in (start, stop - 1)]
                for start, stop in parts[name]
            ]
            for name in PARTS
        },
        "salt": {name: _share(scanned, blocks.members(parts[name])) for name in PARTS},
        "correlation": correlations(volume, parts),
    }


def _ends(volume: LabelledVolume, kind: str, count: int) -> list[int]:
    return [volume.number(kind, 0), volume.number(kind, count - 1)]


def _share(scanned: Scan, inlines: np.ndarray) -> float:
    """Returns the share of the labelled samples of inlines that is salt."""
    return float(scanned.salt[inlines].sum() / scanned.labelled[inlines].sum())


def correlations(
    volume: LabelledVolume, parts: dict[str, list[Block]]
) -> dict[str, float | None]:
    """Returns correlations of amplitudes: of neighbouring inlines, and across each gap.

    See `blocks.correlation`.
    """
    everything = np.arange(volume.grid.shape[1])

    def line(i: int) -> np.ndarray:
        return volume.amplitudes(np.full(len(everything), i), everything)

    ordered = sorted((block, name) for name in PARTS for block in parts[name])
    middle = sum(parts["train"][0]) // 2
    found = {"neighbours": blocks.correlation(line(middle), line(max(middle - 1, 0)))}
    for (before, a), (after, b) in itertools.pairwise(ordered):
        if a != b:
            pair = f"{NAMES[a]}–{NAMES[b]}"
            found[pair] = blocks.correlation(line(before[1] - 1), line(after[0]))
    return found
