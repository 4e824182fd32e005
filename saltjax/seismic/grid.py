"""Volumes of traces on a regular grid, read line by line, whatever the format of the file."""

import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from saltjax.seismic import neighbours, npy, segy, survey, zgy
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError, reading

ZARR_SUFFIXES = (".zarr", ".mdio")
SUFFIXES = (*segy.SUFFIXES, ".npy", zgy.SUFFIX, *ZARR_SUFFIXES)


class Grid(Protocol):
    """A volume [inline, crossline, sample].

    Attributes:
      name: the path, for messages.
      shape: number of inlines, of crosslines and of samples.
      dtype: of the samples.
      inlines, crosslines: int[n], the numbers of the lines; None if the format has none.
      axis: the vertical axis, of unit "sample" if it is not known.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    inlines: np.ndarray | None
    crosslines: np.ndarray | None
    axis: SampleAxis

    def read(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """Returns the traces [n, samples] at indices int[n], zeros where there is none.

        Raises:
          InputError: if they cannot be read.
        """
        ...

    def exists(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """Returns bool[n], whether the file has a trace at indices int[n]."""
        ...


class ArrayGrid:
    """The `Grid` of a .npy file, which has no line numbers."""

    def __init__(self, path: pathlib.Path, option: str, unlabelled: int | None = None):
        """Opens the file.

        Args:
          path: the file.
          option: what it was given by, for messages.
          unlabelled: see `open_grid`.

        Raises:
          InputError: if it is no array of real numbers in three dimensions.
        """
        self._traces = npy.read(path, truth_values=unlabelled is not None)
        self.name = self._traces.name
        if len(self._traces.shape) != 3:
            raise InputError(
                f"{option}={path}: an array of shape {self._traces.shape}; expected a volume "
                "[inline, crossline, sample]"
            )
        self.shape: tuple[int, int, int] = self._traces.shape
        self.dtype = self._traces.dtype
        self.inlines: np.ndarray | None = None
        self.crosslines: np.ndarray | None = None
        self.axis = SampleAxis()

    def read(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """See `Grid`."""
        return self._traces.read(inline * self.shape[1] + crossline)

    def exists(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """See `Grid`."""
        return np.ones(len(inline), bool)


class SegyGrid:
    """The `Grid` of a SEG-Y file whose trace headers number its lines."""

    def __init__(self, path: pathlib.Path, header_bytes: Sequence[int], option: str):
        """Opens the file and reads the headers of all traces.

        Args:
          path: the file.
          header_bytes: where inline and crossline numbers are, see `survey`.
          option: what it was given by, for messages.

        Raises:
          InputError: if it is damaged, has two traces at one position, or is no volume.
        """
        self._traces = segy.SegyTraces(path, header_bytes=header_bytes)
        self.name = self._traces.name
        flag, headers = "--config.data.header_bytes", self._traces.headers
        geometry = survey.find(headers, tuple(header_bytes), self.name, flag)
        if not geometry.volume:
            found = survey.note(geometry, headers, tuple(header_bytes), flag)
            raise InputError(
                f"{option}={path}: {found}. Expected the inline and crossline numbers of a volume: "
                f"set {flag}"
            )
        placed = geometry.placed
        places = geometry.inline[placed], geometry.crossline[placed]
        numbers = [neighbours.all_numbers(axis) for axis in places]
        self.inlines: np.ndarray | None = numbers[0]
        self.crosslines: np.ndarray | None = numbers[1]
        self._trace = np.full(tuple(map(len, numbers)), -1, np.int32)
        at = tuple(np.searchsorted(all_, axis) for all_, axis in zip(numbers, places))
        self._trace[at] = np.flatnonzero(placed)
        self.shape = (len(numbers[0]), len(numbers[1]), self._traces.samples)
        self.dtype = self._traces.dtype
        self.axis = self._traces.axis

    def read(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """See `Grid`."""
        return self._traces.read(self._trace[inline, crossline])

    def exists(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """See `Grid`."""
        return self._trace[inline, crossline] >= 0


def is_zarr(path: pathlib.Path) -> bool:
    """Returns whether a path is, by its name, that of a Zarr store, or of an array in one."""
    return any(part.suffix.lower() in ZARR_SUFFIXES for part in (path, *path.parents))


def open_grid(
    path: pathlib.Path,
    header_bytes: Sequence[int],
    option: str,
    unlabelled: int | None = None,
) -> Grid:
    """Returns the volume of a .sgy, .segy, .npy, .zgy, .zarr or .mdio file.

    Args:
      path: the file.
      header_bytes: of SEG-Y, where inline and crossline numbers are.
      option: what it was given by, for messages.
      unlabelled: of labels, which may be True and False, the value of samples without one; None for
        amplitudes.

    Raises:
      InputError: if it has another suffix, cannot be read, or is no volume.
    """
    suffix = path.suffix.lower()
    with reading(path):
        if suffix in SUFFIXES and not path.exists():
            where = "" if path.is_absolute() else f" in {pathlib.Path.cwd()}"
            raise InputError(f"{option}={path}: no such file{where}")
        if path.exists() and not (path.is_file() or path.is_dir()):
            # Opening a pipe would block.
            raise InputError(f"{option}={path}: neither a file nor a directory")
    if suffix in segy.SUFFIXES:
        return SegyGrid(path, header_bytes, option)
    if suffix == ".npy":
        return ArrayGrid(path, option, unlabelled)
    if suffix == zgy.SUFFIX:
        grid = zgy.ZgyGrid(path, option)
        grid.check_numbers()
        return grid
    # An array of a group may have any name: survey.zarr/labels.
    if is_zarr(path):
        # Imported here: tensorstore takes a second.
        from saltjax.seismic.zarr import ZarrGrid

        return ZarrGrid(path, option, unlabelled)
    known = ", ".join(SUFFIXES)
    if unlabelled is not None:
        known += (
            ", or the picks of top and base of salt, two text files joined by a comma"
        )
    raise InputError(f"{option}={path}: expected a volume, a file {known}")
