"""Volumes in ZGY, the format of Petrel, read and written by OpenZGY, which pyzgy brings along.

A ZGY file is cut into bricks, most often of 64 × 64 × 64 samples, and has no trace headers: its lines are
numbered evenly, its coordinates are those of its corners. Where there is no trace, samples are 0.
"""

import contextlib
import functools
import importlib
import importlib.util
import math
import pathlib
import threading
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from saltjax.seismic import npy
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.seismic.trace_coordinates import Bins
from saltjax.system import console, files
from saltjax.system.errors import InputError, reading

SUFFIX = ".zgy"
FOOT = 0.3048
# Of the file's header, copied as they are.
UNITS = ("zunitdim", "zunitname", "zunitfactor", "hunitdim", "hunitname", "hunitfactor")
# Whole numbers of one byte are stored as they are with this range.
ONE_BYTE = (-128.0, 127.0)


class ZgyGrid:
    """The `Grid` of a ZGY file.

    It keeps the bricks along one line in memory, since the next line lies in the same ones.

    Attributes:
      inlines, crosslines: None if the file does not number them.
      bins: the grid on the map; None if the file has no coordinates, or one line only.
      unit: of the coordinates: "m" or "ft", "" if it is not known.
    """

    def __init__(self, path: pathlib.Path, option: str):
        """Reads the file's header.

        Args:
          path: the file.
          option: what it was given by, for messages.

        Raises:
          InputError: if pyzgy is not installed, or the file cannot be read.
        """
        self.name, self._place = str(path), f"{option}={path}"
        api = _openzgy(self._place)
        # It prints the headers that it finds damaged.
        with _decoding(self._place), contextlib.redirect_stdout(None):
            self._version = files.version(path)
            reader = api.ZgyReader(str(path))
        weakref.finalize(self, reader.close)
        self._reader, self._lock = reader, threading.Lock()
        with _decoding(self._place):
            inlines, crosslines, samples = map(int, reader.size)
            self.shape = inlines, crosslines, samples
            self._brick = tuple(map(int, reader.bricksize))
            self.header = {name: getattr(reader, name) for name in UNITS}
            self.header |= {"zstart": reader.zstart, "zinc": reader.zinc}
            self.axis = _axis(reader, api.UnitDimension)
            numbers = [
                _numbers(start, step, count, self._place)
                for start, step, count in zip(
                    reader.annotstart, reader.annotinc, self.shape[:2]
                )
            ]
            self.unit = _length(reader, api.UnitDimension)
            angles = reader.hunitdim == api.UnitDimension.arcangle
            self.bins = None if angles else _bins(numbers, reader.corners, self.shape)
        self.inlines, self.crosslines = numbers
        columns = [-(-n // b) for n, b in zip(self.shape[:2], self._brick)]
        self._column = functools.lru_cache(max(columns))(self._read_column)

    def read(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """Returns the traces float32[n, samples] at indices int[n].

        Raises:
          InputError: if they cannot be read.
        """
        with _decoding(self._place):  # memory for what a damaged header says
            traces = np.empty((len(inline), self.shape[2]), np.float32)
        height, width = self._brick[:2]
        columns = np.stack([inline // height, crossline // width])
        known, index = np.unique(columns, axis=1, return_inverse=True)
        for k, (row, column) in enumerate(known.T.tolist()):
            part = np.flatnonzero(index == k)
            with self._lock:
                bricks = self._column(row, column)
            at = inline[part] - row * height, crossline[part] - column * width
            traces[part] = bricks[at]
        return traces

    def exists(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """See `Grid`: the format does not tell."""
        return np.ones(len(inline), bool)

    def check_numbers(self) -> None:
        """Raises InputError if the numbers of lines decrease, which training does not take."""
        for numbers in (self.inlines, self.crosslines):
            if numbers is not None and _step(numbers) < 0:
                raise InputError(
                    f"{self._place}: lines are numbered downwards, from {numbers[0]} to {numbers[-1]}; "
                    "expected numbers that increase: export it again, or as SEG-Y"
                )

    def _read_column(self, row: int, column: int) -> np.ndarray:
        """Returns float32[inline, crossline, sample] of the bricks above each other."""
        first = row * self._brick[0], column * self._brick[1]
        size = [min(b, n - f) for b, n, f in zip(self._brick, self.shape, first)]
        bricks = np.zeros((*size, self.shape[2]), np.float32)
        with _decoding(self._place):
            files.check_version(pathlib.Path(self.name), self._version)
            self._reader.read((*first, 0), bricks)
        return bricks


@contextlib.contextmanager
def create(
    path: pathlib.Path,
    dtype: str,
    like: ZgyGrid,
    inlines: np.ndarray,
    crosslines: np.ndarray,
) -> Iterator[npy.ArrayTraces]:
    """Yields traces to be written, which at the end become a ZGY file.

    Until then they lie in a temporary .npy file beside it: bricks hold many lines.

    Args:
      path: the file to write.
      dtype: "uint8", for numbers up to 127; "float32"; or "int32", which is stored as the former.
      like: the file that it resembles.
      inlines, crosslines: int[n], indices of evenly spaced lines of `like`, which it has.

    Raises:
      OSError: if the disk has no room.
      InputError: if the file cannot be written.
    """
    api = _openzgy(str(path))
    shape = (len(inlines), len(crosslines), like.shape[2])
    frame: dict[str, Any] = dict(like.header, size=shape)
    numbers = [like.inlines, like.crosslines]
    if numbers[0] is not None and numbers[1] is not None:
        chosen = numbers[0][inlines], numbers[1][crosslines]
        frame["annotstart"] = tuple(float(axis[0]) for axis in chosen)
        frame["annotinc"] = tuple(float(_step(axis)) for axis in chosen)
    if like.bins:
        ends = [(i, j) for j in crosslines[[0, -1]] for i in inlines[[0, -1]]]
        corners = like.bins.origin + np.array(ends) @ like.bins.vectors
        frame["corners"] = tuple(map(tuple, corners.tolist()))
    if dtype == "uint8":
        frame |= {"datatype": api.SampleDataType.int8, "datarange": ONE_BYTE}
    with files.temporary_file(path) as temporary:
        yield npy.create(temporary, shape, dtype)
        array = np.lib.format.open_memmap(temporary, mode="r")
        with (
            _encoding(path),
            console.Bar("Writing ZGY", array.size, "samples") as bar,
        ):
            writer = api.ZgyWriter(str(path), **frame)
            try:
                height, width = writer.bricksize[:2]
                for i in range(0, shape[0], height):
                    for j in range(0, shape[1], width):
                        block = array[i : i + height, j : j + width]
                        writer.write((i, j, 0), np.ascontiguousarray(block, np.float32))
                        bar.advance(block.size)
            except BaseException:
                # Closed without the copies of lower resolution, which take a while.
                writer.errorflag = True
                raise
            finally:
                writer.close()


def _openzgy(place: str) -> Any:
    """Returns the module `openzgy.api`.

    Raises:
      InputError: if it is not installed.
    """
    if importlib.util.find_spec("openzgy") is None:
        raise InputError(
            f"{place}: ZGY files need the package pyzgy: pip install pyzgy zfpy"
        )
    # It warns and prints that it cannot read from a cloud, and without zfpy no compressed files.
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(None),
        contextlib.redirect_stderr(None),
    ):
        warnings.simplefilter("ignore")
        return importlib.import_module("openzgy.api")


@contextlib.contextmanager
def _decoding(place: str) -> Iterator[None]:
    """Turns what OpenZGY raises for a damaged file into an InputError."""
    try:
        with reading(place.partition("=")[2]):
            yield
    except InputError:
        raise
    except Exception as error:  # there are many, as bytes decide
        raise InputError(
            f"{place}: OpenZGY cannot read it: {_reason(error)}; expected a ZGY file, not "
            "damaged, and without Petrel's own compression. Export it again, or as SEG-Y"
        ) from None


@contextlib.contextmanager
def _encoding(path: pathlib.Path) -> Iterator[None]:
    """Turns what OpenZGY raises while it writes into an InputError, but for errors of the system."""
    try:
        yield
    except (OSError, InputError):
        raise
    except Exception as error:
        raise InputError(f"{path}: OpenZGY cannot write it: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _axis(reader: Any, dimension: Any) -> SampleAxis:
    """Returns the vertical axis, of unit "sample" if the file does not say what it is."""
    known, unit = float(reader.zunitfactor), "ms"
    if reader.zunitdim == dimension.time:
        factor = 1000 * known
    elif reader.zunitdim == dimension.length:
        feet = math.isclose(known, FOOT, rel_tol=1e-4)
        unit, factor = ("ft", 1.0) if feet else ("m", known)
    else:
        return SampleAxis()
    first, step = factor * float(reader.zstart), factor * float(reader.zinc)
    if not (math.isfinite(first) and math.isfinite(step) and step > 0):
        return SampleAxis()
    # The file has float32.
    return SampleAxis(unit, float(f"{first:.7g}"), float(f"{step:.7g}"))


def _length(reader: Any, dimension: Any) -> str:
    """Returns the unit of coordinates."""
    if reader.hunitdim != dimension.length:
        return ""
    for unit, factor in (("m", 1.0), ("ft", FOOT)):
        if math.isclose(float(reader.hunitfactor), factor, rel_tol=1e-4):
            return unit
    return ""


def _numbers(start: float, step: float, count: int, place: str) -> np.ndarray | None:
    """Returns the numbers int64[count] of lines; None if the file has none, that is, all the same."""
    if step == 0 and count > 1:
        return None
    numbers = float(start) + float(step) * np.arange(count)
    if not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any():
        raise InputError(
            f"{place}: lines are numbered from {start:g} in steps of {step:g}; expected whole numbers"
        )
    return numbers.astype(np.int64)


def _bins(
    numbers: list[np.ndarray | None], corners: Any, shape: tuple[int, ...]
) -> Bins | None:
    """Returns the grid on the map: corners are x and y at the ends of the first and last lines."""
    if not corners or min(shape[:2]) < 2:
        return None
    inlines, crosslines = (
        np.arange(count) if axis is None else axis
        for axis, count in zip(numbers, shape)
    )
    places = np.array(corners, float)
    # Corner 1 is at the last inline, corner 2 at the last crossline.
    spans = places[1] - places[0], places[2] - places[0]
    vectors = np.stack([s / (n - 1) for s, n in zip(spans, shape)])
    found = Bins(
        np.array([inlines[0], crosslines[0]]),
        np.array(shape[:2]),
        np.array([_step(inlines), _step(crosslines)]),
        places[0],
        vectors,
    )
    return found if np.isfinite(places).all() and found.area > 0 else None


def _step(numbers: np.ndarray) -> int:
    return int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
