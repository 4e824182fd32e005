"""Files that hold an array of samples without trace headers: .npy, ZGY and Zarr."""

import contextlib
import pathlib
from collections.abc import Iterator

from saltjax.seismic import npy, zgy
from saltjax.seismic.grid import ZARR_SUFFIXES, is_zarr
from saltjax.seismic.grid_traces import GridTraces

SUFFIXES = (".npy", zgy.SUFFIX, *ZARR_SUFFIXES)


def read(path: pathlib.Path) -> npy.ArrayTraces:
    """Returns the traces of a file.

    Raises:
      InputError: if it is damaged or cannot be read, or holds no section or volume.
    """
    if path.suffix.lower() == zgy.SUFFIX:
        return GridTraces(zgy.ZgyGrid(path, "--input"))
    if is_zarr(path):
        # Imported here: tensorstore takes a second.
        from saltjax.seismic.zarr import ZarrGrid

        return GridTraces(ZarrGrid(path, "--input"))
    return npy.read(path)


def reopen(path: pathlib.Path, other: npy.ArrayTraces) -> npy.ArrayTraces:
    """Returns the traces of a file that `create` has made like others, with the places of these.

    Raises:
      InputError: if it cannot be read.
    """
    traces = read(path)
    if traces.shape == other.shape:  # not of an image
        traces.apart = other.apart
        if not isinstance(traces, GridTraces):
            traces.rows, traces.columns = other.rows, other.columns
    return traces


@contextlib.contextmanager
def create(
    path: pathlib.Path, like: npy.ArrayTraces, shape: tuple[int, ...], dtype: str
) -> Iterator[npy.ArrayTraces]:
    """Yields the traces of a new file, to be written, which is complete at the end.

    Args:
      path: the file.
      like: the traces of a file of the same format, whose line numbers and coordinates it has.
      shape: that of `like`, or of .npy another one.
      dtype: see `zgy.create`.

    Raises:
      OSError: if it cannot be written, such as for want of room.
    """
    if isinstance(like, GridTraces) and isinstance(like.grid, zgy.ZgyGrid):
        with zgy.create(path, dtype, like.grid, like.rows, like.columns) as traces:
            yield traces
    else:
        yield npy.create(path, shape, dtype)
