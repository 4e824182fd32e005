"""Volumes in ZGY, the format of Petrel, read and written by OpenZGY, which pyzgy brings along.

A ZGY file is cut into bricks, most often of 64 × 64 × 64 samples, and has no trace headers: its lines are
numbered evenly, its coordinates are those of its corners. Where there is no trace samples are 0, or, in files of
integers, the number that is nearest to 0.
"""

import contextlib
import errno
import functools
import importlib
import importlib.util
import math
import pathlib
import secrets
import threading
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from saltjax.seismic import npy, zgy_header
from saltjax.system import console, files
from saltjax.system.errors import InputError, reading

SUFFIX = ".zgy"
BRICK = 64  # samples along each dimension, of what is written
# Of the file's header, copied as they are.
HEADER = (
    "zunitdim",
    "zunitname",
    "zunitfactor",
    "zstart",
    "zinc",
    "hunitdim",
    "hunitname",
    "hunitfactor",
)
# Whole numbers of one byte are stored as they are with this range.
ONE_BYTE = (-128.0, 127.0)


class ZgyGrid:
    """The `Grid` of a ZGY file.

    The bricks of the longer of an inline and a crossline stay in memory, since the next line lies in the
    same ones.

    Attributes:
      inlines, crosslines: None if the file does not number them.
      bins: the grid on the map; None if the file has no coordinates, or angles, or one line only.
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
        self.dtype = np.dtype(np.float32)
        api, self._lock = _openzgy(self._place), threading.Lock()
        # It prints the headers that it finds damaged.
        with _decoding(self._place), contextlib.redirect_stdout(None):
            self._version = files.version(path)
            reader = api.ZgyReader(str(path))
        weakref.finalize(self, reader.close)
        with _decoding(self._place):
            inlines, crosslines, samples = map(int, reader.size)
            self.shape = inlines, crosslines, samples
            self._brick = tuple(map(int, reader.bricksize))
            self._header = {name: getattr(reader, name) for name in HEADER}
            self.axis = zgy_header.axis(reader, api.UnitDimension)
            # Of inlines and of crosslines the first number and the step; x and y of the corners, or None.
            self._annotation = list(zip(reader.annotstart, reader.annotinc))
            self._corners = reader.corners and np.array(reader.corners, float)
            numbers = [
                zgy_header.numbers(*annotation, count, self._place)
                for annotation, count in zip(self._annotation, self.shape)
            ]
            self.unit = zgy_header.length_unit(reader, api.UnitDimension)
            angles = reader.hunitdim == api.UnitDimension.arcangle
            self.bins = (
                None if angles else zgy_header.bins(numbers, self._corners, self.shape)
            )
            zero = zgy_header.zero_limit(reader, api.SampleDataType)
        self.inlines, self.crosslines = numbers
        columns = [-(-n // b) for n, b in zip(self.shape[:2], self._brick)]
        # Not of a method: a cache that refers to the grid would keep grid, bricks and file.
        self._column = functools.lru_cache(max(columns))(
            functools.partial(_read_column, reader, self._brick, self.shape, zero)
        )

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
            with self._lock, _decoding(self._place):
                files.check_version(pathlib.Path(self.name), self._version)
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
            if numbers is not None and zgy_header.step(numbers) < 0:
                raise InputError(
                    f"{self._place}: lines are numbered downwards, from {numbers[0]} to {numbers[-1]}; "
                    "expected numbers that increase: export it again, or as SEG-Y"
                )

    def header(self, inlines: np.ndarray, crosslines: np.ndarray) -> dict[str, Any]:
        """Returns the arguments of `openzgy.api.ZgyWriter` for a file of some of the lines.

        Args:
          inlines, crosslines: int[n], their indices, evenly spaced.
        """
        chosen = list(zip(self._annotation, (inlines, crosslines)))
        found = {
            **self._header,
            "size": (len(inlines), len(crosslines), self.shape[2]),
            "annotstart": tuple(
                start + step * int(index[0]) for (start, step), index in chosen
            ),
            "annotinc": tuple(
                step * zgy_header.step(index) for (_, step), index in chosen
            ),
        }
        if self._corners is not None:
            origin, *others = self._corners[:3]
            spans = np.stack(others) - origin
            ends = [(i, j) for j in crosslines[[0, -1]] for i in inlines[[0, -1]]]
            shares = np.array(ends) / np.maximum(np.array(self.shape[:2]) - 1, 1)
            corners = origin + shares @ spans
            found["corners"] = tuple(map(tuple, corners.tolist()))
        return found


def _read_column(
    reader: Any,
    brick: tuple[int, ...],
    shape: tuple[int, ...],
    zero: float,
    row: int,
    column: int,
) -> np.ndarray:
    """Returns float32[inline, crossline, sample] of the bricks above each other.

    Args:
      reader: the file.
      brick, shape: of a brick and of the volume.
      zero: samples whose absolute value is not larger become 0.
      row, column: of the bricks.
    """
    first = row * brick[0], column * brick[1]
    size = [min(b, n - f) for b, n, f in zip(brick, shape, first)]
    bricks = np.zeros((*size, shape[2]), np.float32)
    reader.read((*first, 0), bricks)
    if zero:
        bricks[np.abs(bricks) <= zero] = 0
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

    Until then they lie in a temporary .npy file beside it, since bricks hold many lines. Both files take
    their room on the disk at once.

    Args:
      path: the file to write.
      dtype: "uint8", for numbers up to 127, "float32", or "int32", which is stored as float32.
      like: the file that it resembles.
      inlines, crosslines: int[n], indices of evenly spaced lines of `like`, which it has.

    Raises:
      OSError: if it cannot be written, such as for want of room.
    """
    api = _openzgy(str(path))
    header = like.header(inlines, crosslines)
    if dtype == "uint8":
        header |= {"datatype": api.SampleDataType.int8, "datarange": ONE_BYTE}
    shape = header["size"]
    temporary = path.with_name(f".saltjax-{secrets.token_hex(6)}.part")
    try:
        with path.open("wb") as file:
            files.reserve(file, _packed_bytes(shape, 1 if dtype == "uint8" else 4))
        yield npy.create(temporary, shape, dtype)
        array = np.lib.format.open_memmap(temporary, mode="r")
        with console.Bar("Writing ZGY", array.size, "samples") as bar, _encoding():
            writer = api.ZgyWriter(str(path), **header)
            try:
                for i in range(0, shape[0], BRICK):
                    for j in range(0, shape[1], BRICK):
                        block = array[i : i + BRICK, j : j + BRICK]
                        writer.write((i, j, 0), np.ascontiguousarray(block, np.float32))
                        bar.advance(block.size)
            except BaseException:
                # Closed without the copies of lower resolution, which take a while.
                writer.errorflag = True
                raise
            finally:
                writer.close()
    finally:
        temporary.unlink(missing_ok=True)


def _packed_bytes(shape: tuple[int, ...], item: int) -> int:
    """Returns about how large a file is: its bricks, those of a copy at half the resolution, and so on."""
    bricks, total = [-(-n // BRICK) for n in shape], 1
    while True:
        total += math.prod(bricks)
        if max(bricks) == 1:
            return total * item * BRICK**3
        bricks = [-(-n // 2) for n in bricks]


def _openzgy(place: str) -> Any:
    """Returns the module `openzgy.api`.

    Raises:
      InputError: if it is not installed, or cannot be imported.
    """
    if importlib.util.find_spec("openzgy") is None:
        raise InputError(
            f"{place}: ZGY files need the package pyzgy: pip install pyzgy zfpy"
        )
    # It warns and prints that it cannot read from a cloud, and without zfpy no compressed files.
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(None),
            contextlib.redirect_stderr(None),
        ):
            warnings.simplefilter("ignore")
            return importlib.import_module("openzgy.api")
    except ImportError as error:
        raise InputError(
            f"{place}: the package pyzgy cannot be imported: {error}; install it again"
        ) from None


@contextlib.contextmanager
def _decoding(place: str) -> Iterator[None]:
    """Turns what OpenZGY raises for a damaged file into an InputError."""
    try:
        with reading(place.partition("=")[2]):
            yield
    except InputError:
        raise
    except Exception as error:  # there are many, as bytes decide
        if "ompression" in str(error) and importlib.util.find_spec("zfpy") is None:
            raise InputError(
                f"{place}: it is compressed, which needs the package zfpy: pip install zfpy"
            ) from None
        raise InputError(
            f"{place}: OpenZGY cannot read it: {_reason(error)}; expected a ZGY file, not "
            "damaged, and without Petrel's own compression. Export it again, or as SEG-Y"
        ) from None


@contextlib.contextmanager
def _encoding() -> Iterator[None]:
    """Turns what OpenZGY raises while it writes into an OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"OpenZGY: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
