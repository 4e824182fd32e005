"""The lines that the traces of a file form, from their inline and crossline numbers.

A volume is cut into its inlines or crosslines. A 2-D line is kept whole, in the order of its traces,
also where it has an inline and crossline number for each: there most inlines, or most crosslines, have
one trace, as those of a volume do not.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from saltjax.system.errors import InputError

# Bytes of the trace header, from 1, where revision 1 of SEG-Y has inline and crossline numbers, and
# others that are in use for them.
HEADER_BYTES = (189, 193)
OTHER_BYTES = ((5, 21), (9, 21), (9, 13), (17, 13), (221, 225))
CDP, OFFSET = 21, 37
# A number that all traces of a long part of the file share is that of a 2-D line.
MIN_LINE = 16
# A line that winds crosses an inline or crossline a few times, and fills less than one part in SPARSE
# of the area.
FEW_TIMES, SPARSE = 4, 3
# Consecutive traces are of two lines if their numbers differ by this many times the usual amount.
JUMP = 10
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

    def __init__(self, inline: np.ndarray, crossline: np.ndarray):
        self.inline, self.crossline = inline, crossline
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
            return _paths(self.inline, self.crossline)
        return _sections(self._order, self.inline, self.crossline)

    @functools.cached_property
    def by_crossline(self) -> list[np.ndarray]:
        """As `by_inline`, for each crossline; the lines themselves if there is no volume."""
        if not self.volume:
            return self.by_inline
        order = _sort(self.crossline, self.inline)
        return _sections(order, self.crossline, self.inline)

    def most(self) -> int:
        """Returns the largest number of traces at one position, see `repeats`."""
        a, b = self.repeats
        if not len(a):
            return 1
        chains = np.flatnonzero(np.concatenate([[True], a[1:] != b[:-1], [True]]))
        return int(np.diff(chains).max()) + 1


# Returns int32[n] for each of some bytes of the trace headers.
Headers = Callable[[Sequence[int]], list[np.ndarray]]


def find(headers: Headers, header_bytes: tuple[int, ...], name: str) -> Geometry:
    """Returns the geometry of a SEG-Y file.

    Args:
      headers: reads the trace headers.
      header_bytes: where inline and crossline numbers are.
      name: the file's, for messages.

    Raises:
      InputError: if there is more than one trace at a position.
    """
    found = Geometry(*headers(header_bytes))
    checked, where = (
        found,
        "inline and crossline in bytes {} and {}".format(*header_bytes),
    )
    if not found.numbered:
        if found.inlines == found.crosslines and header_bytes != HEADER_BYTES:
            return found  # bytes without numbers have been chosen
        (cdp,) = headers((CDP,))
        by_cdp = Geometry(cdp, np.zeros_like(cdp))
        if by_cdp.inlines > max(found.inlines, found.crosslines):
            checked, where = by_cdp, "CDP in bytes 21-24"
    if len(checked.repeats[0]):
        problem = unstacked(checked, *headers((OFFSET,)))
        if problem:
            raise InputError(
                f"{name}: {problem} ({where}{candidates(headers, header_bytes)}). If it is a 2-D "
                "line, name two bytes without numbers: --header_bytes=233,237"
            )
    return found


def note(geometry: Geometry, headers: Headers, header_bytes: tuple[int, ...]) -> str:
    """Returns what the user should know about a file that is taken as 2-D lines; else ""."""
    if geometry.volume:
        return ""
    count, order = len(geometry.by_inline), " in the order of the file"
    taken = "one 2-D line" if count == 1 else f"{count} 2-D lines"
    if geometry.numbered:
        why = "follow a path"
    elif geometry.inlines == geometry.crosslines:
        why = "hold no line numbers"
    else:
        one, order = "inline" if geometry.inlines > 1 else "crossline", ""
        why = f"hold only {one} numbers"
    numbers = f"inline {_span(geometry.inline)}, crossline {_span(geometry.crossline)}"
    return (
        f"taken as {taken} of {len(geometry.inline)} traces{order}: bytes {header_bytes[0]} and "
        f"{header_bytes[1]} {why} ({numbers}){candidates(headers, header_bytes)}"
    )


def _span(numbers: np.ndarray) -> str:
    low, high = numbers.min(), numbers.max()
    return f"{low}" if low == high else f"{low} to {high}"


def candidates(headers: Headers, header_bytes: tuple[int, ...]) -> str:
    """Returns which other header bytes look like the numbers of a volume, to end a message with."""
    found = []
    for pair in OTHER_BYTES:
        other = Geometry(*headers(pair))
        if pair != header_bytes and other.regular:
            found.append(
                f"; bytes {pair[0]} and {pair[1]} look like {other.inlines} inlines of "
                f"{other.crosslines} crosslines: give --header_bytes={pair[0]},{pair[1]}"
            )
    return "".join(found)


def unstacked(geometry: Geometry, offset: np.ndarray) -> str:
    """Returns what shows that there is more than one trace at a position; "" if nothing does.

    A 2-D line may cross itself, and two traces in a row may have one position where numbers are
    rounded; but if their offsets differ they are traces of a gather.

    Args:
      geometry: of the traces.
      offset: int32[n], of the traces.
    """
    a, b = geometry.repeats
    most = geometry.most()
    found = f"up to {most} traces at one position"
    if (offset[a] != offset[b]).any():
        return (
            f"{found}, with offsets {_span(offset)} in bytes 37-40; expected one trace at a "
            "position: stack the gathers, or select one offset"
        )
    rounded = most == 2 and 2 * len(a) < len(offset)
    path = not geometry.volume and (rounded or (b - a > 1).all())
    if path or not geometry.numbered:
        return ""  # unless both are numbered positions are not known
    return (
        f"{found}, such as traces {a[0] + 1} and {b[0] + 1} at inline {geometry.inline[a[0]]}, "
        f"crossline {geometry.crossline[a[0]]}, all with offset {offset[a[0]]} in bytes 37-40; "
        "expected one trace at a position: keep one of them, or give the header bytes of other "
        "numbers"
    )


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
    for i in np.unique(np.searchsorted(stops, np.flatnonzero(gap), side="right")):
        lines[i] = _in_place(lines[i], positions[lines[i]], common)
    return lines


def _in_place(members: np.ndarray, positions: np.ndarray, step: int) -> np.ndarray:
    """Returns a line's trace numbers by position, evenly spaced, with -1 for a missing trace.

    Args:
      members: sorted by position. They are returned as they are if their positions are not distinct,
        or if most of the line would be gaps.
      positions: of the members.
      step: from one position to the next in the whole file; a line of more than a few traces shows
        its own, which is larger if the lines of a file have different positions.
    """
    steps = np.diff(positions.astype(np.int64))
    few = len(members) <= FEW
    step = step if few else int(np.gcd.reduce(steps))
    length = int(steps.sum()) // max(step, 1) + 1
    gaps = length > 2 * len(members) or not (few or np.median(steps) == step)
    if gaps or not steps.all():
        return members
    line = np.full(length, -1, members.dtype)
    line[np.concatenate([[0], np.cumsum(steps)]) // step] = members
    return line


def _common_step(positions: np.ndarray) -> int:
    """Returns the greatest common divisor of the differences of positions."""
    return int(np.gcd.reduce(np.diff(np.unique(positions).view(np.uint32))))


def _paths(inline: np.ndarray, crossline: np.ndarray) -> list[np.ndarray]:
    """Returns the trace numbers of 2-D lines, in the order of the file."""
    varying = [x for x in (inline, crossline) if (x != x[0]).any()]
    if len(varying) == 2:
        jump = _distance(inline)
        np.maximum(jump, _distance(crossline), out=jump)
        breaks = np.flatnonzero(jump > JUMP * max(1, np.median(jump)))
        return np.split(np.arange(len(inline), dtype=np.int32), breaks + 1)
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


def _distance(numbers: np.ndarray) -> np.ndarray:
    """Returns uint32[n - 1], by how much each number differs from the one before."""
    distance = np.maximum(numbers[1:], numbers[:-1]).view(np.uint32)
    distance -= np.minimum(numbers[1:], numbers[:-1]).view(np.uint32)
    return distance
