"""Labels from two horizons, the top and the base of salt, as interpretation programs export them."""

import array
import dataclasses
import math
import pathlib
import re

import numpy as np

from saltjax.data.labels import OPTION, span
from saltjax.data.tiles import UNLABELLED
from saltjax.seismic.grid import Grid
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system import console
from saltjax.system.errors import InputError, reading

COMMENTS = ("#", "!")
# What Petrel writes before the numbers in its Charisma format.
WORDS = re.compile(r"\b(INLINE|XLINE)\s*:", re.IGNORECASE)
# What programs write where there is no pick; NaN besides.
UNDEFINED = (-999.25, 1e30)
LARGEST_LINE = 2**31 - 1
EXPECTED = "expected the columns inline, crossline, time or depth, with blanks, tabs or commas between; # before other lines"


@dataclasses.dataclass(frozen=True)
class Picks:
    """The picks of a horizon.

    Attributes:
      name: the path, for messages.
      inline, crossline: int64[n], the numbers of the lines.
      z: float64[n], time or depth.
    """

    name: str
    inline: np.ndarray
    crossline: np.ndarray
    z: np.ndarray


@dataclasses.dataclass(frozen=True)
class HorizonLabels:
    """The `Labels` between two horizons, both inclusive.

    Attributes:
      name: the two paths, for messages.
      shape: of the volume.
      trace: int64[n], in ascending order, the picked traces: inline index × crosslines + crossline
        index.
      top, base: int32[n], the samples nearest to the picks there.
    """

    name: str
    shape: tuple[int, int, int]
    trace: np.ndarray
    top: np.ndarray
    base: np.ndarray

    def read(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """See `Labels`: 1 between top and base, 0 above and below, UNLABELLED without picks."""
        wanted = np.asarray(inline, np.int64) * self.shape[1] + crossline
        place = np.minimum(np.searchsorted(self.trace, wanted), len(self.trace) - 1)
        samples = np.arange(self.shape[2])
        salt = samples >= self.top[place, None]
        salt &= samples <= self.base[place, None]
        found = salt.astype(np.uint8)
        found[self.trace[place] != wanted] = UNLABELLED
        return found


def open_horizons(top: pathlib.Path, base: pathlib.Path, volume: Grid) -> HorizonLabels:
    """Returns the labels of a volume between two files of picks.

    Args:
      top, base: the files, of the top and the base of salt.
      volume: of the amplitudes. If its format has no line numbers they count from 0.

    Raises:
      InputError: if a file cannot be read; a pick is outside the volume; a trace has one of the two
        picks only, or two of a horizon; or a base is above its top.
    """
    horizons = read_picks(top), read_picks(base)
    for picks in horizons:
        _check_range(picks, volume)
    _check_spread(*horizons, volume.axis)
    (trace, z), (base_trace, base_z) = (_by_trace(picks, volume) for picks in horizons)
    if not np.array_equal(trace, base_trace):
        raise _unpaired(horizons, trace, base_trace, volume)
    if np.array_equal(z, base_z):
        raise InputError(
            f"{OPTION}: top ({top}) and base ({base}) are the same at all {len(z)} traces; expected two "
            "horizons, and salt between them"
        )
    above = np.flatnonzero(base_z < z)
    if above.size:
        i = above[0]
        raise InputError(
            f"{OPTION}: at {_place(trace[i], volume)} the base ({base}) is at {base_z[i]:g}, above the "
            f"top ({top}) at {z[i]:g}{_and_more(above.size)}; expected first the top, then the base, "
            "with values that increase downwards"
        )
    first, last = (
        _nearest(values, volume.axis).astype(np.int32) for values in (z, base_z)
    )
    return HorizonLabels(f"{top},{base}", volume.shape, trace, first, last)


def read_picks(path: pathlib.Path) -> Picks:
    """Returns the picks of a text file with the columns inline, crossline, and time or depth.

    Columns are separated by blanks, tabs or commas; of more than three the first two and the last are
    taken. Lines that start with # or !, one line of column names, and picks without a value are
    skipped.

    Raises:
      InputError: if it cannot be read, a line is not as expected, or there is no pick.
    """
    inline, crossline, z = array.array("q"), array.array("q"), array.array("d")
    columns, undefined, header = 0, 0, ""
    with reading(path), path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            fields = _fields(line)
            if not fields:
                continue
            try:
                values = float(fields[0]), float(fields[1]), float(fields[-1])
            except (ValueError, IndexError):
                if header or columns:
                    raise _unexpected(path, number, line) from None
                header = line.strip()
                continue
            columns = columns or len(fields)
            if len(fields) != columns or columns < 3 or not _are_lines(values[:2]):
                raise _unexpected(path, number, line, columns)
            if math.isnan(values[2]) or values[2] in UNDEFINED:
                undefined += 1
                continue
            inline.append(int(values[0]))
            crossline.append(int(values[1]))
            z.append(values[2])
    if not z:
        raise InputError(f"{OPTION}: {path}: no picks; {EXPECTED}")
    _announce(path, len(z), columns, undefined, header)
    return Picks(str(path), *map(np.asarray, (inline, crossline, z)))


def _fields(line: str) -> list[str]:
    """Returns the fields of a line; none of an empty line or a comment."""
    line = WORDS.sub(" ", line).strip()
    if line.startswith(COMMENTS):
        return []
    return line.split(",") if "," in line else line.split()


def _are_lines(values: tuple[float, ...]) -> bool:
    return all(v.is_integer() and abs(v) <= LARGEST_LINE for v in values)


def _unexpected(
    path: pathlib.Path, number: int, line: str, columns: int = 0
) -> InputError:
    expected = EXPECTED
    if columns >= 3:
        expected = (
            f"expected {columns} columns as before, the first two whole line numbers"
        )
    return InputError(
        f"{OPTION}: {path}, line {number}: {line.strip()[:80]!r}; {expected}"
    )


def _announce(
    path: pathlib.Path, count: int, columns: int, undefined: int, header: str
) -> None:
    """Prints what has been read, and what has been skipped."""
    text = f"Horizon    {path}: {console.counted(count, 'pick')}"
    if header:
        text += f"; {header[:80]!r} skipped as column names"
    if undefined:
        text += f"; {console.counted(undefined, 'line')} without a value skipped"
    if columns > 3:
        text += (
            f"; of {columns} columns the first two and the last are taken, as inline, crossline and "
            "time or depth"
        )
    console.say(text)


def _check_range(picks: Picks, volume: Grid) -> None:
    """Raises InputError, which names both ranges, if picks are outside the volume."""
    problems = []
    for kind, numbers, known in zip(
        ("inlines", "crosslines"), (picks.inline, picks.crossline), _numbers(volume)
    ):
        outside = numbers[~np.isin(numbers, known)]
        if count := len(outside):
            found = f"{numbers.min()} to {numbers.max()}"
            problems.append(
                f"{kind} {found} where the volume has {span(known)} ({console.counted(count, 'pick')}, "
                f"such as {outside[0]})"
            )
    axis, samples = volume.axis, volume.shape[2]
    place = _nearest(picks.z, axis)
    if count := int(np.count_nonzero((place < 0) | (place >= samples))):
        last = axis.first + (samples - 1) * axis.step
        problems.append(
            f"{picks.z.min():g} to {picks.z.max():g} where the volume's samples are from "
            f"{axis.first:g} to {last:g} {axis.unit} ({console.counted(count, 'pick')}); another unit or sign? Time or "
            f"depth is expected in {axis.unit}, downwards"
        )
    if problems:
        raise InputError(
            f"{OPTION}: {picks.name} has picks outside {volume.name}: {'; '.join(problems)}. "
            "Correct the columns, or delete these picks"
        )


def _check_spread(top: Picks, base: Picks, axis: SampleAxis) -> None:
    """Raises InputError if all picks are within two samples, as seconds are on an axis of ms."""
    both = np.concatenate([top.z, base.z])
    if np.ptp(both) < 2 * axis.step:
        raise InputError(
            f"{OPTION}: all picks of {top.name} and {base.name} are from {both.min():g} to "
            f"{both.max():g}, within two of the volume's samples, every {axis.step:g} {axis.unit}; "
            f"expected time or depth in {axis.unit}"
        )


def _by_trace(picks: Picks, volume: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Returns the trace of each pick as in `HorizonLabels`, in ascending order, and its z.

    Raises:
      InputError: if there are different picks at one trace.
    """
    inline, crossline = (
        _indices(numbers, known)
        for numbers, known in zip((picks.inline, picks.crossline), _numbers(volume))
    )
    trace = inline * volume.shape[1] + crossline
    order = np.argsort(trace, kind="stable")
    trace, z = trace[order], picks.z[order]
    again = np.concatenate([[False], trace[1:] == trace[:-1]])
    different = np.flatnonzero(again[1:] & (z[1:] != z[:-1]))
    if different.size:
        i = different[0]
        count = len(np.unique(trace[different]))
        raise InputError(
            f"{OPTION}: {picks.name} has picks at {z[i]:g} and {z[i + 1]:g} at "
            f"{_place(trace[i], volume)}{_and_more(count)}; expected one at a trace. Overhanging "
            "salt cannot be given as two horizons: give a volume of labels"
        )
    return trace[~again], z[~again]


def _indices(numbers: np.ndarray, known: np.ndarray) -> np.ndarray:
    order = np.argsort(known)
    return order[np.searchsorted(known, numbers, sorter=order)]


def _unpaired(
    horizons: tuple[Picks, Picks], top: np.ndarray, base: np.ndarray, volume: Grid
) -> InputError:
    """Returns the error for traces that have a pick of one horizon only."""
    parts = []
    for picks, own, other in zip(horizons, (top, base), (base, top)):
        alone = np.setdiff1d(own, other)
        if alone.size:
            places = "; ".join(_place(trace, volume) for trace in alone[:3])
            more = "; …" if alone.size > 3 else ""
            parts.append(f"{alone.size} in {picks.name} alone ({places}{more})")
    return InputError(
        f"{OPTION}: traces with a pick of one horizon only: {', '.join(parts)}; expected top and base "
        "of salt at the same traces: delete the others, or pick what is missing"
    )


def _numbers(volume: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of inlines and crosslines, from 0 if the format has none."""
    inlines, crosslines = volume.inlines, volume.crosslines
    return (
        np.arange(volume.shape[0]) if inlines is None else inlines,
        np.arange(volume.shape[1]) if crosslines is None else crosslines,
    )


def _nearest(z: np.ndarray, axis: SampleAxis) -> np.ndarray:
    """Returns float64[n], the samples nearest to times or depths."""
    return np.rint((z - axis.first) / axis.step)


def _place(trace: int, volume: Grid) -> str:
    indices = divmod(int(trace), volume.shape[1])
    inline, crossline = (known[i] for known, i in zip(_numbers(volume), indices))
    return f"inline {inline}, crossline {crossline}"


def _and_more(count: int) -> str:
    return f", and so at {count - 1} other traces" if count > 1 else ""
