"""Volumes in Zarr format 3: arrays, groups, and the stores of MDIO 1.

The store poststack.mdio was written by multidimio 1.1.3 (template PostStack3DTime) from a SEG-Y file of
inlines 10, 12, 14, crosslines 5 to 8 and 9 samples, every 4 ms. Sample k of trace t is 9t + k - 50;
trace 6 is missing.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorstore
from hypothesis import given, settings
from hypothesis import strategies as st

from saltjax.seismic import grid, zarr, zarr_store
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError

MDIO = pathlib.Path(__file__).parent / "poststack.mdio"
AXIS = SampleAxis("ms", 100.0, 4.0)
BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
BLOSC = {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 5}}


def opened(path):
    return grid.open_grid(path, (189, 193), "config.data.volume")


def whole(found):
    """Returns the whole volume of a grid, its traces read in a random order."""
    inline, crossline = (index.ravel() for index in np.indices(found.shape[:2]))
    order = np.random.default_rng(0).permutation(len(inline))
    traces = np.empty((len(inline), found.shape[2]), found.dtype)
    traces[order] = found.read(inline[order], crossline[order])
    return traces.reshape(found.shape)


def random_volume(*shape):
    return np.random.default_rng(0).normal(0, 50, shape).astype(np.float32)


def write_volume(path, volume, axis=AXIS, mask=None):
    inlines, crosslines, _ = volume.shape
    numbers = 10 + 2 * np.arange(inlines), 500 + np.arange(crosslines)
    zarr.write_volume(path, volume, *numbers, axis, mask)
    return path


def edit(path, **changes):
    """Changes entries of a zarr.json."""
    file = path / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def write_group(path, arrays, attributes=None):
    """Writes arrays {name: (array, names of dimensions, attributes)} into a new group."""
    zarr_store.create_group(path)
    for name, (array, dimensions, *noted) in arrays.items():
        zarr_store.write(path / name, np.asarray(array), dimensions, *noted)
    if attributes is not None:
        edit(path, attributes=attributes)
    return path


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
    monkeypatch.setattr(zarr_store, "CHUNK", 3)
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
    zarr_store.write(tmp_path / "a.zarr", volume, ("inline", "crossline", "time"))
    found = opened(tmp_path / "a.zarr")
    assert (found.inlines, found.crosslines, found.axis) == (None, None, SampleAxis())
    np.testing.assert_array_equal(whole(found), volume)


def test_array_of_a_group_is_named_by_its_path(tmp_path):
    path = write_volume(tmp_path / "a.zarr", random_volume(2, 3, 4))
    labels = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
    zarr_store.write(path / "labels", labels, ("inline", "crossline", "time"))
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
    zarr_store.write(path / "trace_mask", np.eye(2, 3) > 0, ("inline", "crossline"))
    missing = np.isnan(whole(opened(path))).all(axis=2)
    np.testing.assert_array_equal(missing, np.eye(2, 3) > 0)


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
    zarr_store.write(path / name, np.array(values), [""] * np.ndim(values))
    with pytest.raises(InputError, match=message):
        opened(path)


def test_group_without_one_volume_is_refused(tmp_path):
    def refused(path):
        with pytest.raises(
            InputError, match=r"config\.data\.volume=.*expected"
        ) as error:
            opened(path)
        return str(error.value)

    assert "a Zarr group of nothing;" in refused(write_group(tmp_path / "a.zarr", {}))
    dimensions = ("inline", "crossline", "time", "offset")
    flat = {"map": (np.ones((2, 3)), dimensions[:2]), "time": ([1, 2], ["time"])}
    path = write_group(tmp_path / "b.zarr", flat)
    zarr_store.create_group(path / "more")
    assert "a Zarr group of map (2, 3), more a group, time (2,);" in refused(path)
    gathers = flat | {
        "amplitude": (np.ones((2, 2, 2, 2)), dimensions),
        "cube": (np.ones((2, 2, 2)), dimensions[:3]),
    }
    path = write_group(tmp_path / "c.zarr", gathers)
    assert "amplitude (2, 2, 2, 2), cube (2, 2, 2)" in refused(path)
    cubes = {name: (np.ones((2, 2, 2)), dimensions[:3]) for name in ("near", "far")}
    path = write_group(tmp_path / "d.zarr", cubes)
    assert f"give one of them, such as config.data.volume={path}/far" in refused(path)
    assert opened(path / "near").shape == (2, 2, 2)


@pytest.mark.parametrize("attributes", [{}, {"attributes": 3}, {"attributes": {}}])
def test_volume_is_the_array_that_the_group_names(tmp_path, attributes):
    one, two = random_volume(2, 3, 4), random_volume(3, 2, 2)
    arrays = {"a": (one, [""] * 3), "b": (two, [""] * 3)}
    named = {"attributes": {"defaultVariableName": "b"}}
    path = write_group(tmp_path / "a.zarr", arrays, named)
    np.testing.assert_array_equal(whole(opened(path)), two)
    shutil.rmtree(path / "b")
    edit(path, attributes=attributes)
    np.testing.assert_array_equal(whole(opened(path)), one)


def make_version_2(path, *files):
    for file in files:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_text("{}")


def test_path_that_is_no_store_is_refused(tmp_path):
    def refused(name, message):
        with pytest.raises(InputError, match=f"{name}: .*{message}"):
            opened(tmp_path / name)

    refused("missing.zarr", "there is no such directory")
    (tmp_path / "file.zarr").write_bytes(b"PK")
    refused("file.zarr", "a file; expected a directory")
    (tmp_path / "empty.zarr").mkdir()
    refused("empty.zarr", r"no zarr\.json in it")
    make_version_2(tmp_path / "array.zarr", ".zarray")
    refused("array.zarr", r"format 2 \(\.zarray\).*create_array\(.*zarr_format=3")
    make_version_2(tmp_path / "group.zarr", ".zgroup", "amplitude/.zarray")
    refused("group.zarr", r"format 2 \(\.zgroup\).*to_zarr\(.*zarr_format=3")
    make_version_2(tmp_path / "old.mdio", ".zgroup", "data/.zgroup")
    refused("old.mdio", r"format 2 .*SEG-Y file again with multidimio 1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # Codecs as multidimio 1.1.3 and zarr write them.
        ({"codecs": [{"name": "numcodecs.zfpy"}]}, "numcodecs.zfpy, a lossy .*to_zarr"),
        ({"codecs": [BYTES, {"name": "numcodecs.lz4"}]}, "with numcodecs.lz4 which"),
        ({"chunk_grid": {"name": "x"}}, 'cannot open it: .*Expected "regular"'),
        ({"data_type": "bool", "fill_value": False}, "an array of bool"),
        ({"data_type": "complex64", "fill_value": [0, 0]}, "an array of complex64"),
        ({"data_type": "string"}, "an array of string; expected real numbers"),
        ({"data_type": {"name": "structured"}}, "an array of structured"),
        ({"data_type": "bfloat16"}, "an array of bfloat16"),
        ({"shape": [2, 0, 4]}, r"shape \(2, 0, 4\); expected a volume"),
        ({"node_type": "table"}, 'zarr.json: expected "node_type"'),
        ({"shape": 3}, r"zarr\.json: shape 3; expected a list"),
    ],
)
def test_array_that_cannot_be_a_volume_is_refused(tmp_path, changes, message):
    path = tmp_path / "a.zarr"
    zarr_store.write(path, random_volume(2, 3, 4), [""] * 3)
    edit(path, **changes)
    with pytest.raises(InputError, match=message):
        opened(path)


def test_array_of_two_dimensions_is_refused(tmp_path):
    zarr_store.write(tmp_path / "a.zarr", np.ones((2, 3)), ["", ""])
    with pytest.raises(
        InputError, match=r"volume=.*a\.zarr: .*shape \(2, 3\); expected"
    ):
        opened(tmp_path / "a.zarr")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_damaged_metadata_are_refused_or_have_no_effect(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.getbasetemp() / "fuzzed.zarr"
    if not path.exists():
        write_volume(path, np.ones((2, 3, 4)), mask=np.ones((2, 3), bool))
    member = rng.choice(["", "amplitude", "inline", "time", "trace_mask"])
    file = path / member / "zarr.json"
    good = file.read_bytes()
    content = bytearray(good)
    content[rng.integers(len(content))] = rng.integers(256)
    file.write_bytes(content[: rng.choice([len(content), rng.integers(len(content))])])
    try:
        found = opened(path)
        assert found.read(np.array([0]), np.array([0])).shape == (1, found.shape[2])
    except InputError:
        pass
    finally:
        file.write_bytes(good)


@pytest.mark.parametrize("damage", ["bit", "truncated", "empty"])
def test_damaged_chunk_is_named(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(zarr_store, "CHUNK", 4)
    volume = random_volume(8, 4, 4)
    path = write_volume(tmp_path / "a.zarr", volume)
    chunk = path / "amplitude" / "c" / "1" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    places = range(0, len(content), 5) if damage == "bit" else [0]
    for place in places:
        changed = content.copy()
        changed[place] ^= 1 << place % 8
        kept = {"bit": len(content), "truncated": len(content) // 2, "empty": 0}[damage]
        chunk.write_bytes(changed[:kept])
        found = opened(path)
        np.testing.assert_array_equal(
            found.read(np.full(4, 3), np.arange(4)), volume[3]
        )
        with pytest.raises(InputError, match=f"{chunk}: a damaged chunk .*copy {path}"):
            found.read(np.full(4, 4), np.arange(4))


def test_damaged_line_numbers_are_named(tmp_path):
    path = write_volume(tmp_path / "a.zarr", random_volume(2, 3, 4))
    (path / "inline" / "c" / "0").write_bytes(b"")
    with pytest.raises(InputError, match="inline/c/0: a damaged chunk"):
        opened(path)


def test_damaged_shard_is_named(tmp_path):
    path = tmp_path / "a.zarr"
    inner = [BYTES, BLOSC, {"name": "crc32c"}]
    sharding = {"chunk_shape": [2, 2, 4], "codecs": inner}
    write_shard(path, sharding)
    np.testing.assert_array_equal(whole(opened(path)), random_volume(4, 4, 4))
    shard = path / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(InputError, match=f"{shard}: a damaged chunk"):
        whole(opened(path))


def write_shard(path, sharding):
    grid_of_shards = {"name": "regular", "configuration": {"chunk_shape": [4, 4, 4]}}
    layout = {
        "shape": [4, 4, 4],
        "data_type": "float32",
        "chunk_grid": grid_of_shards,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }
    store = tensorstore.open(
        {"driver": "zarr3", "kvstore": zarr_store.kvstore(path), "metadata": layout},
        create=True,
    ).result()
    store.write(random_volume(4, 4, 4)).result()


def test_error_of_the_system_is_told(tmp_path):
    path = write_volume(tmp_path / "a.zarr", random_volume(2, 3, 4))
    chunk = path / "amplitude" / "c" / "0" / "0" / "0"
    chunk.unlink()
    chunk.symlink_to(chunk)
    with pytest.raises(InputError, match=f"cannot read {chunk}: Too many levels"):
        whole(opened(path))


def files_read():
    metrics = tensorstore.experimental_collect_matching_metrics(
        "/tensorstore/kvstore/file/read"
    )
    return {metric["name"]: metric for metric in metrics}[
        "/tensorstore/kvstore/file/read"
    ]["values"][0]["value"]


@pytest.mark.parametrize(("kept", "again"), [(2**30, 0), (0, 4)])
def test_chunk_is_read_once_for_its_lines(tmp_path, monkeypatch, kept, again):
    monkeypatch.setattr(zarr_store, "CHUNK", 8)
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
