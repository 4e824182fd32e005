import dataclasses
import json
import logging
import pathlib
import shutil

import jax
import network_files
import numpy as np
import pytest
import written_run

from configs import default
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.runs import checkpoint, initial_weights, network_file, trained
from saltjax.system.errors import InputError

SHAPES = network_file.shapes_of(written_run.NETWORK)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that is read only."""
    folder = tmp_path_factory.mktemp("runs") / "source"
    network_files.write_run(folder)
    return folder


def shapes(**fields):
    """Returns those of the run's network with other fields."""
    return network_file.shapes_of(
        Network(UNet(**{"features": (2, 4)} | fields), 16, "pad")
    )


# Of tiles that the network has not seen.
FACTS = {
    "source": "folder",
    "content_sha256": "",
    "splits": {"train": ["x"], "test": ["y"]},
}


def read(given, partial, like):
    """Returns the weights of `given` for a run of the default settings with these variables."""
    config, workdir = default.get_config(), pathlib.Path("workdir")
    return initial_weights.read(given, partial, like, config, workdir)


def zeros(like):
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)


def test_without_a_source_there_are_none():
    assert read("", False, SHAPES) is None


@pytest.mark.parametrize("kind", ["run", "file", "name"])
def test_all_weights_of_the_same_network_are_taken(run, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(trained, "PACKAGED", tmp_path)
    (tmp_path / "net.safetensors").write_bytes(network_files.encode(run))
    given = {"run": str(run), "file": f"{tmp_path}/net.safetensors", "name": "net"}
    # At another resolution, too.
    found = read(given[kind], False, shapes())
    variables = found.variables(zeros(SHAPES))
    jax.tree.map(np.testing.assert_array_equal, variables, written_run.VARIABLES)
    record = found.record(FACTS)
    assert record["from"] == ("source" if kind == "run" else "net")
    assert record["left"] == []
    assert record["bias"] == ""
    assert len(record["taken"]) == len(jax.tree.leaves(SHAPES))
    expected = trained.read(trained.locate(run)).weights_sha256()
    assert record["weights_sha256"] == expected


def test_the_arrays_that_differ_are_listed_with_their_shapes(run):
    with pytest.raises(InputError) as caught:
        read(str(run), False, shapes(features=(2, 6)))
    message = str(caught.value)
    assert message.startswith(f"config.train.init_from={run}: ")
    lines = [line.strip() for line in message.splitlines() if "/kernel" in line]
    assert any("[3, 3, 2, 4] there, [3, 3, 2, 6] in this run" in x for x in lines)
    # The first block is the same in both.
    assert not any("[3, 3, 3, 2]" in line for line in lines)
    assert "--config.train.init_partial=True takes the other" in message


def test_what_fits_is_taken_if_a_part_is_enough(run):
    like = shapes(norm="batch", features=(2, 6))
    found = read(str(run), True, like)
    initial = jax.tree.map(lambda x: np.full(x.shape, 7, x.dtype), like)
    before, after = (
        network_file.flatten(tree) for tree in (initial, found.variables(initial))
    )
    assert before.keys() == after.keys()
    source = network_file.flatten(written_run.VARIABLES)
    taken = {
        path
        for path, array in source.items()
        if path in before and array.shape == before[path].shape
    }
    assert set(found.taken) == taken
    assert taken
    for path, array in after.items():
        expected = source[path] if path in taken else before[path]
        np.testing.assert_array_equal(array, expected)
    stats = [line for line in found.left if line.startswith("batch_stats/")]
    assert stats
    assert all("none there" in line for line in stats)
    different = before.keys() ^ source.keys()
    different |= {p for p in before.keys() & source.keys() if p not in taken}
    assert {line.partition(":")[0] for line in found.left} == different


def test_weights_of_three_channels_fit_a_section_and_its_two_neighbours(run):
    """Of more neighbours the first kernel has another shape."""
    one, two = (
        network_file.shapes_of(dataclasses.replace(written_run.NETWORK, context=k))
        for k in (1, 2)
    )
    found = read(str(run), False, one).variables(zeros(one))
    jax.tree.map(np.testing.assert_array_equal, found, written_run.VARIABLES)
    kernel = (
        r"params/encoder0/conv1/kernel: \[3, 3, 3, 2\] there, \[3, 3, 5, 2\] in this"
    )
    with pytest.raises(InputError, match=f"1 arrays differ:\n  {kernel}"):
        read(str(run), False, two)


def test_settings_in_which_the_networks_differ_are_named(run):
    config = default.get_config()
    config.model.features = (2, 4)
    config.model.norm, config.model.dropout, config.data.context = "batch", 0.5, 1
    norm = shapes(norm="batch")
    with pytest.raises(InputError) as caught:
        initial_weights.read(str(run), False, norm, config, run.parent)
    lines = str(caught.value).splitlines()
    assert lines[1] == "  model.norm: none there, batch in this run"
    assert lines[2] == "30 arrays differ:"
    assert lines[8] == "  … and 25 more"
    assert lines[9].startswith("expected the same network: give --config.model.norm=no")
    assert len(lines) == 10


def test_a_network_without_a_common_array_is_refused_also_in_part(run):
    other = {"params": {"dense": jax.ShapeDtypeStruct((3,), np.float32)}}
    with pytest.raises(InputError, match="expected the same network") as caught:
        read(str(run), True, other)
    assert "init_partial" not in str(caught.value)


def test_the_run_itself_is_refused(run, tmp_path, monkeypatch):
    """Also by the name of a packaged network, which means the run as soon as that has begun."""
    monkeypatch.chdir(tmp_path)
    for given, workdir in ((run, run), ("tgs", tmp_path / "tgs")):
        with pytest.raises(InputError, match="is the directory of the run itself"):
            initial_weights.read(
                str(given), False, SHAPES, default.get_config(), workdir
            )


@pytest.mark.parametrize("given", ["nowhere", "nowhere.safetensors"])
def test_a_missing_source_is_named(given):
    with pytest.raises(InputError, match=f"^config.train.init_from={given}: {given}"):
        read(given, False, SHAPES)


def test_what_is_taken_over_is_printed(run, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    facts = FACTS | {"splits": {"train": ["d"], "test": ["a", "c", "x"]}}
    found = read(str(run), False, SHAPES)
    found.announce(facts)
    assert f"weights of source: all {len(found.taken)} arrays" in caplog.text
    assert "2 of the 3 test tiles have the ids of tiles that source" in caplog.text
    assert found.record(facts)["bias"] in caplog.text
    caplog.clear()
    # Built-in sections of other seeds have the same ids.
    found.announce(facts | {"source": "synthetic"})
    assert "of the 3 test tiles" not in caplog.text
    caplog.clear()
    known = network_files.TILES["content_sha256"]
    found.announce(facts | {"source": "synthetic", "content_sha256": known})
    assert "of the 3 test tiles" in caplog.text
    caplog.clear()
    # So have lines of other volumes; of one volume the blocks decide.
    volume = facts | {"source": "volume", "content_sha256": "other"}
    found.announce(volume)
    assert "same volume" not in caplog.text
    found.announce(volume | {"content_sha256": known})
    assert "trained on the same volume with other test lines" in caplog.text
    caplog.clear()
    same = {"content_sha256": known, "splits": network_files.TILES["splits"]}
    found.announce(volume | same)
    assert "same volume" not in caplog.text
    part = read(str(run), True, shapes(features=(2, 6)))
    part.announce(facts)
    for line in part.left:
        assert f"\n  {line}" in caplog.text


@pytest.fixture
def begun(run, tmp_path):
    """A run that began with the weights of the other one, in tmp_path/source."""
    shutil.copytree(run, tmp_path / "source")
    source = str(tmp_path / "source")
    network_files.write_run(tmp_path / "run", {"train.init_from": source})
    start = {"init": read(source, False, SHAPES).record(FACTS)}
    (tmp_path / "run/env.json").write_text(json.dumps([start, {"time": ""}]))
    return tmp_path / "run"


def test_the_source_of_a_run_may_be_gone(begun, tmp_path):
    shutil.rmtree(tmp_path / "source")
    initial_weights.check_moved(begun, str(tmp_path / "source"))


def test_the_source_of_a_run_may_have_moved(begun, run, tmp_path):
    (tmp_path / "net.safetensors").write_bytes(network_files.encode(run))
    for given in (run, tmp_path / "net.safetensors"):
        initial_weights.check_moved(begun, str(given))
    with pytest.raises(InputError, match="nowhere: no such run"):
        initial_weights.check_moved(begun, "nowhere")


def test_other_weights_than_the_run_began_with_are_refused(begun, tmp_path):
    other = {"params": jax.tree.map(lambda x: x + 1, written_run.VARIABLES["params"])}
    network_files.write_run(tmp_path / "other")
    best = {"epoch": 2, "val_loss": 0.5}
    variables = written_run.VARIABLES | other
    checkpoint.save(tmp_path / "other/checkpoints/best", variables, best)
    match = f"other: the run in {begun} began with the weights of {tmp_path}/source"
    with pytest.raises(InputError, match=match):
        initial_weights.check_moved(begun, str(tmp_path / "other"))


@pytest.mark.parametrize("starts", [[], [{"init": 3}], [{"init": {}}], [{}]])
def test_without_a_record_no_weights_are_known_to_be_the_same(begun, run, starts):
    (begun / "env.json").write_text(json.dumps(starts))
    with pytest.raises(InputError, match="which are others"):
        initial_weights.check_moved(begun, str(run))
