"""The labels of a volume: which samples are salt, which are not, and which nobody has interpreted."""

import collections
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from saltjax.data.tiles import UNLABELLED
from saltjax.seismic import grid
from saltjax.seismic.grid import Grid
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError

OPTION = "config.data.labels"
# Numbers of classes that are background without being listed: those of facies, and not a code such as
# 255 or -999 for samples that nobody interpreted.
BACKGROUND = range(100)
# Unknown values that a message lists; more of them are amplitudes rather than labels.
MOST_LISTED = 10
# Labels are within ± this, as `data.unlabelled` is.
LARGEST = 2**31


class Labels(Protocol):
    """The labels of a volume."""

    @property
    def name(self) -> str:
        """The path or paths, for messages."""
        ...

    def read(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """Returns uint8[n, samples] of the traces at indices int[n]: 0, 1 for salt, or UNLABELLED.

        Raises:
          InputError: if they cannot be read.
        """
        ...


@dataclasses.dataclass(frozen=True)
class LabelVolume:
    """The `Labels` of a volume of whole numbers.

    Attributes:
      grid: the volume.
      salt: values that are salt.
      unlabelled: the value of samples without a label.
      counts: how many samples of each value have been read.
    """

    grid: Grid
    salt: tuple[int, ...]
    unlabelled: int
    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    @property
    def name(self) -> str:
        """The path."""
        return self.grid.name

    def read(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """See `Labels`; where the file has no trace, or one of NaN alone, nothing is labelled."""
        raw = self.grid.read(inline, crossline)
        there = self.grid.exists(inline, crossline) & ~np.isnan(raw).all(axis=1)
        values, which = np.unique(raw[there], return_inverse=True)
        self._check_whole(values, int(inline[0]))
        for value, count in zip(values, np.bincount(which.ravel())):
            self.counts[int(value)] += int(count)
        codes = np.isin(values, self.salt).astype(np.uint8)
        codes[values == self.unlabelled] = UNLABELLED
        found = np.full(raw.shape, UNLABELLED, np.uint8)
        found[there] = codes[which].reshape(-1, raw.shape[1])
        return found

    def _check_whole(self, values: np.ndarray, inline: int) -> None:
        beyond = (values < -LARGEST) | (values > LARGEST)
        wrong = values[~np.isfinite(values) | (values != np.rint(values)) | beyond]
        if wrong.size:
            numbers = self.grid.inlines
            line = inline if numbers is None else numbers[inline]
            raise InputError(
                f"{OPTION}={self.name}: labels such as {wrong[0]:g}, first on inline {line}; expected "
                f"whole numbers up to ±{LARGEST}, salt as {text(self.salt)} (data.salt) and "
                f"{self.unlabelled} without a label (data.unlabelled): write these in their place"
            )

    def check_values(self) -> None:
        """Checks the values that have been read.

        Raises:
          InputError: if one is neither listed nor one of BACKGROUND, or none is salt.
        """
        listed = {*self.salt, self.unlabelled, *BACKGROUND}
        unknown = [value for value in sorted(self.counts) if value not in listed]
        if len(unknown) > MOST_LISTED:
            raise InputError(
                f"{OPTION}={self.name} holds {len(self.counts)} different values from "
                f"{min(self.counts)} to {max(self.counts)}; expected the numbers of a few classes. "
                "Are these amplitudes, volume and labels exchanged?"
            )
        found = f"{OPTION}={self.name} holds {self.description() or 'no traces'}"
        if unknown:
            raise InputError(
                f"{found}: {text(unknown)} is neither in data.salt={text(self.salt)} nor "
                f"data.unlabelled={self.unlabelled}, and no class from 0 to {BACKGROUND[-1]}; name "
                "it in one of them, such as --config.data.unlabelled=" + str(unknown[0])
            )
        if not any(value in self.counts for value in self.salt):
            raise InputError(
                f"{found}: no salt, data.salt={text(self.salt)}; name the values that are salt"
            )

    def description(self) -> str:
        """Returns the values that have been read and how much of each, for the screen."""
        total = sum(self.counts.values())
        parts = []
        for value, count in sorted(self.counts.items()):
            kind = "no salt" if value in BACKGROUND else "unknown"
            kind = "salt" if value in self.salt else kind
            kind = "unlabelled" if value == self.unlabelled else kind
            parts.append(f"{value} ({kind}) {count / total:.2%}")
        return ", ".join(parts)


def check_alike(
    volume: Grid,
    shape: Sequence[int],
    numbers: tuple[np.ndarray | None, np.ndarray | None],
    axis: SampleAxis,
    name: str,
) -> None:
    """Checks that labels belong to a volume; line numbers and axis where both have them.

    Args:
      volume: of the amplitudes.
      shape, numbers, axis: of the labels, as those of `Grid`.
      name: of the labels, for messages.

    Raises:
      InputError: naming what differs in both.
    """
    problems = []
    if tuple(shape) != tuple(volume.shape):
        problems.append(
            f"{times(volume.shape)} inlines, crosslines and samples against {times(shape)}"
        )
    for kind, a, b in zip(
        ("inlines", "crosslines"), (volume.inlines, volume.crosslines), numbers
    ):
        if a is not None and b is not None and not np.array_equal(a, b):
            problems.append(f"{kind} {span(a)} against {span(b)}")
    if "sample" not in (volume.axis.unit, axis.unit) and not _same(
        volume.axis, axis, volume.name, name
    ):
        problems.append(f"samples {axis_text(volume.axis)} against {axis_text(axis)}")
    if problems:
        raise InputError(
            f"{volume.name} and {name} differ: {'; '.join(problems)}. Expected amplitudes and labels "
            "of the same lines and samples: crop or resample one of them"
        )


def _same(a: SampleAxis, b: SampleAxis, *names: str) -> bool:
    """Returns whether two axes are the same.

    Stores that multidimio writes begin at 0 whatever the delay of the traces is.
    """
    if 0 in (a.first, b.first) and any(
        pathlib.Path(name).suffix in grid.ZARR_SUFFIXES for name in names
    ):
        return (a.unit, a.step) == (b.unit, b.step)
    return a == b


def span(numbers: np.ndarray) -> str:
    """Returns line numbers as text: "100 to 748 by 2"."""
    steps = np.unique(np.diff(numbers))
    by = f" by {steps[0]}" if len(steps) == 1 and steps[0] != 1 else ""
    return f"{numbers[0]} to {numbers[-1]}{by}"


def axis_text(axis: SampleAxis) -> str:
    """Returns a vertical axis as text: "every 4 ms from 0 ms"."""
    if axis.unit == "sample":
        return "without an interval"
    return f"every {axis.step:g} {axis.unit} from {axis.first:g} {axis.unit}"


def times(shape: Sequence[int]) -> str:
    """Returns a shape as text: "651 × 951 × 462"."""
    return " × ".join(map(str, shape))


def text(values: Sequence[int]) -> str:
    """Returns values as text: "1, 5"."""
    return ", ".join(map(str, values))


def paths(labels: str) -> list[pathlib.Path]:
    """Returns the path of a volume of labels, or those of two files of picks."""
    return [pathlib.Path(part.strip()) for part in labels.split(",")]
