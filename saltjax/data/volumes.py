"""A volume of amplitudes and its labels as training data: read once, split, cut into patches and lines."""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from saltjax.data import blocks, cutting, labelled_volume, labels
from saltjax.data.blocks import NAMES, PARTS, Block
from saltjax.data.cutting import Cutter
from saltjax.data.labelled_volume import LabelledVolume, Scan
from saltjax.data.tiles import Tiles
from saltjax.seismic import amplitudes
from saltjax.system.errors import InputError

# Of neighbouring inlines, for the mean of their correlations.
PAIRS = 8


@dataclasses.dataclass(frozen=True)
class VolumeData:
    """A volume as training data.

    Attributes:
      patches: for training, [tile, tile] in samples and traces.
      lines: whole lines for validation and test, [samples, traces].
      split: indices of "train" into `patches`, of "val" and "test" into `lines`.
      units: int[lines], one number for the lines that a bootstrap resamples together.
      scanned: what is known of the labels.
      blocks: the inlines of each part.
      sample: traces [n, samples] all over the training blocks, by which amplitudes are scaled.
      facts: what data.json says of the volume.
    """

    patches: Tiles
    lines: Tiles
    split: dict[str, np.ndarray]
    units: np.ndarray
    scanned: Scan
    blocks: dict[str, list[Block]]
    sample: np.ndarray
    facts: dict[str, Any]


def load(config: ConfigDict) -> VolumeData:
    """Reads a volume and its labels, splits it into blocks, and cuts patches and lines.

    Raises:
      InputError: if they cannot be read, or do not suit each other or the settings.
    """
    cut, parts, sample = prepare(config)
    lines, split, units = cutting.lines_of(cut, parts, config.data)
    drawn = cutting.patches_of(cut, parts["train"], config.data)
    split = {"train": np.arange(len(drawn)), **split}
    facts = describe(cut, parts, config.data)
    facts["unlabelled_sha256"] = _unlabelled_hash(cut, parts, sample, config.data)
    return VolumeData(drawn, lines, split, units, cut.scanned, parts, sample, facts)


def load_lines(config: ConfigDict) -> Tiles:
    """Returns `VolumeData.lines` without drawing patches; raises what `load` does."""
    cut, parts, _ = prepare(config)
    return cutting.lines_of(cut, parts, config.data)[0]


def prepare(
    config: ConfigDict,
) -> tuple[Cutter, dict[str, list[Block]], np.ndarray]:
    """Returns what cuts images out of the volume, and blocks and sample of `VolumeData`."""
    data = config.data
    volume = labelled_volume.open_volume(config)
    scanned = labelled_volume.scan(volume)
    parts = blocks.split(
        scanned.has_labels, data.split, data.gap, data.folds, data.fold
    )
    _check_salt(parts, scanned, volume)
    sample = _sample(volume, parts["train"])
    method, limits = amplitudes.scaling(sample, config.predict.normalize)
    return Cutter(volume, scanned, method, limits, data.context), parts, sample


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


def _unlabelled_hash(
    cut: Cutter, parts: dict[str, list[Block]], sample: np.ndarray, data: ConfigDict
) -> str:
    """Returns a SHA-256 of the amplitudes that shape images besides those of labelled inlines.

    These are the sample that they are scaled by and inlines without labels: all of a block where
    crosslines are cut, else those that are channels beside a labelled one.
    """
    digest = hashlib.sha256(labelled_volume.amplitude_bytes(sample))
    crosslines = np.arange(cut.volume.grid.shape[1])
    for block in sorted(block for name in PARTS for block in parts[name]):
        inlines = np.arange(*block)
        labelled = cut.scanned.has_labels[inlines]
        used = np.full(len(inlines), data.direction != "inline")
        for i in np.flatnonzero(labelled):
            used[max(i - data.context, 0) : i + data.context + 1] = True
        for i in inlines[used & ~labelled]:
            read = cut.volume.amplitudes(np.full(len(crosslines), i), crosslines)
            digest.update(labelled_volume.amplitude_bytes(read))
    return digest.hexdigest()


def describe(
    cut: Cutter, parts: dict[str, list[Block]], data: ConfigDict
) -> dict[str, Any]:
    """Returns what data.json says of a volume."""
    volume, scanned, limits = cut.volume, cut.scanned, cut.limits
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

    That of neighbours is a mean over pairs of training inlines, evenly spaced, since one pair says
    little: in a part of F3 they have 0.25 to 0.68. See `blocks.correlation`.
    """
    everything = np.arange(volume.grid.shape[1])

    def line(i: int) -> np.ndarray:
        return volume.amplitudes(np.full(len(everything), i), everything)

    ordered = sorted((block, name) for name in PARTS for block in parts[name])
    start, stop = max(parts["train"], key=lambda block: block[1] - block[0])
    last = max(stop - 2, 0)
    pairs = np.unique(np.linspace(min(start, last), last, PAIRS).astype(int))
    of_pairs = [blocks.correlation(line(i), line(i + 1)) for i in pairs]
    known = [value for value in of_pairs if value is not None]
    found = {"neighbours": float(np.mean(known)) if known else None}
    for (before, a), (after, b) in itertools.pairwise(ordered):
        if a != b:
            pair = f"{NAMES[a]}–{NAMES[b]}"
            found[pair] = blocks.correlation(line(before[1] - 1), line(after[0]))
    return found
