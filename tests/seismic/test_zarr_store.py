import shutil

import numpy as np
import pytest
import tensorstore
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr_files import edit, opened, random_volume, whole, write_group, write_volume

from saltjax.seismic import zarr_output, zarr_store
from saltjax.system.errors import InputError

BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
BLOSC = {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 5}}


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
    zarr_output.create_group(path / "more")
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

    refused("missing.zarr/labels", "there is no such directory")
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
        # As xarray notes them.
        (
            {"attributes": {"scale_factor": 0.5}},
            r"a\.zarr: .*the attribute scale_factor=0\.5; .*to_zarr",
        ),
        ({"attributes": {"add_offset": 3}}, "the attribute add_offset=3; expected"),
        ({"attributes": {"_FillValue": "AAAAAAA6j8A="}}, r"that -999\.25 is no value"),
        ({"attributes": {"missing_value": -9}}, "that -9 is no value .*to_zarr"),
    ],
)
def test_array_that_cannot_be_a_volume_is_refused(tmp_path, changes, message):
    path = tmp_path / "a.zarr"
    zarr_output.write(path, random_volume(2, 3, 4), [""] * 3)
    edit(path, **changes)
    with pytest.raises(InputError, match=message):
        opened(path)


def test_array_of_two_dimensions_is_refused(tmp_path):
    zarr_output.write(tmp_path / "a.zarr", np.ones((2, 3)), ["", ""])
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
    monkeypatch.setattr(zarr_output, "CHUNK", 4)
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
