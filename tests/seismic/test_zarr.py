"""Volumes in Zarr format 3: arrays, groups, and the stores of MDIO 1.

The store poststack.mdio was written by multidimio 1.1.3 (template PostStack3DTime) from a SEG-Y file of
inlines 10, 12, 14, crosslines 5 to 8 and 9 samples, every 4 ms. Sample k of trace t is 9t + k - 50;
trace 6 is missing.
"""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorstore
from zarr_files import (
    AXIS,
    edit,
    opened,
    random_volume,
    whole,
    write_group,
    write_volume,
)

from saltjax.seismic import grid, zarr, zarr_output
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError

MDIO = pathlib.Path(__file__).parent / "poststack.mdio"


def test_store_of_multidimio_is_read():
    found = opened(MDIO)
    assert (found.shape, found.dtype) == ((3, 4, 9), np.float32)
    assert found.inlines.tolist() == [10, 12, 14]
    assert found.crosslines.tolist() == [5, 6, 7, 8]
    assert found.axis == SampleAxis("ms", 0.0, 4.0)
    expected = np.arange(12.0 * 9).reshape(12, 9) - 50
    expected[6] = 0
    np.testing.assert_array_equal(whole(found), expected.reshape(3, 4, 9))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8"])
@pytest.mark.parametrize("kept", [0, 2**30])
def test_volume_is_read_as_it_was_written(tmp_path, monkeypatch, dtype, kept):
    monkeypatch.setattr(zarr_output, "CHUNK", 3)
    monkeypatch.setattr(zarr, "READ_BYTES", 1000)
    monkeypatch.setattr(zarr, "KEPT_BYTES", kept)
    volume = np.abs(random_volume(5, 7, 8)).astype(dtype)
    mask = np.ones((5, 7), bool)
    mask[1, 2:4] = False
    axis = SampleAxis("ft", 1000.0, 12.5)
    found = opened(write_volume(tmp_path / "a.zarr", volume, axis, mask))
    volume[~mask] = 0
    np.testing.assert_array_equal(whole(found), volume)
    assert (found.shape, found.dtype, found.axis) == (volume.shape, dtype, axis)
    assert found.inlines.tolist() == [10, 12, 14, 16, 18]
    assert found.crosslines.tolist() == list(range(500, 507))
    assert found.read(np.arange(0), np.arange(0)).shape == (0, 8)
    with pytest.raises(InputError, match=r"a\.zarr exists"):
        write_volume(tmp_path / "a.zarr", volume)


def test_array_by_itself_has_no_numbers(tmp_path):
    volume = random_volume(2, 3, 4)
    zarr_output.write(tmp_path / "a.zarr", volume, ("inline", "crossline", "time"))
    found = opened(tmp_path / "a.zarr")
    assert (found.inlines, found.crosslines, found.axis) == (None, None, SampleAxis())
    np.testing.assert_array_equal(whole(found), volume)


def test_array_of_a_group_is_named_by_its_path(tmp_path):
    path = write_volume(tmp_path / "a.zarr", random_volume(2, 3, 4))
    labels = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
    zarr_output.write(path / "labels", labels, ("inline", "crossline", "time"))
    found = opened(path / "labels")
    np.testing.assert_array_equal(whole(found), labels)
    assert found.inlines.tolist() == [10, 12]
    assert found.axis == AXIS


def test_dimensions_are_put_in_order_by_their_names(tmp_path):
    volume = random_volume(2, 3, 4)
    mask = np.array([[True, True, False], [True, True, True]])
    arrays = {
        "amplitude": (volume.transpose(2, 1, 0), ("twt", "xline", "iline")),
        "iline": ([7, 8], ["iline"]),
        "xline": ([1.0, 2.0, 4.0], ["xline"]),
        "trace_mask": (mask.T, ("xline", "iline")),
    }
    found = opened(write_group(tmp_path / "a.zarr", arrays))
    np.testing.assert_array_equal(whole(found), volume * mask[:, :, None])
    assert (found.inlines.tolist(), found.crosslines.tolist()) == ([7, 8], [1, 2, 4])


def test_coordinates_that_are_no_line_numbers_are_left_aside(tmp_path):
    volume = random_volume(2, 2, 3)
    arrays = {"a": (volume, ("x", "y", "z")), "x": ([4.5, 1.25], ["x"])}
    found = opened(write_group(tmp_path / "a.zarr", arrays))
    assert (found.inlines, found.crosslines, found.axis) == (None, None, SampleAxis())
    np.testing.assert_array_equal(whole(found), volume)


def test_chunks_that_are_not_stored_hold_the_fill_value(tmp_path):
    path = write_volume(tmp_path / "a.zarr", np.zeros((2, 3, 4), np.float32))
    chunks = (path / "amplitude" / "c").rglob("*")
    assert not any(file.is_file() for file in chunks)
    assert not whole(opened(path)).any()
    # As MDIO has them: dead where `trace_mask` says so, else NaN, which is dead as well.
    edit(path / "amplitude", fill_value="NaN")
    zarr_output.write(path / "trace_mask", np.eye(2, 3) > 0, ("inline", "crossline"))
    missing = np.isnan(whole(opened(path))).all(axis=2)
    np.testing.assert_array_equal(missing, np.eye(2, 3) > 0)


def test_what_attributes_say_of_labels_is_the_value_without_one(tmp_path):
    labels = np.array([[[True, False]]])
    zarr_output.write(tmp_path / "a.zarr", labels, [""] * 3)
    with pytest.raises(InputError, match="an array of bool"):
        opened(tmp_path / "a.zarr")
    found = grid.open_grid(tmp_path / "a.zarr", (189, 193), "x", -1)
    np.testing.assert_array_equal(whole(found), labels)
    zarr_output.write(tmp_path / "b.zarr", labels * 7, [""] * 3, {"_FillValue": 7})
    with pytest.raises(InputError, match=r"no value .* --config.data.unlabelled=7"):
        grid.open_grid(tmp_path / "b.zarr", (189, 193), "x", -1)
    assert whole(grid.open_grid(tmp_path / "b.zarr", (189, 193), "x", 7)).max() == 7


@pytest.mark.parametrize(
    ("name", "positions", "attributes", "expected"),
    [
        ("time", [0, 4, 8], {}, ("ms", 0, 4)),
        ("time", [100.5], {"unitsV1": {"time": "ms"}}, ("ms", 100.5, 1)),
        ("time", np.float32([1.002, 1.004, 1.006]), {"units": "s"}, ("ms", 1002, 2)),
        ("time", [0, 2000, 4000], {"unitsV1": {"time": "µs"}}, ("ms", 0, 2)),
        ("twt", [8, 12], {}, ("ms", 8, 4)),
        ("depth", [50, 62.5, 75], {}, ("m", 50, 12.5)),
        ("depth", [0, 10], {"unitsV1": {"length": "ft"}}, ("ft", 0, 10)),
        ("z", [0, 5], {"units": "Feet"}, ("ft", 0, 5)),
        ("z", [0, 5], {}, ("sample", 0, 1)),
        ("depth", [0, 5], {"units": "cubits"}, ("sample", 0, 1)),
        # As multidimio 1.1.3 writes 0.5 ms and 6.25 m.
        ("time", (np.arange(99) * 0.5).astype(int), {}, ("ms", 0, 0.5)),
        ("depth", (np.arange(99) * 6.25).astype(int), {}, ("m", 0, 6.25)),
    ],
)
def test_axis_is_that_of_the_positions(tmp_path, name, positions, attributes, expected):
    volume = np.ones((1, 1, len(positions)))
    arrays = {
        "amplitude": (volume, ("inline", "crossline", name)),
        name: (positions, [name], attributes),
    }
    found = opened(write_group(tmp_path / "a.zarr", arrays))
    assert found.axis == SampleAxis(*expected)


def test_depth_of_an_mdio_store_has_the_unit_of_its_map(tmp_path):
    arrays = {
        "amplitude": (np.ones((1, 1, 3)), ("inline", "crossline", "depth")),
        "depth": ([0, 10, 20], ["depth"]),
        "cdp_x": ([[1.0]], ("inline", "crossline"), {"unitsV1": {"length": "ft"}}),
    }
    path = write_group(tmp_path / "a.zarr", arrays)
    assert opened(path).axis == SampleAxis("ft", 0.0, 10.0)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("time", [0, 4, 9, 12], "time: samples at 0, 4, 9, 12, .*increase evenly"),
        ("time", [0.0, 4.0, 8.1, 12.0], "increase evenly"),
        ("time", [12, 8, 4, 0], "increase evenly"),
        ("time", [0, 0, 0, 0], "increase evenly"),
        ("time", [0, 4, np.nan, 12], "increase evenly"),
        ("time", [0, 4, 8], r"time: an array of shape \(3,\); expected \(4,\)"),
        ("inline", [3, 3], "inline: line numbers 3, 3; expected whole numbers"),
        ("inline", [3, 2], "line numbers 3, 2; "),
        ("inline", [3.5, 4], "line numbers 3.5; "),
        ("inline", [3, np.nan], "line numbers 3, nan; "),
        ("inline", [1 + 2j, 4], "inline: an array of complex128; expected real"),
        ("crossline", [1, 2], r"crossline: an array of shape \(2,\); expected \(3,\)"),
        ("trace_mask", [[1, 1, 1]], r"mask: an array of shape \(1, 3\); .*\(2, 3\)"),
    ],
)
def test_coordinates_of_another_kind_are_refused(tmp_path, name, values, message):
    path = write_volume(tmp_path / "a.zarr", random_volume(2, 3, 4))
    shutil.rmtree(path / name, ignore_errors=True)
    zarr_output.write(path / name, np.array(values), [""] * np.ndim(values))
    with pytest.raises(InputError, match=message):
        opened(path)


def files_read():
    metrics = tensorstore.experimental_collect_matching_metrics(
        "/tensorstore/kvstore/file/read"
    )
    return {metric["name"]: metric for metric in metrics}[
        "/tensorstore/kvstore/file/read"
    ]["values"][0]["value"]


@pytest.mark.parametrize(("kept", "again"), [(2**30, 0), (0, 4)])
def test_chunk_is_read_once_for_its_lines(tmp_path, monkeypatch, kept, again):
    monkeypatch.setattr(zarr_output, "CHUNK", 8)
    monkeypatch.setattr(zarr, "KEPT_BYTES", kept)
    found = opened(write_volume(tmp_path / "a.zarr", random_volume(16, 16, 16)))
    before = files_read()
    found.read(np.full(16, 2), np.arange(16))
    assert files_read() - before == 4
    found.read(np.full(16, 3), np.arange(16))
    assert files_read() - before == 4 + again


PEAK = """
import pathlib, sys
import numpy as np
from saltjax.seismic import zarr
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
zarr.READ_BYTES, zarr.KEPT_BYTES = 2**21, 0
found = zarr.ZarrGrid(pathlib.Path(sys.argv[1]), "volume")
found.read(np.arange(1), np.arange(1))
before = peak()
found.read(np.zeros(found.shape[1], int), np.arange(found.shape[1]))
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_memory_is_that_of_a_few_chunks(tmp_path):
    volume = random_volume(64, 4096, 64)  # 67 MB in one row of chunks
    path = write_volume(tmp_path / "a.zarr", volume)
    command = [sys.executable, "-c", PEAK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 15_000  # kB
