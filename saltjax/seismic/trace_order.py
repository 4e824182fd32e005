"""Traces sorted by their line numbers, in little memory beside the result."""

from collections.abc import Iterator

import numpy as np

# Traces that are looked at together, so that little memory is used.
BLOCK = 2**15


def by_line(names: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Returns the trace numbers int32[n] sorted by line and, within it, by position."""
    for start in range(0, len(names), BLOCK):
        part = slice(start, start + BLOCK + 1)
        name, position = names[part], positions[part]
        follows = position[1:] >= position[:-1]
        follows &= name[1:] == name[:-1]
        follows |= name[1:] > name[:-1]
        if not follows.all():
            return by_number(names, by_number(positions))
    return np.arange(len(names), dtype=_index_type(names))


def by_number(numbers: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
    """Returns trace numbers int32[n] sorted by the `numbers` of all traces; the sort is stable.

    It is a counting sort by 16 bits at a time: its time is linear, whatever the numbers are. Beside
    `order` and the result it takes memory for one more order if the numbers need more than 16 bits.

    Args:
      numbers: int32 for each trace.
      order: the trace numbers to sort; by default all, in the order of the file.
    """
    span = int(numbers.max()) - int(numbers.min())
    for shift in range(0, span.bit_length(), 16):
        order = _sort_digits(numbers, order, shift, min((span >> shift) + 1, 2**16))
    if order is None:  # all traces have the same number
        order = np.arange(len(numbers), dtype=_index_type(numbers))
    return order


def _sort_digits(
    numbers: np.ndarray, order: np.ndarray | None, shift: int, limit: int
) -> np.ndarray:
    """Returns the trace numbers sorted by their `_digits`, which are below `limit`; see `by_number`."""
    counts = np.zeros(limit, np.int64)
    for _, digits in _digits(numbers, order, shift):
        counts += np.bincount(digits, minlength=limit)
    free = np.cumsum(counts) - counts  # where the next trace with each digit goes
    found = np.empty(counts.sum(), _index_type(numbers))
    for members, digits in _digits(numbers, order, shift):
        ranks = np.argsort(digits, kind="stable")  # a radix sort, of 16 bits
        digits = digits[ranks]
        firsts = np.flatnonzero(np.diff(digits, prepend=~digits[0]))
        sizes = np.diff(firsts, append=len(digits))
        places = np.repeat(free[digits[firsts]] - firsts, sizes)
        places += np.arange(len(digits))
        found[places] = members[ranks]
        free[digits[firsts]] += sizes
    return found


def _digits(
    numbers: np.ndarray, order: np.ndarray | None, shift: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields trace numbers in order, and uint16 for each: 16 bits of its number, from `shift` on.

    They are those of how much the number exceeds the lowest.
    """
    low, count = numbers.min(), len(numbers) if order is None else len(order)
    for start in range(0, count, BLOCK):
        part = slice(start, min(start + BLOCK, count))
        members = np.arange(start, part.stop) if order is None else order[part]
        # Unsigned, so that no difference overflows.
        above = numbers[members].view(np.uint32) - low.view(np.uint32)
        yield members, (above >> shift).astype(np.uint16)


def _index_type(numbers: np.ndarray) -> type:
    """Returns the type of the trace numbers of so many traces."""
    return np.int32 if len(numbers) < 2**31 else np.int64


def same(numbers: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns bool[n - 1], whether each trace in an order has the number of the one before."""
    found = np.empty(len(order) - 1, bool)
    for start in range(0, len(found), BLOCK):
        part = numbers[order[start : start + BLOCK + 1]]
        found[start : start + BLOCK] = part[1:] == part[:-1]
    return found
