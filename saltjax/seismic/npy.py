"""Sections and volumes in memory and in .npy files, read and written trace by trace."""

import copy
import pathlib
from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np

from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system import files
from saltjax.system.errors import InputError, reading


class ArrayTraces:
    """A section [samples, traces] or a volume [inline, crossline, sample] as numbered traces.

    Traces are numbered from 0; in a volume the crossline index varies fastest.

    Attributes:
      name: in messages.
      shape, dtype: of the array.
      count: number of traces.
      samples: samples per trace.
      axis: the vertical axis.
      rows, columns: int[n], the indices of inlines and crosslines in the whole volume; of a section 0,
        and those of its traces.
      apart: whether inlines, and whether crosslines, are some of a volume that do not lie beside each other.
    """

    axis = SampleAxis()

    def __init__(self, array: Callable[[], np.ndarray], name: str):
        """Takes a function that returns the array; it is called for each access.

        Raises:
          InputError: if the array is empty, or not of real numbers in two or three dimensions.
        """
        self._array, self.name = array, name
        first = array()
        self.shape, self.dtype = first.shape, first.dtype
        if first.ndim not in (2, 3) or 0 in self.shape:
            raise InputError(
                f"{name}: an array of shape {self.shape}; expected a section [samples, traces] or "
                "a volume [inline, crossline, sample]"
            )
        if self.dtype.kind not in "fiu" or self.dtype.itemsize > 8:
            raise InputError(f"{name}: an array of {self.dtype}; expected real numbers")
        self.samples = self.shape[0] if first.ndim == 2 else self.shape[2]
        self.count = first.size // self.samples
        rows, columns = self.shape[:2] if first.ndim == 3 else (1, self.count)
        self.rows, self.columns = np.arange(rows), np.arange(columns)
        self.apart = (False, False)

    def image(self) -> np.ndarray | None:
        """Returns uint8[H, W, 3] if the array is a colour image, uint8[H, W, 3 or 4], else None.

        Raises:
          InputError: if a fourth channel, the opacity, is not 255 everywhere, or if the array has the
            shape of a colour image and another type.
        """
        if len(self.shape) != 3 or self.shape[2] not in (3, 4):
            return None
        if self.dtype != np.uint8:
            raise InputError(
                f"{self.name}: {self.dtype} of shape {self.shape}, a volume with traces of "
                f"{self.samples} samples, or a colour image? Expected images as uint8, from 0 to 255, "
                "and volumes [inline, crossline, sample]"
            )
        with reading(self.name):
            array = np.array(self._array())
        if array[:, :, 3:].size and array[:, :, 3].min() < 255:
            raise InputError(
                f"{self.name}: an image with transparent pixels (its fourth channel is below 255); "
                "expected none"
            )
        return array[:, :, :3]

    def lines(self, direction: str) -> list[np.ndarray]:
        """Returns the trace numbers of each "inline" or "crossline".

        A section, and a volume of one inline or crossline, is one line.
        """
        if len(self.shape) == 2 or 1 in self.shape[:2]:
            return [np.arange(self.count)]
        numbers = np.arange(self.count).reshape(self.shape[:2])
        return list(numbers if direction == "inline" else numbers.T)

    def positions(
        self, numbers: np.ndarray, direction: str
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns on which "inline" or "crossline" traces lie, and where on it, int[n] each.

        None for a section, which has no lines beside it.
        """
        if len(self.shape) == 2:
            return None
        inline, crossline = np.divmod(numbers, self.shape[1])
        return (inline, crossline) if direction == "inline" else (crossline, inline)

    def select(self, direction: str, lines: np.ndarray) -> Self:
        """Returns some "inline" or "crossline" sections of a volume, as an array of their own.

        `lines` are their indices int[n], in increasing order.
        """
        part, steps = copy.copy(self), np.diff(lines)
        skips = bool((steps > 1).any())
        # Lines of an array are numbered from 0, so that those chosen are evenly spaced.
        cut = slice(
            int(lines[0]), int(lines[-1]) + 1, int(steps[0]) if len(steps) else 1
        )
        if direction == "inline":
            part.rows, part.apart = self.rows[lines], (skips, self.apart[1])
            part._cut(np.s_[cut])
        else:
            part.columns, part.apart = self.columns[lines], (self.apart[0], skips)
            part._cut(np.s_[:, cut])
        part.shape = (len(part.rows), len(part.columns), self.samples)
        part.count = len(part.rows) * len(part.columns)
        return part

    def _cut(self, index: Any) -> None:
        """Takes a part of the array in its place."""
        whole = self._array
        self._array = lambda: whole()[index]

    def grids(self) -> list[np.ndarray]:
        """Returns the trace numbers int[rows, columns] of the volume, or of the section [traces, 1].

        Traces beside each other there are so in the volume; rows are inlines. Lines that are apart have
        arrays of their own.
        """
        shape = self.shape[:2] if len(self.shape) == 3 else (-1, 1)
        numbers = np.arange(self.count).reshape(shape)
        if self.apart[0]:
            return list(numbers[:, None])
        if self.apart[1]:
            return list(numbers.T[:, :, None])
        return [numbers]

    def placed(self, numbers: np.ndarray) -> np.ndarray:
        """Returns bool[n], whether traces have a place in the volume: all have one."""
        return np.ones(len(numbers), bool)

    def numbers(self, direction: str) -> np.ndarray:
        """Returns the number of each "inline" or "crossline", int[n]: its index, of a section 0."""
        return self.rows if direction == "inline" else self.columns

    def line_numbers(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns inline and crossline number of traces, int[n] each, see `numbers`."""
        row, column = np.divmod(numbers, self.shape[1])
        return self.numbers("inline")[row], self.numbers("crossline")[column]

    def place(self, number: int) -> str:
        """Returns the name of a trace for messages: its number, from 1, and in a volume its lines'."""
        if len(self.shape) == 2:
            return f"trace {number + 1}"
        inline, crossline = self.line_numbers(np.array(number))
        return f"trace {number + 1} (inline {inline}, crossline {crossline})"

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the traces [n, samples] of those numbers.

        Raises:
          InputError: if they cannot be read.
        """
        with reading(self.name):
            array = self._array()
            if array.ndim == 2:
                return np.array(array[:, numbers].T)
            return np.array(array[np.unravel_index(numbers, self.shape[:2])])

    def write(self, numbers: np.ndarray, traces: np.ndarray) -> None:
        """Writes the traces [n, samples] of those numbers."""
        array = self._array()
        if array.ndim == 2:
            array[:, numbers] = traces.T
        else:
            array[np.unravel_index(numbers, self.shape[:2])] = traces


def without_mask(array: np.ndarray, name: str) -> np.ndarray:
    """Returns an array whose masked traces are zeros, so that they are dead.

    Args:
      array: as in `ArrayTraces`; if it is a `numpy.ma.MaskedArray`, masked samples have no value.
      name: in messages.

    Raises:
      InputError: if some samples of a trace are masked and others are not, or pixels of an image.
    """
    if not np.ma.is_masked(array):
        return np.asarray(array)
    plain = ArrayTraces(lambda: array, name)
    mask = ArrayTraces(lambda: np.ma.getmaskarray(array).view(np.uint8), name)
    if plain.image() is not None:
        raise InputError(f"{name}: an image with masked pixels; expected none")
    masked = mask.read(np.arange(mask.count))
    partly = np.flatnonzero(masked.any(axis=1) & ~masked.all(axis=1))
    if partly.size:
        raise InputError(
            f"{name}: {plain.place(int(partly[0]))} is masked in some of its samples and not in "
            f"others{and_more(partly.size)}; mask whole traces, or fill the array"
        )
    return np.ma.filled(array, 0)


def and_more(count: int) -> str:
    """Returns how a message names one of `count` traces: what follows the first one's name."""
    return f", and {count - 1} other trace(s)" if count > 1 else ""


def read(
    path: pathlib.Path, mode: Literal["r", "r+"] = "r", truth_values: bool = False
) -> ArrayTraces:
    """Returns the traces of a .npy file, which is memory-mapped for each access.

    Pages of earlier accesses are released, so memory does not grow with the file.

    Args:
      path: the file.
      mode: "r", or "r+" to write traces.
      truth_values: whether it may hold True and False, which are read as 1 and 0.

    Raises:
      InputError: if it is not a .npy file of real numbers in two or three dimensions.
    """
    # The header is parsed once: parsing it is not thread-safe (CPython 3.11).
    try:
        version = files.version(path)
        opened = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or "it is empty"
        raise InputError(f"{path}: cannot read it as .npy: {reason}") from None
    dtype, offset, shape = opened.dtype, opened.offset, opened.shape
    order: Literal["C", "F"] = "C" if opened.flags.c_contiguous else "F"

    if truth_values and dtype.kind == "b":
        dtype = np.dtype(np.uint8)

    def mapped():
        if mode == "r":
            files.check_version(path, version)
        return np.memmap(path, dtype, mode, offset, shape, order)

    return ArrayTraces(mapped, str(path))


def create(path: pathlib.Path, shape: tuple[int, ...], dtype: str) -> ArrayTraces:
    """Returns the traces of a new .npy file of zeros.

    Raises:
      OSError: if the disk has no room for all of it, as far as `files.reserve` can tell.
    """
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    # If the disk filled up later, writing to the mapped file would kill the process.
    with path.open("r+b") as file:
        files.reserve(file, path.stat().st_size)
    return read(path, "r+")
