"""The lines of a volume as images, whose channels are each line and its neighbours."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from saltjax.seismic.neighbours import Neighbours, Positions, repeat_edges


class LineImages:
    """The images of lines; it keeps the last lines that it has read.

    So each line is read once as the window of its neighbours slides over the volume. Of lines with
    more than `longest` traces only a part is read at a time, and again for each of its neighbours.
    """

    def __init__(
        self,
        lines: Sequence[np.ndarray],
        positions: Positions,
        read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        context: int,
        longest: int,
    ):
        """Takes lines and positions as `Neighbours` does.

        Args:
          lines: trace numbers of each line, -1 for a missing trace.
          positions: of traces.
          read: returns float32[n, samples] in [0, 1] and live bool[n] for trace numbers [n].
          context: k, the lines on either side that are channels.
          longest: traces of a line that is kept.
        """
        self._neighbours = Neighbours(lines, positions)
        self._lines, self._context, self._longest = lines, context, longest

        def read_part(line, start, stop):
            return read(lines[line][start:stop])

        kept = functools.lru_cache(2 * context + 1)
        self._read, self._places = kept(read_part), kept(self._neighbours.places)

    def load(self, line: int, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Returns image float32[samples, n, 2k + 1] and live bool[n] of a part of a line.

        The middle channel is the line itself. Where there is no live trace beside one of its traces,
        the next one towards it is repeated.
        """
        traces, live = self._read(line, part.start, part.stop)
        k = self._context
        if not k:
            return traces.T[:, :, None], live
        sections = np.zeros((2 * k + 1, *traces.shape), np.float32)
        alive = np.zeros((2 * k + 1, len(traces)), bool)
        sections[k], alive[k] = traces, live
        for distance in (*range(-k, 0), *range(1, k + 1)):
            other = self._neighbours.beside(line, distance)
            if other is not None:
                there, beside = self._beside(other, self._places(line)[part])
                sections[k + distance][there] = beside
                alive[k + distance] = there
        repeat_edges(sections, alive)
        return sections.transpose(2, 1, 0), live

    def _beside(self, line: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns which of the places int[n] have a live trace on a line, and these traces."""
        known, start = self._places(line), 0
        if len(known) > self._longest:
            start, stop = np.searchsorted(known, [places[0], places[-1] + 1]).tolist()
            known = known[start:stop]
        if not len(known):
            return np.zeros(len(places), bool), np.zeros(0, np.float32)
        traces, live = self._read(line, start, start + len(known))
        at = np.minimum(np.searchsorted(known, places), len(known) - 1)
        there = (known[at] == places) & live[at]
        return there, traces[at[there]]
