"""Coordinates of traces, and the size of a bin, from trace headers."""

import numpy as np
import pytest
import segy_writer

from saltjax.seismic import segy, trace_coordinates

INLINES, CROSSLINES = np.arange(100, 112, 2), np.arange(301, 310)


def write(
    path,
    x,
    y,
    scalar=1,
    inline=None,
    crossline=None,
    pair=(181, 185),
    units=1,
    measure=1,
):
    """Writes traces at coordinates, which are whole numbers as in the headers; opens the file."""
    n = len(x)
    zeros = np.zeros(n)
    fields = {byte: zeros for both in ((181, 185), (73, 77)) for byte in both}
    fields |= {pair[0]: x, pair[1]: y}
    segy_writer.write(
        path,
        np.ones((n, 8)),
        inline=inline,
        crossline=crossline,
        fields=fields,
        shorts={71: np.full(n, scalar), 89: np.full(n, units)},
    )
    content = bytearray(path.read_bytes())
    content[3254:3256] = measure.to_bytes(2, "big")
    path.write_bytes(content)
    return segy.SegyTraces(path)


def survey(path, along=(30.0, 40.0), across=(-20.0, 15.0), **given):
    """Writes a volume whose neighbours are so far apart, in whole numbers of the headers."""
    i, j = (a.ravel() for a in np.meshgrid(*map(range, (6, 9)), indexing="ij"))
    x = 600_000 + i * along[0] + j * across[0]
    y = 6_000_000 + i * along[1] + j * across[1]
    return write(path, x, y, inline=INLINES[i], crossline=CROSSLINES[j], **given)


@pytest.mark.parametrize(
    ("scalar", "factor"), [(-100, 0.01), (-1, 1), (0, 1), (1, 1), (10, 10)]
)
@pytest.mark.parametrize("pair", [(181, 185), (73, 77)])
def test_the_scalar_is_applied(tmp_path, scalar, factor, pair):
    x, y = np.array([500, -700, 12_345_678]), np.array([3, 4, -5])
    source = write(tmp_path / "a.sgy", x, y, scalar, pair=pair)
    found = trace_coordinates.find(source)
    assert found.header_bytes == pair
    values = found.read(np.array([2, 0]))
    np.testing.assert_allclose(values, factor * np.stack([x, y], 1)[[2, 0]], rtol=1e-12)


def test_those_of_the_cdp_go_before_those_of_the_source(tmp_path):
    source = survey(tmp_path / "a.sgy")
    assert trace_coordinates.find(source).header_bytes == (181, 185)


def test_without_coordinates(tmp_path):
    assert trace_coordinates.find(write(tmp_path / "a.sgy", [0] * 4, [0] * 4)) is None
    assert trace_coordinates.find(write(tmp_path / "b.sgy", [7] * 4, [9] * 4)) is None


@pytest.mark.parametrize(
    ("units", "measure", "unit"),
    [
        (1, 1, "m"),
        (0, 2, "ft"),
        (1, 0, ""),
        (2, 1, "arcsec"),
        (3, 1, "deg"),
        (4, 2, "DMS"),
    ],
)
def test_units(tmp_path, units, measure, unit):
    source = survey(tmp_path / "a.sgy", units=units, measure=measure)
    found = trace_coordinates.find(source)
    assert found.unit == unit
    assert (trace_coordinates.bins(found) is None) == (units > 1)


@pytest.mark.parametrize(("scalar", "factor"), [(1, 1.0), (-10, 0.01), (10, 100.0)])
def test_the_area_of_an_oblique_bin(tmp_path, scalar, factor):
    source = survey(tmp_path / "a.sgy", scalar=scalar)
    found = trace_coordinates.bins(trace_coordinates.find(source))
    # |30 × 15 − 40 × (−20)|
    assert found.area == pytest.approx(1250 * factor, rel=1e-6)
    length = factor**0.5
    np.testing.assert_allclose(found.origin, np.array([6e5, 6e6]) * length)
    np.testing.assert_allclose(found.vectors, np.array([[30, 40], [-20, 15]]) * length)
    assert found.first.tolist() == [100, 301]
    assert found.step.tolist() == [2, 1]
    assert found.count.tolist() == [6, 9]


def test_coordinates_rounded_to_metres_give_the_area_of_a_bin(tmp_path):
    source = survey(tmp_path / "a.sgy", np.rint([12.5, 0]), (0.0, 12.5))
    assert trace_coordinates.bins(trace_coordinates.find(source)) is not None


def test_scattered_coordinates_have_no_bin(tmp_path):
    rng = np.random.default_rng(0)
    i, j = (a.ravel() for a in np.meshgrid(INLINES, CROSSLINES, indexing="ij"))
    x, y = rng.integers(0, 9000, (2, len(i)))
    source = write(tmp_path / "a.sgy", x, y, inline=i, crossline=j)
    assert trace_coordinates.bins(trace_coordinates.find(source)) is None


def test_on_one_straight_line_there_is_no_bin(tmp_path):
    source = survey(tmp_path / "a.sgy", (30.0, 40.0), (3.0, 4.0))
    assert trace_coordinates.bins(trace_coordinates.find(source)) is None


def test_the_spacing_of_a_line(tmp_path):
    n = np.arange(10)
    source = write(tmp_path / "a.sgy", 30 * n, 40 * n + (n == 9) * 500)
    found = trace_coordinates.find(source)
    assert trace_coordinates.spacing(found, n) == pytest.approx(50)
    with_gap = np.array([0, 1, -1, 3, 4])
    assert trace_coordinates.spacing(found, with_gap) == pytest.approx(50)
    apart = trace_coordinates.spacing(found, np.array([0, -1, 2]))
    assert apart == pytest.approx(50)
    assert trace_coordinates.spacing(found, np.array([-1, 3])) is None


def test_the_spacing_of_rounded_coordinates(tmp_path):
    n = np.arange(200)
    source = write(tmp_path / "a.sgy", np.rint(6.25 * n), 0 * n)
    found = trace_coordinates.find(source)
    assert trace_coordinates.spacing(found, n) == pytest.approx(6.25, rel=0.01)


def test_single_wrong_headers_keep_a_volume_on_its_grid(tmp_path):
    i, j = (a.ravel() for a in np.meshgrid(range(6), range(9), indexing="ij"))
    x, y = 600_000 + 25 * i, 6_000_000 + 25 * j
    x[[3, 17, 40]] = y[[3, 17, 40]] = 0  # dead traces
    x[20] += 7
    source = write(tmp_path / "a.sgy", x, y, inline=INLINES[i], crossline=CROSSLINES[j])
    found = trace_coordinates.bins(trace_coordinates.find(source))
    assert found.area == pytest.approx(625, rel=0.02)
