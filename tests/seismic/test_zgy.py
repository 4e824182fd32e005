"""ZGY files: what is read is what OpenZGY reads at once, and what is written is what it reads back."""

import importlib.util
import os
import sys

import numpy as np
import pytest
import volume_files
import zgy_files
from openzgy import api
from openzgy.exception import ZgyFormatError, ZgyInternalError
from prediction import random_traces

from saltjax.data import volumes
from saltjax.seismic import amplitudes, grid, zgy
from saltjax.seismic.grid_traces import GridTraces
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError

SHAPE = (67, 70, 66)  # of two bricks each


def opened(path):
    return zgy.ZgyGrid(path, "--input")


@pytest.mark.parametrize(
    ("kind", "snr"), [("float", 0), ("int16", 0), ("int8", 0), ("float", 40)]
)
def test_traces_are_those_of_openzgy(tmp_path, kind, snr):
    path = zgy_files.write(tmp_path / "a.zgy", random_traces(*SHAPE), kind, snr)
    expected, _ = zgy_files.read(path)
    bits = {"int8": 8, "int16": 16}.get(kind)
    if bits:  # there 0 is the number that is nearest to it
        nearest = np.abs(expected).min()
        assert 0 < nearest <= np.ptp(expected) / (2**bits - 1)
        expected[np.abs(expected) == nearest] = 0
    found = opened(path)
    rng = np.random.default_rng(1)
    i, x = rng.integers(0, 67, 300), rng.integers(0, 70, 300)
    np.testing.assert_array_equal(found.read(i, x), expected[i, x])
    assert found.shape == SHAPE
    assert (found.inlines[[0, 1, -1]] == [111, 113, 243]).all()
    assert (found.crosslines[[0, 1, -1]] == [875, 876, 944]).all()


@pytest.mark.parametrize("direction", ["inline", "crossline"])
def test_bricks_of_a_line_are_decoded_once_for_all_lines_in_them(
    tmp_path, monkeypatch, direction
):
    path = zgy_files.write(tmp_path / "a.zgy", random_traces(*SHAPE))
    reads, read = [], api.ZgyReader.read
    monkeypatch.setattr(
        api.ZgyReader, "read", lambda r, at, to: reads.append(at) or read(r, at, to)
    )
    source = GridTraces(opened(path))
    for line in source.lines(direction):
        source.read(line)
    assert sorted(reads) == [(0, 0, 0), (0, 64, 0), (64, 0, 0), (64, 64, 0)]


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_dead_traces_of_integers_are_zero(tmp_path, kind):
    """The range of these files has no integer for 0."""
    volume = random_traces(5, 6, 7)
    volume[0, 0, 0], volume[0, 0, 1] = -5000, 4321.5
    volume[2, 3] = 0
    path = zgy_files.write(tmp_path / "a.zgy", volume, kind)
    stored, _ = zgy_files.read(path)
    assert (stored[2, 3] != 0).all()
    i, x = np.divmod(np.arange(30), 6)
    live = amplitudes.live(opened(path).read(i, x))
    assert np.flatnonzero(~live).tolist() == [15]


def test_a_file_is_closed_with_its_grid(tmp_path):
    path = zgy_files.write(tmp_path / "a.zgy", np.ones((2, 3, 4)))
    found = opened(path)
    found.read(np.arange(2), np.arange(2))
    before = len(os.listdir("/dev/fd"))
    del found
    assert len(os.listdir("/dev/fd")) == before - 1


@pytest.mark.parametrize(
    ("dimension", "factor", "first", "step", "axis"),
    [
        ("time", 1e-3, 8.0, 4.0, SampleAxis("ms", 8, 4)),
        ("time", 1.0, 0.5, 0.002, SampleAxis("ms", 500, 2)),
        ("length", 1.0, 1000.0, 5.0, SampleAxis("m", 1000, 5)),
        ("length", 0.3048, 100.0, 10.0, SampleAxis("ft", 100, 10)),
        ("length", 1000.0, 1.0, 0.01, SampleAxis("m", 1000, 10)),
        ("unknown", 1.0, 8.0, 4.0, SampleAxis()),
        ("time", 1e-3, 8.0, 0.0, SampleAxis()),
    ],
)
def test_vertical_axis(tmp_path, dimension, factor, first, step, axis):
    header = {"zunitdim": api.UnitDimension[dimension], "zunitfactor": factor}
    header |= {"zstart": first, "zinc": step}
    path = zgy_files.write(tmp_path / "a.zgy", np.ones((2, 3, 4)), **header)
    assert opened(path).axis == axis


def test_coordinates_are_between_the_corners(tmp_path):
    path = zgy_files.write(tmp_path / "a.zgy", np.ones((5, 4, 3)))
    found = opened(path)
    # The determinant of (-3, 25) and (20, 2.5).
    assert found.bins.area == pytest.approx(507.5)
    assert found.unit == "m"
    i, x = np.divmod(np.arange(20), 4)
    expected = (
        zgy_files.ORIGIN
        + i[:, None] * zgy_files.TO_INLINE
        + x[:, None] * zgy_files.TO_CROSSLINE
    )
    places = GridTraces(found).coordinates().read(np.arange(20))
    np.testing.assert_allclose(places, expected)
    part = GridTraces(found).select("inline", np.array([1, 3]))
    places = part.coordinates()
    np.testing.assert_allclose(places.read(np.arange(8)), expected[[4, 5, 6, 7, 12, 13, 14, 15]])  # fmt: skip
    # The bin is that of the whole volume.
    assert places.bins.area == pytest.approx(507.5)
    assert places.bins.first.tolist() == [111, 875]
    assert places.bins.step.tolist() == [2, 1]
    assert part.place(5) == "trace 6 (inline 117, crossline 876)"


@pytest.mark.parametrize(
    "header",
    [
        {"corners": ((0, 0),) * 4},
        {"hunitdim": api.UnitDimension.arcangle, "hunitfactor": 3600.0},
    ],
)
def test_no_coordinates(tmp_path, header):
    path = zgy_files.write(tmp_path / "a.zgy", np.ones((2, 3, 4)), **header)
    assert GridTraces(opened(path)).coordinates() is None


def test_lines_without_numbers(tmp_path):
    path = zgy_files.write(tmp_path / "a.zgy", np.ones((2, 3, 4)), annotinc=(0, 0))
    found = opened(path)
    assert found.inlines is found.crosslines is None
    assert GridTraces(found).numbers("crossline").tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("dtype", "kind"), [("float32", "float"), ("uint8", "int8"), ("int32", "float")]
)
def test_created_file_is_read_back_by_openzgy(tmp_path, dtype, kind):
    like = opened(zgy_files.write(tmp_path / "in.zgy", random_traces(*SHAPE)))
    rows, columns = np.arange(1, 67, 3), np.arange(70)
    values = np.abs(random_traces(22, 70, 66)) % 100
    values = values.astype(dtype)
    path = tmp_path / "out.zgy"
    with zgy.create(path, dtype, like, rows, columns) as traces:
        traces.write(np.arange(traces.count), values.reshape(-1, 66))
    found, header = zgy_files.read(path)
    np.testing.assert_array_equal(found, values.astype(np.float32))
    assert header["datatype"] == api.SampleDataType[kind]
    assert (header["zstart"], header["zinc"]) == (8.0, 4.0)
    assert (header["zunitname"], header["hunitname"]) == ("ms", "m")
    assert (header["zunitfactor"], header["hunitfactor"]) == (1e-3, 1)
    assert header["annotstart"] == (113.0, 875.0)
    assert header["annotinc"] == (6.0, 1.0)
    expected = [
        tuple(zgy_files.ORIGIN + i * zgy_files.TO_INLINE + x * zgy_files.TO_CROSSLINE)
        for i, x in [(1, 0), (64, 0), (1, 69), (64, 69)]
    ]
    np.testing.assert_allclose(header["corners"], expected, rtol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.zgy", "out.zgy"]


@pytest.mark.parametrize(
    ("shape", "change", "kept"),
    [
        ((1, 3, 4), {}, ("annotinc", "corners")),
        ((3, 1, 4), {}, ("annotinc", "corners")),
        ((2, 3, 4), {"annotinc": (-2, 0)}, ("annotstart", "annotinc", "corners")),
        ((2, 3, 4), {"hunitdim": api.UnitDimension.arcangle}, ("hunitdim", "corners")),
        ((2, 3, 4), {"zunitdim": api.UnitDimension.unknown}, ("zunitdim", "zinc")),
    ],
)
def test_created_file_has_the_header_of_its_template(tmp_path, shape, change, kept):
    path = zgy_files.write(tmp_path / "in.zgy", np.ones(shape), **change)
    _, expected = zgy_files.read(path)
    lines = np.arange(shape[0]), np.arange(shape[1])
    with zgy.create(tmp_path / "out.zgy", "uint8", opened(path), *lines):
        pass
    _, header = zgy_files.read(tmp_path / "out.zgy")
    for name in kept:
        assert header[name] == expected[name]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (65, 130, 10)])
def test_room_for_the_whole_file_is_taken_before_traces_are_written(
    tmp_path, dtype, shape
):
    like = opened(zgy_files.write(tmp_path / "in.zgy", random_traces(*shape)))
    path = tmp_path / "out.zgy"
    with zgy.create(path, dtype, like, *map(np.arange, shape[:2])) as traces:
        reserved = path.stat().st_size
        values = np.random.default_rng(0).integers(0, 99, (traces.count, shape[2]))
        traces.write(np.arange(traces.count), values)
    assert 0.5 * reserved < path.stat().st_size <= reserved


def test_nothing_is_packed_after_an_error(tmp_path, monkeypatch):
    like = opened(zgy_files.write(tmp_path / "in.zgy", np.ones((2, 3, 4))))
    monkeypatch.setattr(api, "ZgyWriter", None)
    with (
        pytest.raises(ZeroDivisionError),
        zgy.create(tmp_path / "out.zgy", "uint8", like, np.arange(2), np.arange(3)),
    ):
        raise ZeroDivisionError
    assert not list(tmp_path.glob(".saltjax*"))


def test_an_error_of_openzgy_while_it_writes_is_one_of_the_system(
    tmp_path, monkeypatch
):
    like = opened(zgy_files.write(tmp_path / "in.zgy", np.ones((2, 3, 4))))

    def fail(*_):
        raise ZgyInternalError("no such brick")

    monkeypatch.setattr(api.ZgyWriter, "write", fail)
    with (
        pytest.raises(OSError, match="OpenZGY: no such brick"),
        zgy.create(tmp_path / "out.zgy", "uint8", like, np.arange(2), np.arange(3)),
    ):
        pass


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[:200],
        lambda content: content[: len(content) // 2],
        lambda content: b"not ZGY " * 1000,
        lambda content: content[:100] + bytes(400) + content[500:],
    ],
)
# OpenZGY does not close a file that it cannot read.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_file_is_named(tmp_path, change):
    path = zgy_files.write(tmp_path / "a.zgy", random_traces(70, 70, 70))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=r"--input=.*a\.zgy: OpenZGY cannot read it"):
        opened(path).read(np.arange(70), np.arange(70))


def test_file_that_changes_while_it_is_read(tmp_path):
    path = zgy_files.write(tmp_path / "a.zgy", np.ones((2, 3, 4)))
    found = opened(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match="changed"):
        found.read(np.array([0]), np.array([0]))


@pytest.mark.parametrize(
    ("step", "message"), [(0.5, "expected whole numbers"), (3e9, "of up to 32 bits")]
)
def test_numbers_that_are_none_of_lines(tmp_path, step, message):
    path = zgy_files.write(tmp_path / "a.zgy", np.ones((2, 3, 4)), annotinc=(step, 1))
    with pytest.raises(InputError, match=rf"from 111 in steps of .*; .*{message}"):
        opened(path)


def test_compressed_file_without_zfpy(tmp_path, monkeypatch):
    path = zgy_files.write(tmp_path / "a.zgy", random_traces(70, 66, 65), snr=40)
    find, name = importlib.util.find_spec, "find_spec"
    monkeypatch.setattr(importlib.util, name, lambda m: None if m == "zfpy" else find(m))  # fmt: skip
    found = opened(path)

    def fail(*_):
        raise ZgyFormatError("Compression algorithm not recognized")

    monkeypatch.setattr(api.ZgyReader, "read", fail)
    with pytest.raises(InputError, match="pip install zfpy"):
        found.read(np.arange(2), np.arange(2))


def test_without_pyzgy(tmp_path, monkeypatch):
    path = zgy_files.write(tmp_path / "a.zgy", np.ones((2, 3, 4)))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "openzgy")
    with pytest.raises(InputError, match="pip install pyzgy zfpy"):
        opened(path)


def test_volume_to_train_on_has_the_hash_and_patches_of_other_formats(tmp_path):
    paths = []
    for name, array in zip(("volume", "labels"), volume_files.make()):
        np.save(tmp_path / f"{name}.npy", array.astype(np.float32))
        paths.append(zgy_files.write(tmp_path / f"{name}.zgy", array))
    of_npy = volumes.load(
        volume_files.config(tmp_path / "volume.npy", tmp_path / "labels.npy")
    )
    found = volumes.load(volume_files.config(*paths))
    assert found.scanned.digest == of_npy.scanned.digest
    np.testing.assert_array_equal(found.patches.images, of_npy.patches.images)
    np.testing.assert_array_equal(found.lines.labels, of_npy.lines.labels)
    assert found.facts["inlines"] == [111, 169]
    assert found.facts["axis"] == {"unit": "ms", "first": 8.0, "step": 4.0}


def test_lines_numbered_downwards_are_not_trained_on(tmp_path):
    path = zgy_files.write(tmp_path / "a.zgy", np.ones((2, 3, 4)), annotinc=(-1, 1))
    assert opened(path).inlines.tolist() == [111, 110]
    with pytest.raises(InputError, match="numbered downwards, from 111 to 110"):
        grid.open_grid(path, (189, 193), "data.volume")
