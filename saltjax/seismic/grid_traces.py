"""The traces of a volume on a regular grid, numbered as those of an array."""

import dataclasses
from typing import Any

import numpy as np

from saltjax.seismic import npy, zgy
from saltjax.seismic.trace_coordinates import Bins


class GridTraces(npy.ArrayTraces):
    """All traces of a ZGY file, or those of some lines; they cannot be written.

    Attributes:
      grid: the file.
    """

    def __init__(self, grid: zgy.ZgyGrid):
        """Takes the file."""
        self.grid, self.name, self.shape = grid, grid.name, grid.shape
        self.dtype, self.axis = np.dtype(np.float32), grid.axis
        self.rows, self.columns = np.arange(grid.shape[0]), np.arange(grid.shape[1])
        self.count, self.samples = len(self.rows) * len(self.columns), grid.shape[2]
        self.apart = (False, False)

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
        """Returns the traces [n, samples] of those numbers.

        Raises:
          InputError: if they cannot be read.
        """
        row, column = np.divmod(numbers, self.shape[1])
        return self.grid.read(self.rows[row], self.columns[column])

    def _cut(self, index: Any) -> None:
        """Does nothing: traces are read by `rows` and `columns`."""

    def coordinates(self) -> "GridCoordinates | None":
        """Returns where the traces are on the map; None if the file does not tell."""
        if self.grid.bins is None:
            return None
        return GridCoordinates(self.grid.bins, self.grid.unit, self.rows, self.columns)


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
