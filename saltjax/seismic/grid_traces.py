"""The traces of a volume on a regular grid, numbered as those of an array."""

import dataclasses

import numpy as np

from saltjax.seismic import npy, zgy
from saltjax.seismic.trace_coordinates import Bins


class GridTraces(npy.ArrayTraces):
    """All traces of a ZGY file, or those of some lines; they cannot be written.

    Attributes:
      grid: the file.
      rows, columns: int[n], the indices of inlines and crosslines.
    """

    def __init__(
        self,
        grid: zgy.ZgyGrid,
        rows: np.ndarray | None = None,
        columns: np.ndarray | None = None,
    ):
        """Takes the file, and indices of evenly spaced lines, by default of all."""
        self.grid, self.name, self.dtype = grid, grid.name, np.dtype(np.float32)
        self.rows = np.arange(grid.shape[0]) if rows is None else rows
        self.columns = np.arange(grid.shape[1]) if columns is None else columns
        self.shape = (len(self.rows), len(self.columns), grid.shape[2])
        self.count, self.samples = self.shape[0] * self.shape[1], self.shape[2]
        self.axis = grid.axis

    def image(self) -> None:
        """Returns None: it is a volume."""

    def select(self, direction: str, lines: slice) -> "GridTraces":
        """Returns some inlines or crosslines, as a volume of their own."""
        if direction == "inline":
            return GridTraces(self.grid, self.rows[lines], self.columns)
        return GridTraces(self.grid, self.rows, self.columns[lines])

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

    def coordinates(self) -> "GridCoordinates | None":
        """Returns where the traces are on the map; None if the file does not tell."""
        bins = self.grid.bins
        if bins is None:
            return None
        first = np.array([self.rows[0], self.columns[0]])
        step = np.array([_step(self.rows), _step(self.columns)])
        part = Bins(
            np.array([self.numbers(d)[0] for d in ("inline", "crossline")]),
            np.array(self.shape[:2]),
            bins.step * step,
            bins.origin + first @ bins.vectors,
            bins.vectors * step[:, None],
        )
        return GridCoordinates(part, self.grid.unit)


@dataclasses.dataclass(frozen=True)
class GridCoordinates:
    """The coordinates of traces on a regular grid.

    Attributes:
      bins: the grid.
      unit: "m" or "ft", "" if it is not known.
    """

    bins: Bins
    unit: str

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Returns x and y, float64[n, 2], of traces."""
        at = np.stack(np.divmod(numbers, self.bins.count[1]), 1)
        return self.bins.origin + at @ self.bins.vectors


def _step(indices: np.ndarray) -> int:
    return int(indices[1] - indices[0]) if len(indices) > 1 else 1
