"""Horizons as surfaces in IRAP binary format, which RMS, Petrel and others read, written by surfio."""

import importlib.util
import pathlib

import numpy as np

from saltjax.seismic.trace_coordinates import Bins

# The cosine of the angle between inlines and crosslines up to which they count as perpendicular.
OBLIQUE = 1e-3
MAX_NODES = 10**8


def are_available() -> bool:
    """Returns whether surfio is installed."""
    return importlib.util.find_spec("surfio") is not None


def problem(bins: Bins | None) -> str:
    """Returns why a survey has no surfaces; "" if it can have some.

    Args:
      bins: the grid of the traces; None if it is not known.
    """
    if bins is None:
        return "the coordinates of the traces are not on a regular grid"
    if (nodes := int(np.prod(bins.count, dtype=np.int64))) > MAX_NODES:
        return f"they would have {nodes} nodes, more than {MAX_NODES}"
    along, across = bins.vectors
    if abs(along @ across) > OBLIQUE * np.hypot(*along) * np.hypot(*across):
        return "inlines and crosslines are not perpendicular"
    return ""


def write(
    path: pathlib.Path,
    bins: Bins,
    inline: np.ndarray,
    crossline: np.ndarray,
    z: np.ndarray,
    merge: np.ufunc,
) -> None:
    """Writes a surface whose nodes are the traces; those without a point have no value.

    Args:
      path: the file.
      bins: the grid of the traces, for which `problem` is "".
      inline, crossline: int[n], the line numbers of points; those between usual ones are at the node
        nearest to them.
      z: float[n], time or depth, downwards.
      merge: `np.fmin` or `np.fmax`, which of two points at a node it takes.

    Raises:
      OSError: if it cannot be written.
    """
    import surfio

    # Float32 is what the format has.
    values = np.full(tuple(bins.count), np.nan, np.float32)
    at = (np.stack([inline, crossline], 1) - bins.first) / bins.step
    row, column = np.rint(at).astype(int).T
    merge.at(values, (row, column), z)
    x_axis, y_axis = bins.vectors
    # The y axis is a quarter turn to the left of the x axis.
    if np.linalg.det(bins.vectors) < 0:
        x_axis, y_axis, values = y_axis, x_axis, values.T
    columns, rows = values.shape
    x, y = bins.origin
    width, height = np.hypot(*x_axis), np.hypot(*y_axis)
    header = surfio.IrapHeader(
        ncol=columns,
        nrow=rows,
        xori=x,
        yori=y,
        xmax=x + (columns - 1) * width,
        ymax=y + (rows - 1) * height,
        xinc=width,
        yinc=height,
        rot=round(float(np.degrees(np.arctan2(x_axis[1], x_axis[0]))), 9) % 360,
        xrot=x,
        yrot=y,
    )
    surfio.IrapSurface(header, np.ascontiguousarray(values)).to_binary_file(path)
