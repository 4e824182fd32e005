"""The lines that the traces of a file form, from their inline and crossline numbers.

A volume is cut into its inlines or crosslines. A 2-D line is kept whole, in the order of its traces,
also where it has an inline and crossline number for each: there most inlines, or most crosslines, have
one trace, as those of a volume do not.
"""

import functools
from collections.abc import Callable

import numpy as np

from saltjax.seismic import trace_order

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


class Geometry:
    """The positions of traces, and the lines that they form.

    Attributes:
      inline, crossline: int32[n], the numbers of each trace.
      inlines, crosslines: how many different numbers there are of each.
      numbered: whether there are several of each.
      volume: whether the traces form a volume; otherwise they are one 2-D line or more.
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
        # First, since this takes memory for an order, which is not kept.
        in_crossline = trace_order.same(crossline, trace_order.by_number(crossline))
        places = trace_order.by_line(inline, crossline)
        in_inline, repeated = (
            trace_order.same(inline, places),
            trace_order.same(crossline, places),
        )
        repeated &= in_inline
        self._repeated = bool(repeated.any())
        if self._repeated:
            places = places[np.concatenate([[True], ~repeated])]
            in_inline = trace_order.same(inline, places)
            in_crossline = trace_order.same(
                crossline, trace_order.by_number(crossline, places)
            )
        del repeated
        self.inlines, self.crosslines = _runs(in_inline), _runs(in_crossline)
        area = self.inlines * self.crosslines
        path = _are_short(in_inline, 1) or _are_short(in_crossline, 1)
        if SPARSE * len(places) < area:
            path |= _are_short(in_inline, FEW_TIMES) and _are_short(
                in_crossline, FEW_TIMES
            )
        self.numbered = min(self.inlines, self.crosslines) > 1
        self.volume = self.numbered and not path
        self.regular = self.volume and not self._repeated and 2 * len(inline) >= area

    @functools.cached_property
    def repeats(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers int32[k] of two traces for each trace at the position of an earlier one.

        Numbers 0 and 0 in a volume are no position: its traces that are padding may have them.
        """
        if not self._repeated:
            return np.empty(0, np.int32), np.empty(0, np.int32)
        order = trace_order.by_line(self.inline, self.crossline)
        repeated = trace_order.same(self.inline, order)
        repeated &= trace_order.same(self.crossline, order)
        if self.volume:
            first = order[:-1]
            repeated &= (self.inline[first] != 0) | (self.crossline[first] != 0)
        return order[:-1][repeated], order[1:][repeated]

    @functools.cached_property
    def by_inline(self) -> list[np.ndarray]:
        """int32[traces] for each inline, in the order of crosslines; -1 for a missing trace."""
        if not self.volume:
            return _paths(self.inline, self.crossline, self._coordinates)
        # Sorted again: to keep the order would take memory where only crosslines are wanted.
        order = trace_order.by_line(self.inline, self.crossline)
        return _sections(order, self.inline, self.crossline)

    @functools.cached_property
    def by_crossline(self) -> list[np.ndarray]:
        """As `by_inline`, for each crossline; the lines themselves if there is no volume."""
        if not self.volume:
            return self.by_inline
        order = trace_order.by_line(self.crossline, self.inline)
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

    @functools.cached_property
    def placed(self) -> np.ndarray:
        """bool[n], False for traces that are padding: of those several have the numbers 0 and 0."""
        placed = (self.inline != 0) | (self.crossline != 0)
        return placed if (~placed).sum() > 1 else np.ones(len(placed), bool)

    @functools.cached_property
    def steps(self) -> tuple[int, int]:
        """The usual difference of the numbers of inlines, and of crosslines, that follow one another."""
        placed = self.placed
        return usual_step(self.inline[placed]), usual_step(self.crossline[placed])

    def grids(self) -> list[np.ndarray]:
        """Returns trace numbers int[rows, columns], -1 for none, which together hold every trace.

        Of a volume the first has inlines as its rows, and crosslines as its columns. Lines whose
        numbers differ by more than is usual in the file do not lie beside each other: there is an
        empty row or column between them. All others are sections [traces, 1]: 2-D lines, and traces
        that are padding.
        """
        if not self.volume:
            return [line[:, None] for line in self.by_inline]
        placed = np.flatnonzero(self.placed)
        both = self.inline[placed], self.crossline[placed]
        rows, columns = (_ranks(n, step) for n, step in zip(both, self.steps))
        grid = np.full((rows.max() + 1, columns.max() + 1), -1, np.int32)
        grid[rows, columns] = placed
        padding = np.flatnonzero(~self.placed)
        return [grid, padding[:, None]] if padding.size else [grid]

    def most(self) -> int:
        """Returns the largest number of traces at one position, see `repeats`."""
        a, b = self.repeats
        if not len(a):
            return 1
        chains = np.flatnonzero(np.concatenate([[True], a[1:] != b[:-1], [True]]))
        return int(np.diff(chains).max()) + 1


def _runs(same: np.ndarray) -> int:
    """Returns how many runs of equal numbers there are, for their `_same` bool[n - 1]."""
    return len(same) + 1 - int(same.sum())


def _are_short(same: np.ndarray, most: int) -> bool:
    """Returns whether more than half of the runs of equal numbers have `most` members or fewer."""
    # Where the next `most` numbers are equal to this one: once or more in a row in each longer run.
    long = same[most - 1 :]
    for i in range(most - 1):
        long = long & same[i : i + len(long)]
    runs = int(long[:1].sum()) + int((long[1:] > long[:-1]).sum())
    return 2 * runs < _runs(same)


def _sections(
    order: np.ndarray, names: np.ndarray, positions: np.ndarray
) -> list[np.ndarray]:
    """Returns the lines of a volume whose traces are sorted by line and position."""
    same = trace_order.same(names, order)
    stops = np.flatnonzero(np.logical_not(same, out=same)) + 1
    del same
    lines = np.split(order, stops)
    common = _common_step(positions)
    gap = np.zeros(len(order), bool)
    for start in range(0, len(order) - 1, trace_order.BLOCK):
        # Unsigned, so that no difference overflows.
        part = positions[order[start : start + trace_order.BLOCK + 1]].view(np.uint32)
        gap[start : start + len(part) - 1] = np.diff(part) != common
    gap[stops - 1] = False  # from a line to the next
    starts = np.concatenate([[0], stops])
    with_gaps = np.flatnonzero(np.logical_or.reduceat(gap, starts))
    del gap
    ends = positions[order[np.concatenate([starts, stops - 1, [-1]])]]
    first, last = np.split(ends.astype(np.int64), 2)
    full = int(((last - first) // max(common, 1) + 1).sum())
    fill = full <= MOST_FILLED * len(order)
    for i in with_gaps:
        lines[i] = _in_place(lines[i], positions[lines[i]], common, fill)
    return lines


def _ranks(numbers: np.ndarray, step: int) -> np.ndarray:
    """Returns the rank int64[n] of each number; ranks are left out where numbers are more than `step` apart.

    >>> _ranks(np.array([10, 12, 14, 20, 22]), 2).tolist()
    [0, 1, 2, 4, 5]
    """
    known, rank = np.unique(numbers, return_inverse=True)
    far = np.diff(known.astype(np.int64)) > step
    return np.concatenate([[0], np.cumsum(1 + far)])[rank]


def usual_step(numbers: np.ndarray) -> int:
    """Returns the median difference of line numbers that follow one another; 1 of a single one."""
    steps = np.sort(np.diff(np.unique(numbers).astype(np.int64)))
    return int(steps[(len(steps) - 1) // 2]) if steps.size else 1


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
    # Unsigned, so that no difference overflows.
    steps = np.diff(positions.view(np.uint32))
    few = len(members) <= FEW
    step = step if few else int(np.gcd.reduce(steps))
    length = (int(positions[-1]) - int(positions[0])) // max(step, 1) + 1
    gaps = length > MOST_FILLED * len(members) or not (few or np.median(steps) == step)
    if (gaps and not fill) or not steps.all():
        return members
    line = np.full(length, -1, members.dtype)
    line[(positions.view(np.uint32) - positions[:1].view(np.uint32)) // step] = members
    return line


def _common_step(positions: np.ndarray) -> int:
    """Returns the greatest common divisor of the differences of positions."""
    step = np.int64(0)
    for start in range(0, len(positions), trace_order.BLOCK):
        away = (
            positions[start : start + trace_order.BLOCK].astype(np.int64) - positions[0]
        )
        step = np.gcd.reduce(away, initial=step)
    return int(step)


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
    order = trace_order.by_number(names)
    different = _runs(trace_order.same(names, order))
    if different == len(names):
        # Its traces are numbered; if this makes no regular line, their order is better.
        line = _in_place(order, names[order], _common_step(names))
        steps = np.diff(names[order].view(np.uint32))
        if len(line) == len(order) and (steps != steps[0]).any():
            return [numbers]
        return [line if names[0] < names[-1] else line[::-1]]
    starts = np.flatnonzero(names[1:] != names[:-1]) + 1
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
    # Unsigned, so that no difference overflows.
    distance = np.diff(numbers.view(np.uint32))
    return np.negative(distance, out=distance, where=numbers[1:] < numbers[:-1])
