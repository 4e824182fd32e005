"""The traces of a volume on a regular grid, numbered as those of an array."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from saltjax.seismic import lines, npy, trace_coordinates, zarr, zgy
from saltjax.seismic.grid import Grid
from saltjax.seismic.trace_coordinates import Bins


class GridTraces(npy.ArrayTraces):
    """All traces of a volume on a grid, or those of some lines; they cannot be written.

    Attributes:
      grid: the volume, of ZGY or Zarr.
    """

    def __init__(self, grid: Grid):
        """Takes the volume."""
        self.grid, self.name, self.shape = grid, grid.name, grid.shape
        self.dtype, self.axis = np.dtype(grid.dtype), grid.axis
        self.rows, self.columns = np.arange(grid.shape[0]), np.arange(grid.shape[1])
        self.count, self.samples = len(self.rows) * len(self.columns), grid.shape[2]
        self.apart = (False, False)
        self._held: tuple[np.ndarray, np.ndarray] | None = None

    def keep(self, directions: Sequence[str]) -> None:
        """Keeps what the next line of these directions needs too, where it is decoded in chunks."""
        if isinstance(self.grid, zarr.ZarrGrid):
            self.grid.keep(directions)

    def held(self, numbers: np.ndarray) -> Self:
        """Returns the same volume with some traces in memory, which are read at once.

        Then each chunk that they lie in is decoded once, however many of their lines it holds. `numbers`
        int[n] increase.

        Raises:
          InputError: if they cannot be read.
        """
        part = copy.copy(self)
        part._held = numbers, self.read(numbers)
        return part

    def image(self) -> None:
        """Returns None: it is a volume."""

    def numbers(self, direction: str) -> np.ndarray:
        """Returns the number of each "inline" or "crossline", int[n]; indices if they have none."""
        if direction == "inline":
            known, chosen = self.grid.inlines, self.rows
        else:
            known, chosen = self.grid.crosslines, self.columns
        return chosen if known is None else known[chosen]

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the traces [n, samples] of those numbers, zeros for -1 and where there is none.

        Raises:
          InputError: if they cannot be read.
        """
        if self._held is not None:
            known, traces = self._held
            place = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
            if (known[place] == numbers).all():
                return traces[place]
        there = numbers >= 0
        if there.all():
            return self.grid.read(*self._indices(numbers))
        traces = np.zeros((len(numbers), self.samples), self.dtype)
        traces[there] = self.grid.read(*self._indices(numbers[there]))
        return traces

    def exists(self, numbers: np.ndarray) -> np.ndarray:
        """Returns bool[n], whether there is a trace, as far as the format tells."""
        return self.grid.exists(*self._indices(numbers))

    def _indices(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        row, column = np.divmod(numbers, self.shape[1])
        return self.rows[row], self.columns[column]

    def grids(self) -> list[np.ndarray]:
        """See `ArrayTraces.grids`; -1 between lines whose numbers differ by more than is usual."""
        places = [self._ranks(direction) for direction in ("inline", "crossline")]
        size = tuple(int(place[-1]) + 1 for place in places)
        if any(self.apart) or size == self.shape[:2]:
            return super().grids()
        grid = np.full(size, -1)
        grid[np.ix_(*places)] = np.arange(self.count).reshape(self.shape[:2])
        return [grid]

    def _ranks(self, direction: str) -> np.ndarray:
        """Returns the place int[n] of each line among those that there would be without gaps."""
        numbers = self.numbers(direction).astype(np.int64)
        far = np.abs(np.diff(numbers)) > lines.usual_step(numbers)
        return np.concatenate([[0], np.cumsum(1 + far)])

    def _cut(self, index: Any) -> None:
        """Does nothing: traces are read by `rows` and `columns`."""

    def coordinates(self) -> "GridCoordinates | ArrayCoordinates | None":
        """Returns where the traces are on the map; None if the file does not tell.

        Raises:
          InputError: if that cannot be read.
        """
        if isinstance(self.grid, zgy.ZgyGrid):
            bins = self.grid.bins
            if bins is None:
                return None
            return GridCoordinates(bins, self.grid.unit, self.rows, self.columns)
        return _array_coordinates(self)


@dataclasses.dataclass(frozen=True)
class GridCoordinates:
    """The coordinates of traces on a regular grid.

    Attributes:
      bins: the grid of the whole volume.
      unit: "m" or "ft", "" if it is not known.
      rows, columns: int[n], the indices of its lines that have these traces.
    """

    bins: Bins
    unit: str
    rows: np.ndarray
    columns: np.ndarray

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Returns x and y, float64[n, 2], of traces."""
        row, column = np.divmod(numbers, len(self.columns))
        at = np.stack([self.rows[row], self.columns[column]], 1)
        return self.bins.origin + at @ self.bins.vectors


@dataclasses.dataclass(frozen=True)
class ArrayCoordinates:
    """The coordinates of traces, stored for each.

    Attributes:
      bins: the grid of the whole volume; None if they are on none.
      unit: "m" or "ft", "" if it is not known.
      known: float64[rows, columns, 2], x and y.
    """

    bins: Bins | None
    unit: str
    known: np.ndarray

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Returns x and y, float64[n, 2], of traces."""
        return self.known.reshape(-1, 2)[numbers]


def _array_coordinates(traces: GridTraces) -> ArrayCoordinates | None:
    """Returns the coordinates that Zarr has beside a volume."""
    grid = traces.grid
    found = getattr(grid, "coordinates", lambda: None)()
    if found is None or grid.inlines is None or grid.crosslines is None:
        return None
    known, unit = found
    axes = [np.asarray(axis, np.int64) for axis in (grid.inlines, grid.crosslines)]
    some = trace_coordinates.some(np.arange(known.shape[0] * known.shape[1]))
    row, column = np.divmod(some, known.shape[1])
    bins = trace_coordinates.fit(
        np.array([axis.min() for axis in axes]),
        np.array([axis.max() for axis in axes]),
        np.array([lines.usual_step(axis) for axis in axes]),
        np.stack([axes[0][row], axes[1][column]], 1),
        known[row, column],
    )
    return ArrayCoordinates(bins, unit, known[np.ix_(traces.rows, traces.columns)])
