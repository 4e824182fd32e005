"""The lines of a volume that lie beside a line, and their traces beside its traces."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from saltjax.seismic.lines import MOST_FILLED

# Returns, for trace numbers int[n], the number of the line that each is on and its place there, int[n]
# each; None if the lines are not those of a volume.
Positions = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray] | None]


class Neighbours:
    """Which lines lie beside each other: those whose numbers follow one another."""

    def __init__(self, lines: Sequence[np.ndarray], positions: Positions):
        """Takes the trace numbers of each line, -1 for a missing trace, never at its start."""
        self.lines, self._positions = lines, positions
        self._ranks: list[int] = []
        if first := positions(np.array([line[0] for line in lines])):
            self._ranks = np.searchsorted(all_numbers(first[0]), first[0]).tolist()
        self._index = {rank: i for i, rank in enumerate(self._ranks)}

    def beside(self, line: int, distance: int) -> int | None:
        """Returns the line so many steps away from another; None if there is none.

        Both are indices of `lines`, and the distance is not 0.
        """
        if not self._ranks:
            return None
        return self._index.get(self._ranks[line] + distance)

    def places(self, line: int) -> np.ndarray:
        """Returns the places int64[n] of the traces of a line of a volume, in increasing order."""
        return places_on(self.lines[line], self._place_of)

    def _place_of(self, numbers: np.ndarray) -> np.ndarray:
        found = self._positions(numbers)
        assert found is not None
        return found[1]


def all_numbers(found: np.ndarray) -> np.ndarray:
    """Returns the numbers of all lines, int64[n]: those between the ones found too, if they are few.

    >>> all_numbers(np.array([10, 12, 18, 14])).tolist(), all_numbers(np.array([1, 2, 99])).tolist()
    ([10, 12, 14, 16, 18], [1, 2, 99])
    """
    numbers = np.unique(found).astype(np.int64)
    step = math.gcd(*np.diff(numbers).tolist()) or 1
    full = np.arange(numbers[0], numbers[-1] + 1, step)
    return full if len(full) <= MOST_FILLED * len(numbers) else numbers


def places_on(
    line: np.ndarray, place_of: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Returns the place int64[n] of each trace of a line, evenly spaced over missing ones.

    Args:
      line: trace numbers int[n], -1 for a missing trace.
      place_of: returns the places of trace numbers.
    """
    there = np.flatnonzero(line >= 0)
    places = np.interp(np.arange(len(line)), there, place_of(line[there]))
    return np.rint(places).astype(np.int64)


def repeat_edges(sections: np.ndarray, live: np.ndarray) -> None:
    """Replaces missing traces by those of the next section towards the middle, in place.

    So the channels of a network's input are filled at the ends of a volume and beside dead traces.

    >>> sections = np.array([[[1.0]], [[0.0]], [[3.0]], [[4.0]], [[0.0]]])
    >>> repeat_edges(sections, sections[:, :, 0] > 0)
    >>> sections.ravel().tolist()
    [1.0, 3.0, 3.0, 4.0, 4.0]

    Args:
      sections: [2k + 1, n, samples], the traces of a section between its k neighbours on either side.
      live: bool[2k + 1, n], False for those that are to be replaced, in all but the middle section.
    """
    middle = len(sections) // 2
    for distance in range(1, middle + 1):
        for side in (-distance, distance):
            missing, towards = ~live[middle + side], side - np.sign(side)
            sections[middle + side][missing] = sections[middle + towards][missing]
