"""Where the traces of a SEG-Y file are on the map: coordinates and the size of a bin."""

import dataclasses
import struct

import numpy as np

from saltjax.seismic import segy, survey
from saltjax.seismic.sample_axis import FEET, MEASURE
from saltjax.system.errors import reading

# Bytes of the trace header, from 1: of two bytes each.
SCALAR, UNITS = 71, 89
METRES = 1
# Codes in UNITS of angles.
ANGLES = {2: "arcsec", 3: "deg", 4: "DMS"}
# Traces from which the size of a bin is estimated; by how much of it they may be off the grid; and
# the share of them that must not be, since single headers are wrong.
MAX_TRACES, TOLERANCE, ON_GRID = 10_000, 0.25, 0.95
# Distances that are so many times the median are left out.
JUMP = 3
# Inlines and crosslines with a smaller sine of the angle between them are parallel.
FLAT = 0.01


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """The coordinates of a file's traces.

    Attributes:
      source: the file.
      header_bytes: of x and y: of the CDP, or of the source if the former hold none.
      unit: "m" or "ft"; "arcsec", "deg" or "DMS" for angles; "" if the headers do not tell.
    """

    source: segy.SegyTraces
    header_bytes: tuple[int, int]
    unit: str

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Returns x and y, float64[n, 2], of traces, with the scalar of bytes 71-72 applied.

        A positive scalar is a factor, a negative one a divisor, and 0 means 1 (SEG-Y revision 1).

        Raises:
          InputError: if they cannot be read.
        """
        # In one pass over the file; the scalar is the second half of the four bytes from 69 on.
        both, x, y = self.source.headers((SCALAR - 2, *self.header_bytes), numbers)
        half = both if self.source.layout.endian == "big" else both >> 16
        scalar = half.astype(np.int16).astype(float)
        size = np.maximum(np.abs(scalar), 1)
        factor = np.where(scalar < 0, 1 / size, size)
        return np.stack([x * factor, y * factor], 1)


def find(source: segy.SegyTraces) -> Coordinates | None:
    """Returns the coordinates of a file; None if all its traces have the same, such as 0 and 0.

    Raises:
      InputError: if it cannot be read.
    """
    numbers = some(np.arange(source.count))
    for pair in survey.COORDINATES:
        if any((axis != axis[0]).any() for axis in source.headers(pair, numbers)):
            return Coordinates(source, pair, _unit(source))
    return None


def _unit(source: segy.SegyTraces) -> str:
    (code,) = source.headers((UNITS,), np.array([0]), "i2")
    if int(code[0]) in ANGLES:
        return ANGLES[int(code[0])]
    with reading(source.name), open(source.name, "rb") as file:
        file.seek(MEASURE)
        (measure,) = struct.unpack(f"{source.layout.mark}h", file.read(2))
    return {METRES: "m", FEET: "ft"}.get(measure, "")


@dataclasses.dataclass(frozen=True)
class Bins:
    """The grid of a volume on the map.

    Attributes:
      first: int[2], the inline and crossline number of the first line: of SEG-Y the lowest ones.
      count: int[2], how many inlines and crosslines there are from the lowest to the highest.
      step: int[2], the usual difference of their numbers.
      origin: float64[2], x and y of the trace at `first`.
      vectors: float64[2, 2], by how much x and y change to the next inline, and to the next crossline.
    """

    first: np.ndarray
    count: np.ndarray
    step: np.ndarray
    origin: np.ndarray
    vectors: np.ndarray

    @property
    def area(self) -> float:
        """That of the parallelogram between a trace and its neighbours."""
        return float(abs(np.linalg.det(self.vectors)))


def bins(coordinates: Coordinates) -> Bins | None:
    """Returns the grid of a volume, fitted to its coordinates by least squares.

    Args:
      coordinates: of the traces of a volume.

    Returns:
      None if they are angles, or are not on a regular grid.

    Raises:
      InputError: if coordinates cannot be read.
    """
    geometry = coordinates.source.geometry
    if coordinates.unit in ANGLES.values():
        return None
    axes = [n[geometry.placed] for n in (geometry.inline, geometry.crossline)]
    first = np.array([axis.min() for axis in axes], np.int64)
    last = np.array([axis.max() for axis in axes], np.int64)
    numbers = some(np.flatnonzero(geometry.placed))
    at = np.stack([geometry.inline[numbers], geometry.crossline[numbers]], 1)
    return fit(first, last, np.array(geometry.steps), at, coordinates.read(numbers))


def fit(
    first: np.ndarray,
    last: np.ndarray,
    step: np.ndarray,
    at: np.ndarray,
    known: np.ndarray,
) -> Bins | None:
    """Returns the grid that fits the coordinates of traces by least squares; None if they are on none.

    Args:
      first, last: int[2], the lowest and highest inline and crossline number.
      step: int[2], the usual difference of their numbers.
      at: int[n, 2], inline and crossline number of traces.
      known: float64[n, 2], their x and y; those at 0 and 0 have none, as padding and dead traces.
    """
    there = known.any(axis=1)
    known, at = known[there], at[there]
    if len(known) < 3:
        return None
    place = (at - first) / step
    # About the middle, since coordinates of millions have few digits left for a bin.
    middle, centre = place.mean(0), known.mean(0)
    vectors, _, _, _ = np.linalg.lstsq(place - middle, known - centre, rcond=None)
    away = np.abs(known - centre - (place - middle) @ vectors).max(axis=1)
    off = np.quantile(away, ON_GRID)
    lengths = np.hypot(*vectors.T)
    found = Bins(
        first,
        np.rint((last - first) / step).astype(int) + 1,
        step,
        centre - middle @ vectors,
        vectors,
    )
    if off > TOLERANCE * lengths.min() or found.area <= FLAT * lengths.prod():
        return None
    return found


def spacing(coordinates: Coordinates, line: np.ndarray) -> float | None:
    """Returns the mean distance of neighbouring traces of a 2-D line, in the coordinates' unit.

    Args:
      coordinates: of the traces.
      line: int[n], their numbers, -1 for a missing trace.

    Returns:
      None if they are angles, all the same, or if there is one trace only.

    Raises:
      InputError: if coordinates cannot be read.
    """
    places = some(np.flatnonzero(line >= 0))
    if coordinates.unit in ANGLES.values() or len(places) < 2:
        return None
    steps = np.diff(coordinates.read(line[places]), axis=0)
    apart = np.hypot(*steps.T) / np.diff(places)
    # The mean, since each is rounded as coordinates are; but single headers are wrong.
    usual = apart <= JUMP * np.median(apart)
    return float(apart[usual].mean()) or None


def some(numbers: np.ndarray) -> np.ndarray:
    """Returns at most MAX_TRACES of them, evenly spaced."""
    if len(numbers) <= MAX_TRACES:
        return numbers
    return numbers[np.linspace(0, len(numbers) - 1, MAX_TRACES).astype(int)]
