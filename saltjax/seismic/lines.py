"""The lines that the traces of a file form, from their inline and crossline numbers.

A volume is cut into its inlines or crosslines. A 2-D line is kept whole, in the order of its traces,
also where it has an inline and crossline number for each: there most inlines, or most crosslines, have
one trace, as those of a volume do not.
"""

import functools
from collections.abc import Callable

import numpy as np

# A number that all traces of a long part of the file share is that of a 2-D line.
MIN_LINE = 16
# A line that winds crosses an inline or crossline a few times, and fills less than one part in SPARSE
# of the area.
FEW_TIMES, SPARSE = 4, 3
# Consecutive traces are of two lines if numbers or coordinates differ by this many times the usual
# amount.
JUMP = 10
# Missing traces are filled in where this makes lines at most so many times longer.
MOST_FILLED = 2
# Of so many traces the steps between positions may have a common divisor by chance.
FEW = 8
# Traces that are looked at together, so that little memory is used.
BLOCK = 2**20


class Geometry:
    """The positions of traces, and the lines that they form.

    Attributes:
      inline, crossline: int32[n], the numbers of each trace.
      inlines, crosslines: how many different numbers there are of each.
      numbered: whether there are several of each.
      volume: whether the traces form a volume; otherwise they are one 2-D line or more.
      repeats: the numbers int32[k] of two traces for each trace at the position of an earlier one.
        Numbers 0 and 0 in a volume are no position: its traces that are padding may have them.
      regular: whether it is a volume with one trace at each position and few missing.
    """

    def __init__(
        self,
        inline: np.ndarray,
        crossline: np.ndarray,
        coordinates: Callable[[], list[np.ndarray]] = list,
    ):
        """Takes the numbers, and a function that reads the coordinates x and y, if there are any.

        They are read where the numbers alone do not tell one line from the next.
        """
        self.inline, self.crossline = inline, crossline
        self._coordinates = coordinates
        order = places = _sort(inline, crossline)
        repeated = _same(inline[places]) & _same(crossline[places])
        a, b = places[:-1][repeated], places[1:][repeated]
        if len(a):
            places = places[np.concatenate([[True], ~repeated])]
        in_inline, numbers = _same(inline[places]), crossline[places]
        numbers.sort()
        in_crossline = _same(numbers)
        self.inlines, self.crosslines = _runs(in_inline), _runs(in_crossline)
        area = self.inlines * self.crosslines
        path = _are_short(in_inline, 1) or _are_short(in_crossline, 1)
        if SPARSE * len(places) < area:
            path |= _are_short(in_inline, FEW_TIMES) and _are_short(
                in_crossline, FEW_TIMES
            )
        self.numbered = min(self.inlines, self.crosslines) > 1
        self.volume = self.numbered and not path
        self.regular = self.volume and not len(a) and 2 * len(inline) >= area
        self._order = order if self.volume else None
        if self.volume:
            placed = (inline[a] != 0) | (crossline[a] != 0)
            a, b = a[placed], b[placed]
        self.repeats = a, b

    @functools.cached_property
    def by_inline(self) -> list[np.ndarray]:
        """int32[traces] for each inline, in the order of crosslines; -1 for a missing trace."""
        if self._order is None:
            return _paths(self.inline, self.crossline, self._coordinates)
        return _sections(self._order, self.inline, self.crossline)

    @functools.cached_property
    def by_crossline(self) -> list[np.ndarray]:
        """As `by_inline`, for each crossline; the lines themselves if there is no volume."""
        if not self.volume:
            return self.by_inline
        order = _sort(self.crossline, self.inline)
        return _sections(order, self.crossline, self.inline)

    def positions(
        self, numbers: np.ndarray, direction: str
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns on which "inline" or "crossline" traces lie, and where on it, int32[n] each.

        None for 2-D lines, of which none lies beside another.
        """
        if not self.volume:
            return None
        inline, crossline = self.inline[numbers], self.crossline[numbers]
        return (inline, crossline) if direction == "inline" else (crossline, inline)

    def most(self) -> int:
        """Returns the largest number of traces at one position, see `repeats`."""
        a, b = self.repeats
        if not len(a):
            return 1
        chains = np.flatnonzero(np.concatenate([[True], a[1:] != b[:-1], [True]]))
        return int(np.diff(chains).max()) + 1


def _sort(names: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Returns the trace numbers int32[n] sorted by line and, within it, by position."""
    order, n = np.lexsort((positions, names)), len(names)
    if n >= 2**31:
        return order
    # In place, to half of the memory: no number is overwritten before it is read.
    narrow = order.view(np.int32)[:n]
    for start in range(0, n, BLOCK):
        narrow[start : start + BLOCK] = order[start : start + BLOCK]
    del narrow
    order.resize(-(-n // 2), refcheck=False)
    return order.view(np.int32)[:n]


def _same(numbers: np.ndarray) -> np.ndarray:
    """Returns bool[n - 1], whether each number equals the one before."""
    return numbers[1:] == numbers[:-1]


def _runs(same: np.ndarray) -> int:
    """Returns how many runs of equal numbers there are, for their `_same` bool[n - 1]."""
    return len(same) + 1 - int(same.sum())


def _are_short(same: np.ndarray, most: int) -> bool:
    """Returns whether more than half of the runs of equal numbers have `most` members or fewer."""
    padded = np.concatenate([[False], same, np.zeros(most, bool)])
    long = ~padded[: len(same) + 1]
    for i in range(1, most + 1):
        long &= padded[i : len(same) + 1 + i]
    return 2 * int(long.sum()) < _runs(same)


def _sections(
    order: np.ndarray, names: np.ndarray, positions: np.ndarray
) -> list[np.ndarray]:
    """Returns the lines of a volume whose traces are sorted by line and position."""
    stops = np.flatnonzero(~_same(names[order])) + 1
    lines = np.split(order, stops)
    common = _common_step(positions)
    gap = np.empty(len(order) - 1, bool)
    for start in range(0, len(gap), BLOCK):
        # Unsigned, so that no difference overflows.
        part = positions[order[start : start + BLOCK + 1]].view(np.uint32)
        gap[start : start + BLOCK] = np.diff(part) != common
    gap[stops - 1] = False  # from a line to the next
    ends = positions[order[np.concatenate([[0], stops, stops - 1, [-1]])]]
    first, last = np.split(ends.astype(np.int64), 2)
    full = int(((last - first) // max(common, 1) + 1).sum())
    fill = full <= MOST_FILLED * len(order)
    for i in np.unique(np.searchsorted(stops, np.flatnonzero(gap), side="right")):
        lines[i] = _in_place(lines[i], positions[lines[i]], common, fill)
    return lines


def _in_place(
    members: np.ndarray, positions: np.ndarray, step: int, fill: bool = False
) -> np.ndarray:
    """Returns a line's trace numbers by position, evenly spaced, with -1 for a missing trace.

    Args:
      members: sorted by position. They are returned as they are if their positions are not distinct,
        or, unless `fill`, if most of the line would be gaps.
      positions: of the members.
      step: from one position to the next in the whole file; a line of more than a few traces shows
        its own, which is larger if the lines of a file have different positions.
    """
    steps = np.diff(positions.astype(np.int64))
    few = len(members) <= FEW
    step = step if few else int(np.gcd.reduce(steps))
    length = int(steps.sum()) // max(step, 1) + 1
    gaps = length > MOST_FILLED * len(members) or not (few or np.median(steps) == step)
    if (gaps and not fill) or not steps.all():
        return members
    line = np.full(length, -1, members.dtype)
    line[np.concatenate([[0], np.cumsum(steps)]) // step] = members
    return line


def _common_step(positions: np.ndarray) -> int:
    """Returns the greatest common divisor of the differences of positions."""
    return int(np.gcd.reduce(np.diff(np.unique(positions).view(np.uint32))))


def _paths(
    inline: np.ndarray,
    crossline: np.ndarray,
    coordinates: Callable[[], list[np.ndarray]],
) -> list[np.ndarray]:
    """Returns the trace numbers of 2-D lines, in the order of the file."""
    varying = [x for x in (inline, crossline) if (x != x[0]).any()]
    if len(varying) == 2:
        breaks = _are_jumps(varying)
        if place := coordinates():
            breaks |= _are_jumps(place)
        numbers = np.arange(len(inline), dtype=np.int32)
        return np.split(numbers, np.flatnonzero(breaks) + 1)
    numbers = np.arange(len(inline), dtype=np.int32)
    if not varying:
        return [numbers]
    (names,) = varying
    order = _sort(names, names)
    different = len(names) - int(_same(names[order]).sum())
    if different == len(names):
        # Its traces are numbered; if this makes no regular line, their order is better.
        line = _in_place(order, names[order], _common_step(names))
        steps = np.diff(names[order].view(np.uint32))
        if len(line) == len(order) and (steps != steps[0]).any():
            return [numbers]
        return [line if names[0] < names[-1] else line[::-1]]
    starts = np.flatnonzero(~_same(names)) + 1
    if len(starts) + 1 == different and different * MIN_LINE <= len(names):
        return np.split(numbers, starts)
    return [numbers]


def _are_jumps(axes: list[np.ndarray]) -> np.ndarray:
    """Returns bool[n - 1], whether a trace is far from the one before, along one of the axes."""
    jump = _distance(axes[0])
    np.maximum(jump, _distance(axes[1]), out=jump)
    return jump > JUMP * max(1, np.median(jump))


def _distance(numbers: np.ndarray) -> np.ndarray:
    """Returns uint32[n - 1], by how much each number differs from the one before."""
    distance = np.maximum(numbers[1:], numbers[:-1]).view(np.uint32)
    distance -= np.minimum(numbers[1:], numbers[:-1]).view(np.uint32)
    return distance
