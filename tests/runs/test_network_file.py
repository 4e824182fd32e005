import hashlib
import json
import os
import struct

import hypothesis
import jax
import network_files
import numpy as np
import pytest
import safetensors.numpy
import written_run
from hypothesis import strategies
from network_files import changed, document, join, parts

from saltjax.networks import network as networks
from saltjax.runs import checkpoint, network_file, trained
from saltjax.system.errors import InputError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that is read only."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    network_files.write_run(
        folder,
        {
            "data.dir": "/home/ann/tgs/train",
            "data.groups": "/home/ann/tgs/mosaics.csv",
            "train.cpu_devices": 3,
            "train.compile_cache": "/tmp/cache",
            "train.batch_size": 8,
        },
    )
    return folder


@pytest.fixture(scope="module")
def content(run):
    return network_files.encode(run)


@pytest.fixture
def read(tmp_path):
    """Returns the network in a file of the content that it is given."""

    def read(content):
        (tmp_path / "a.safetensors").write_bytes(content)
        return network_file.read(tmp_path / "a.safetensors")

    return read


def test_a_file_holds_the_network(run, content, read):
    found, expected = read(content), trained.read(trained.locate(run))
    jax.tree.map(np.testing.assert_array_equal, found.variables, written_run.VARIABLES)
    assert found.network == written_run.NETWORK
    assert found.tiles == expected.tiles
    assert found.tiles.splits["train"] == ["a", "b"]
    assert found.result.threshold == expected.result.threshold
    assert found.result.min_area == 16
    assert found.result.test_native == expected.result.test_native
    assert found.weights_sha256() == expected.weights_sha256()
    assert found.name == "a"
    assert len(repr(found)) < 200


def test_a_file_is_a_safetensors_file(content):
    """As another program reads it: named tensors, and settings and scores as JSON."""
    tensors = safetensors.numpy.load(content)
    assert len(tensors) == len(jax.tree.leaves(written_run.VARIABLES))
    kernel = written_run.VARIABLES["params"]["head"]["kernel"]
    np.testing.assert_array_equal(tensors["params/head/kernel"], kernel)
    tree = document(content)
    assert tree["format"] == 1
    assert tree["config"]["model"]["features"] == [2, 4]
    assert tree["result"]["threshold"]["value"] == 0.1694612354040146
    assert tree["result"]["test"]["f1"] == 0.746
    assert tree["tiles"] == network_files.TILES


def test_a_file_names_nothing_of_the_machine(content):
    assert b"ann" not in content
    assert b"/tmp" not in content
    tree = document(content)
    assert tree["config"]["data"]["dir"] == tree["result"]["data"]["dir"] == "tgs/train"
    assert tree["config"]["data"]["groups"] == "tgs/mosaics.csv"
    assert tree["config"]["train"]["compile_cache"] == ""
    assert tree["config"]["train"]["cpu_devices"] == 0
    assert tree["config"]["train"]["batch_size"] == 8
    (start,) = tree["starts"]
    assert start == {k: v for k, v in network_files.STARTS[0].items() if k != "command"}


@pytest.mark.parametrize("labels", ["/x/lab/f3/a.npy", "x/amp/f3/a.npy"])
def test_volume_and_labels_of_one_name_stay_distinct(tmp_path, labels):
    paths = {"data.volume": "/x/amp/f3/a.npy", "data.labels": labels}
    network_files.write_run(tmp_path / "run", paths)
    (tmp_path / "a.safetensors").write_bytes(network_files.encode(tmp_path / "run"))
    data = network_file.read(tmp_path / "a.safetensors").config.data
    assert (data.volume, data.labels) == ("/x/amp/f3/a.npy", labels)


def test_a_file_of_a_run_on_a_volume_names_files_and_no_patches(tmp_path):
    paths = {
        "data.volume": "/home/ann/f3/survey.sgy",
        "data.labels": "/home/ann/f3/top.txt,/home/ann/f3/base.txt",
    }
    network_files.write_run(tmp_path / "run", paths)
    content = network_files.encode(tmp_path / "run")
    assert b"ann" not in content
    tree = document(content)
    assert tree["config"]["data"]["volume"] == "f3/survey.sgy"
    assert tree["config"]["data"]["labels"] == "f3/top.txt,f3/base.txt"
    assert set(tree["tiles"]["splits"]) == {"val", "test"}


def test_the_same_network_gives_the_same_bytes(run, content, tmp_path):
    assert network_files.encode(run) == content
    (tmp_path / "a.safetensors").write_bytes(content)
    assert network_files.encode(tmp_path / "a.safetensors") == content


def test_the_checksum_is_that_of_the_file_without_it(content):
    stored = document(content)["sha256"]
    assert content.count(stored.encode()) == 1
    blank = content.replace(stored.encode(), b"0" * 64)
    assert hashlib.sha256(blank).hexdigest() == stored


def test_weights_with_other_values_or_names_have_another_checksum(run):
    network = trained.read(trained.locate(run))
    checksum, params = network.weights_sha256(), network.variables["params"]
    params["head"]["bias"] = params["head"]["bias"] + 1
    other = network.weights_sha256()
    params["tail"] = params.pop("head")
    assert len({checksum, other, network.weights_sha256()}) == 3


def test_batch_statistics_are_kept(tmp_path, monkeypatch):
    """Also those of a network without any, whose variables have an empty part."""
    assert written_run.VARIABLES["batch_stats"] == {}
    network_files.write_run(tmp_path / "run", {"model.norm": "batch"})
    shapes = network_file.shapes_of(
        networks.create_network(trained.locate(tmp_path / "run").config)
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.random(x.shape, np.float32), shapes)
    checkpoint.save(
        tmp_path / "run/checkpoints/best", variables, {"epoch": 2, "val_loss": 0.5}
    )
    path = tmp_path / "a.safetensors"
    path.write_bytes(network_files.encode(tmp_path / "run"))
    found = network_file.read(path).variables
    assert len(jax.tree.leaves(found["batch_stats"])) > 0
    jax.tree.map(np.testing.assert_array_equal, found, variables)


def lengths(content):
    """Lengths at which a file may be cut: within and at the end of each of its parts."""
    (header,) = struct.unpack("<Q", content[:8])
    ends = [0, 1, 7, 8, 9, 8 + header // 2, 8 + header - 1, 8 + header, 9 + header]
    return [*ends, len(content) // 2, len(content) - 4, len(content) - 1]


@pytest.mark.parametrize("cut", range(12))
def test_a_truncated_file_is_refused(content, read, cut):
    with pytest.raises(InputError, match=r"truncated or damaged .*download it again"):
        read(content[: lengths(content)[cut]])


def test_a_file_with_more_at_its_end_is_refused(content, read):
    with pytest.raises(InputError, match="truncated or damaged"):
        read(content + b"\0")


def test_any_flipped_bit_is_noticed(content, read):
    rng, (header,) = np.random.default_rng(0), struct.unpack("<Q", content[:8])
    places = {*range(8 * 40), *rng.integers(8 * 8, 8 * (8 + header), 600)}
    places |= {*rng.integers(8 * (8 + header), 8 * len(content), 100)}
    for place in sorted(places):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(InputError, match=r"a\.safetensors"):
            read(damaged)


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(data=strategies.data())
def test_damage_of_any_kind_is_noticed(content, tmp_path_factory, data):
    damaged = bytearray(content)
    start = data.draw(strategies.integers(0, len(content) - 1))
    end = data.draw(strategies.integers(start, len(content)))
    damaged[start:end] = data.draw(strategies.binary(max_size=64))
    hypothesis.assume(damaged != content)
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"damaged\.safetensors"):
        network_file.read(path)


@hypothesis.settings(deadline=None)
@hypothesis.given(found=strategies.binary(max_size=200))
def test_random_bytes_are_no_network_file(tmp_path_factory, found):
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(found)
    with pytest.raises(InputError, match=r"random\.safetensors"):
        network_file.read(path)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (b"", "no safetensors file, or is truncated or damaged"),
        (b"PK\x03\x04" + b"x" * 100, "no safetensors file"),
        (struct.pack("<Q", 2**63) + b"{}", "no safetensors file"),
        (struct.pack("<Q", 2**40) + b"{}", "no safetensors file"),
        (struct.pack("<Q", 50_000_000) + b"{}", "no safetensors file"),
        (join({}, b""), "was not written by saltjax.*--mode=export --output="),
        (
            safetensors.numpy.save({"w": np.ones(3)}, {"format": "pt"}),
            "was not written by saltjax",
        ),
        (
            join(
                {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, b""
            ),
            "no safetensors file",
        ),
        (safetensors.numpy.save({}, {"saltjax": "x"}), "damaged"),
        (safetensors.numpy.save({}, {"saltjax": "[]"}), "damaged"),
        (safetensors.numpy.save({}, {"saltjax": "{}"}), "damaged.*'format'"),
        (safetensors.numpy.save({}, {"saltjax": "[" * 100_000}), "damaged"),
        (
            safetensors.numpy.save({}, {"saltjax": '{"format": 1, "sha256": 3}'}),
            "checksum",
        ),
        (
            safetensors.numpy.save({}, {"saltjax": '{"format": 1, "sha256": ""}'}),
            "checksum",
        ),
    ],
)
def test_a_file_of_another_program_is_refused(read, found, message):
    with pytest.raises(InputError, match=message):
        read(found)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = "not a regular file"
    for name, reason in (("pipe", found), ("none", "no such file"), ("", found)):
        path = tmp_path / name
        with pytest.raises(InputError, match=f"{path}: {reason}; expected a file"):
            network_file.read(path)


def test_metadata_that_take_much_memory_are_refused(read, monkeypatch, run):
    monkeypatch.setattr(network_file, "MAX_DOCUMENT", 1000)
    text = json.dumps({"format": 1, "sha256": "", "x": "x" * 1000})
    with pytest.raises(InputError, match=r"damaged .*characters of metadata"):
        read(safetensors.numpy.save({}, {"saltjax": text}))
    with pytest.raises(InputError, match="the ids of its tiles take"):
        network_files.encode(run)


def put(*keys, value):
    """Returns a function that sets an entry of nested objects."""

    def change(tree):
        for key in keys[:-1]:
            tree = tree[key]
        tree[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("format", value=2), "format 2; expected 1: use the newer version"),
        (put("config", value=3), "damaged .*'config'"),
        (put("config", "schema", value=99), "version 99.* newer version"),
        (put("config", "model", value={}), "damaged .*missing settings: model"),
        (put("config", "model", "features", value=[2, -1]), "damaged .*1 to 4096"),
        (put("config", "model", "features", value=[2, 8]), "damaged .*there.*network"),
        (put("config", "model", "features", value=[4096] * 8), "damaged .*there"),
        (put("config", "model", "norm", value="batch"), "batch_stats.*none there"),
        (put("config", "train", "batch_size", value="x"), "damaged .*batch_size"),
        (put("result", value=None), "damaged .*'result'"),
        (put("result", "threshold", "value", value=7), "damaged .*threshold 7"),
        (put("result", "new", value=7), "keys that this version does not know: new"),
        (put("tiles", value={}), "damaged .*'tiles'.*height"),
        (put("tiles", "splits", value={"train": 3}), "damaged .*'tiles'"),
    ],
)
def test_a_file_with_other_metadata_is_refused(content, read, change, message):
    with pytest.raises(InputError, match=f"a\\.safetensors.*{message}"):
        read(changed(content, change))


def test_starts_of_another_type_are_refused(content, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(changed(content, put("starts", value=[1])))
    with pytest.raises(InputError, match=r"damaged .*'starts'"):
        network_file.read_starts(path)


def renamed(header):
    header["params/tail/bias"] = header.pop("params/head/bias")


def retyped(header):
    header["params/head/bias"]["dtype"] = "I32"


def reshaped(header):
    header["params/head/bias"]["shape"] = [1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, r"params/head/bias: none there, F32\[1\] in the network"),
        (retyped, r"params/head/bias: I32\[1\] there, F32\[1\] in the network"),
        (reshaped, r"params/head/bias: F32\[1, 1\] there, F32\[1\] in the network"),
    ],
)
def test_tensors_of_another_network_are_refused(content, read, change, message):
    with pytest.raises(InputError, match=message):
        read(changed(content, lambda tree: None, change))


def test_weights_that_are_not_finite_are_refused(content, read):
    header, data = parts(content)
    start, _ = header["params/head/kernel"]["data_offsets"]
    data = data[:start] + struct.pack("<f", float("nan")) + data[start + 4 :]
    with pytest.raises(InputError, match="params/head/kernel is not finite"):
        read(changed(join(header, data), lambda tree: None))


def test_a_file_of_an_older_config_means_what_it_meant(content, read):
    """Settings that came later have the value that they had then."""

    def older(tree):
        del tree["config"]["schema"]
        del tree["config"]["model"]["init"]

    assert read(changed(content, older)).config.model.init == "he_normal"


def test_a_file_that_cannot_be_read_is_named(content, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    monkeypatch.setattr(safetensors, "safe_open", refuse)
    with pytest.raises(InputError, match=r"cannot read .*a\.safetensors: Permission"):
        network_file.read(path)
