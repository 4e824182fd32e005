"""Surfaces in IRAP binary format, read back node by node."""

import numpy as np
import pytest

from saltjax.seismic import surfaces
from saltjax.seismic.trace_coordinates import Bins

surfio = pytest.importorskip("surfio")


def bins(along, across, count=(4, 6)):
    """Returns the grid of inlines 100, 102, … and crosslines 7, 8, … with those vectors."""
    arrays = ([100, 7], count, [2, 1], [5e5, 6e6], [along, across])
    return Bins(*map(np.array, arrays))


@pytest.mark.parametrize(
    ("along", "across"),
    [
        ((0.0, 25.0), (12.5, 0.0)),  # crosslines to the east, inlines to the north
        ((25.0, 0.0), (0.0, 12.5)),
        ((0.0, -25.0), (12.5, 0.0)),
        ((-12.0, 16.0), (8.0, 6.0)),
        ((12.0, -16.0), (8.0, 6.0)),
        ((-12.0, 16.0), (-8.0, -6.0)),
    ],
)
def test_nodes_are_where_the_traces_are(tmp_path, along, across):
    grid = bins(along, across)
    inline, crossline = np.array([100, 104, 106, 106]), np.array([7, 9, 12, 7])
    z = np.array([1.5, 2.5, 3.5, 4.5])
    assert surfaces.problem(grid) == ""
    surfaces.write(tmp_path / "a.gri", grid, inline, crossline, z, np.fmin)
    found = surfio.IrapSurface.from_binary_file(tmp_path / "a.gri")
    head, values = found.header, found.values
    assert sorted(values.shape) == [4, 6]
    column, row = np.nonzero(np.isfinite(values))
    # By the format's definition: columns along the x axis, which is turned by `rot` to the left.
    turn = np.radians(head.rot)
    right, up = column * head.xinc, row * head.yinc
    x = head.xori + right * np.cos(turn) - up * np.sin(turn)
    y = head.yori + right * np.sin(turn) + up * np.cos(turn)
    places = dict(zip(values[column, row].tolist(), zip(x, y), strict=True))
    for i, c, depth in zip(inline, crossline, z, strict=True):
        expected = 5e5 + np.array([(i - 100) / 2, c - 7]) @ [along[0], across[0]]
        northing = 6e6 + np.array([(i - 100) / 2, c - 7]) @ [along[1], across[1]]
        np.testing.assert_allclose(places[depth], (expected, northing), atol=0.01)
    width, height = np.diff([[head.xori, head.yori], [head.xmax, head.ymax]], axis=0)[0]
    np.testing.assert_allclose(width, (head.ncol - 1) * head.xinc, atol=0.01)
    np.testing.assert_allclose(height, (head.nrow - 1) * head.yinc, atol=0.01)


@pytest.mark.parametrize(("merge", "value"), [(np.fmin, 2), (np.fmax, 9)])
def test_of_points_at_one_trace_the_uppermost_or_the_lowest(tmp_path, merge, value):
    inline, crossline = np.full(3, 102), np.full(3, 8)
    grid = bins((0.0, 25.0), (12.5, 0.0))
    surfaces.write(
        tmp_path / "a.gri", grid, inline, crossline, np.array([4.0, 9, 2]), merge
    )
    values = surfio.IrapSurface.from_binary_file(tmp_path / "a.gri").values
    assert values[np.isfinite(values)].tolist() == [value]


def test_surveys_without_surfaces():
    assert "not on a regular grid" in surfaces.problem(None)
    assert "not perpendicular" in surfaces.problem(bins((0.0, 25.0), (12.5, 1.0)))
