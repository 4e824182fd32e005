"""Volumes in Zarr format 3: arrays, and groups such as the stores of MDIO 1.

In a group there may be, beside the volume, one-dimensional arrays that are named as its dimensions are,
with the numbers of its lines and the positions of its samples, and `trace_mask`, False where there is no
trace. Dimensions that are called inline and crossline may be in any order.

A chunk that is damaged is found if it has been compressed or truncated, most often, and always if its
codecs include crc32c, as those of `zarr_output` do; MDIO has no such codec.
"""

import math
import pathlib
from collections.abc import Sequence

import numpy as np

from saltjax.seismic import zarr_store
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError

INLINE, CROSSLINE = ("inline", "iline", "il"), ("crossline", "xline", "xl")
MASK, COORDINATES = "trace_mask", ("cdp_x", "cdp_y")
# What `SampleAxis` calls the units of MDIO and xarray, and how much of that each is.
UNITS = {
    **dict.fromkeys(("us", "µs", "μs", "microseconds"), ("ms", 1e-3)),
    **dict.fromkeys(("ms", "milliseconds"), ("ms", 1.0)),
    **dict.fromkeys(("s", "sec", "seconds"), ("ms", 1e3)),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), ("m", 1.0)),
    **dict.fromkeys(("km", "kilometers", "kilometres"), ("m", 1e3)),
    **dict.fromkeys(("ft", "foot", "feet"), ("ft", 1.0)),
}
# Units of axes that state none, as those of MDIO.
USUAL_UNITS = {"time": "ms", "twt": "ms", "depth": "m"}
# Bytes of chunks that are decoded together, and that stay in memory since the next line lies in the
# same ones.
READ_BYTES, KEPT_BYTES = 2**26, 2**30


class ZarrGrid:
    """The `Grid` of a Zarr array or group.

    Attributes:
      place: the array of the volume.
      group: the group that it lies in; None for an array alone.
      names: of its dimensions, inline, crossline and sample; "" for those without.
    """

    def __init__(self, path: pathlib.Path, option: str, unlabelled: int | None = None):
        """Opens the volume and reads what is stored beside it.

        Args:
          path: the array, or the group that holds it.
          option: what it was given by, for messages.
          unlabelled: see `grid.open_grid`.

        Raises:
          InputError: if it cannot be read, or is no volume of real numbers.
        """
        self.name = str(path)
        place = zarr_store.find_volume(path, option)
        volume = zarr_store.Array(place)
        shape, self.dtype = volume.store.shape, volume.store.dtype.numpy_dtype
        truth_values = self.dtype == bool and unlabelled is None
        if len(shape) != 3 or 0 in shape or truth_values:
            raise InputError(
                f"{option}={path}: an array of {self.dtype} of shape {shape}; expected a volume of "
                "real numbers, [inline, crossline, sample]"
            )
        _check_fill_value(volume, f"{option}={path}", unlabelled)
        order, numbered = _order(volume.dimensions)
        self._numbered = numbered
        i, j, k = order
        self.shape: tuple[int, int, int] = (shape[i], shape[j], shape[k])
        self.names = names = [volume.dimensions[i] for i in order]
        self.place, self.group = place, zarr_store.group_of(place)
        group = self.group
        self.inlines = _numbers(group, names[0], self.shape[0]) if numbered else None
        self.crosslines = _numbers(group, names[1], self.shape[1]) if numbered else None
        self.axis = _axis(group, names[2], self.shape[2])
        live = self._of_traces(MASK)
        self._live = None if live is None else live != 0
        self._chunk, self._order = [int(volume.chunk[i]) for i in order], order
        self.keep(("inline", "crossline"))

    def keep(self, directions: Sequence[str]) -> None:
        """Keeps the decoded chunks in memory that the next line of these directions needs too.

        `directions` are "inline" or "crossline", or both.
        """
        bytes_kept = _bytes_to_keep(
            self.shape, self._chunk, self.dtype.itemsize, directions
        )
        store = zarr_store.Array(self.place, bytes_kept).store
        self._store = store.transpose(self._order)

    def read(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """Returns the traces [n, samples] at indices int[n], zeros where `trace_mask` is False.

        Those of NaN, missing too, are left to `amplitudes.clean`: in labels, zeros would be a class.

        Raises:
          InputError: if they cannot be read.
        """
        traces = np.zeros((len(inline), self.shape[2]), self.dtype)
        there = np.flatnonzero(self.exists(inline, crossline))
        if not there.size:
            return traces
        # Columns of chunks are read a few at a time: tensorstore decodes all that one request needs.
        rows, columns = self._chunk[:2]
        column = inline[there] // rows * self.shape[1] + crossline[there] // columns
        _, rank = np.unique(column, return_inverse=True)
        column_bytes = rows * columns * self.shape[2] * self.dtype.itemsize
        step = max(1, READ_BYTES // column_bytes)
        for start in range(0, rank.max() + 1, step):
            part = there[(start <= rank) & (rank < start + step)]
            with zarr_store.reading_chunks(self.name):
                traces[part] = (
                    self._store[inline[part], crossline[part]].read().result()
                )
        return traces

    def exists(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """Returns bool[n], whether `trace_mask` is True at indices int[n]."""
        if self._live is None:
            return np.ones(len(inline), bool)
        return self._live[inline, crossline]

    def coordinates(self) -> tuple[np.ndarray, str] | None:
        """Returns x and y, float64[inline, crossline, 2], and their unit: "m" or "ft", "" if not known.

        None if they are not stored, or are the same for all traces.

        Raises:
          InputError: if they cannot be read.
        """
        x, y = (self._of_traces(name) for name in COORDINATES)
        if not self._numbered or x is None or y is None:
            return None
        known = np.nan_to_num(np.stack([x, y], 2).astype(float))
        if (known == known[0, 0]).all():
            return None
        unit = _unit(zarr_store.member(self.group, COORDINATES[0]))
        kind, factor = UNITS.get(unit, ("", 1.0))
        if kind not in ("m", "ft"):
            return known, ""
        return known * factor, kind

    def _of_traces(self, name: str) -> np.ndarray | None:
        """Returns an array of the group [inline, crossline]; None if there is none of that name."""
        names, shape = self.names, self.shape
        array = zarr_store.member(self.group, name)
        if array is None:
            return None
        if array.dimensions == (names[1], names[0]) != ("", ""):
            return array.read(shape[1], shape[0]).T
        return array.read(shape[0], shape[1])


def _check_fill_value(
    volume: zarr_store.Array, place: str, unlabelled: int | None
) -> None:
    """Raises InputError if attributes say that a number is no value, but NaN, 0 or `unlabelled`."""
    fill = volume.fill_value()
    if fill is None or fill == (unlabelled or 0):
        return  # traces of 0 are dead
    expected = f"data.unlabelled={unlabelled}: give --config.data.unlabelled={fill}"
    if unlabelled is None:
        expected = (
            f"NaN or 0. In Python, with xarray 2024.10 or later: {zarr_store.REWRITE}"
        )
    raise InputError(
        f"{place}: its attributes say that {fill} is no value (_FillValue or missing_value); expected "
        f"{expected}"
    )


def _order(dimensions: tuple[str, ...]) -> tuple[list[int], bool]:
    """Returns the indices of inline, crossline and sample, and whether names tell which they are."""
    names = [name.lower() for name in dimensions]
    inline = [i for i, name in enumerate(names) if name in INLINE]
    crossline = [i for i, name in enumerate(names) if name in CROSSLINE]
    if len(inline) != 1 or len(crossline) != 1:
        return [0, 1, 2], False
    return [*inline, *crossline, 3 - inline[0] - crossline[0]], True


def _bytes_to_keep(
    shape: tuple[int, ...], chunk: list[int], item: int, directions: Sequence[str]
) -> int:
    """Returns the bytes of the chunks along a line of these directions, the larger; 0 if too many.

    Then the next line is read without decoding them again. A part of them would be of no use: the
    chunk that was used longest ago is dropped first.
    """
    whole = [-(-n // size) * size for n, size in zip(shape, chunk)]
    along = {
        "inline": chunk[0] * whole[1] * whole[2] * item,
        "crossline": whole[0] * chunk[1] * whole[2] * item,
    }
    kept = max((along[d] for d in directions if along[d] <= KEPT_BYTES), default=0)
    return kept and int(1.1 * kept) + 2**20  # with what tensorstore notes of each chunk


def _numbers(group: pathlib.Path | None, name: str, count: int) -> np.ndarray | None:
    """Returns the numbers int64[count] of lines; None if they are not stored."""
    array = zarr_store.member(group, name)
    if array is None:
        return None
    values = array.read(count)
    wrong = values != np.rint(values)
    wrong[1:] |= ~(values[1:] > values[:-1])
    if wrong.any():
        i = int(wrong.argmax())
        found = ", ".join(f"{value:.10g}" for value in values[max(0, i - 1) : i + 1])
        raise InputError(
            f"{array.path}: line numbers {found}; expected whole numbers, each larger than the one "
            "before"
        )
    return values.astype(np.int64)


def _axis(group: pathlib.Path | None, name: str, count: int) -> SampleAxis:
    """Returns the vertical axis, of unit "sample" if positions or their unit are not stored."""
    array = zarr_store.member(group, name)
    if array is None:
        return SampleAxis()
    values = array.read(count)
    if values.dtype.kind == "f":
        # The decimal numbers that were meant: 1.002, where float32 has 1.00199997.
        values = values.astype(str).astype(float)
    step = _step(values)
    if step is None:
        shown = ", ".join(f"{value:g}" for value in values[:4])
        raise InputError(
            f"{array.path}: samples at {shown}, …; expected positions that increase evenly: resample "
            "the volume"
        )
    unit = _unit(array)
    if not unit and name.lower() == "depth":
        # MDIO states the unit of length with the coordinates of the traces alone.
        unit = _unit(zarr_store.member(group, "cdp_x"))
    unit = unit or USUAL_UNITS.get(name.lower(), "")
    if unit not in UNITS:
        return SampleAxis()
    kind, factor = UNITS[unit]
    # Seven digits, which float32 has too, so that the axes of two files compare.
    return SampleAxis(kind, *(float(f"{factor * x:.7g}") for x in (values[0], step)))


def _step(values: np.ndarray) -> float | None:
    """Returns the distance of positions that increase evenly; None if they do not.

    multidimio 1.1 cuts positions off to integers: 0, 0, 1, 1, 2, … for a distance of 0.5. Of the
    distances that integers allow, this is the one with the fewest decimals.
    """
    if len(values) == 1:
        return 1.0
    i, rise = np.arange(1, len(values)), values[1:].astype(float) - float(values[0])
    if values.dtype.kind in "iu":
        low, high = (rise / i).max(), ((rise + 1) / i).min()
        steps = (math.ceil(low * 10**d - 1e-6) / 10**d for d in range(5))
        return next((step for step in steps if 0 < step < high), None)
    step = rise[-1] / i[-1]
    even = step > 0 and np.abs(rise - step * i).max() <= step / 100
    return float(step) if even else None


def _unit(array: zarr_store.Array | None) -> str:
    """Returns the unit that an array's attributes state, in lower case; "" if there is none."""
    attributes = array.attributes if array else {}
    found = attributes.get("unitsV1", attributes.get("units", ""))
    if isinstance(found, dict):  # MDIO: {"time": "ms"}
        found = next(iter(found.values()), "")
    return str(found).strip().lower()
