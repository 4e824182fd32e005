"""Runs that begin with the weights of another network: train.init_from."""

import json
import shutil

import jax
import numpy as np
import pytest
from forked import launch
from program import TINY, assert_refused
from run_outcome import outcome, read_checkpoint
from tile_files import write_tiles
from tiny import tiny_config

import saltjax
from saltjax import export, train
from saltjax.runs import settings, trained
from saltjax.system.errors import InputError
from saltjax.training import progress


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return write_tiles(tmp_path_factory.mktemp("data") / "tiles", 30)


@pytest.fixture(scope="module")
def source(tiles, tmp_path_factory):
    """A finished run with batch norm."""
    workdir = tmp_path_factory.mktemp("runs") / "source"
    train.train(make_config(tiles), workdir, overwrite=False)
    return workdir


def make_config(tiles, **overrides):
    small = {"data.dir": str(tiles), "model.features": (2, 4), "model.norm": "batch"}
    return tiny_config(**small | {"train.epochs": 2} | overrides)


def weights(workdir, name):
    """Returns params and batch_stats in a checkpoint of a run."""
    state = read_checkpoint(workdir / "checkpoints" / name)["state"]
    return {"params": state["params"], "batch_stats": state["batch_stats"]}


class StoppedError(Exception):
    pass


@pytest.fixture
def before_the_first_step(monkeypatch):
    """Returns a function that starts a run and ends it where its first state is saved."""

    def start(config, workdir):
        def save(*args):
            saved(*args)
            raise StoppedError

        saved = progress.save
        with monkeypatch.context() as patch:
            patch.setattr(progress, "save", save)
            with pytest.raises(StoppedError):
                train.train(config, workdir, overwrite=False)

    return start


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_begins_with_the_weights_of_another(
    tiles, source, tmp_path, before_the_first_step, ema
):
    config = make_config(tiles, **{"train.init_from": str(source), "train.ema": ema})
    config.data.image_size = 24
    before_the_first_step(config, tmp_path / "run")
    expected = weights(source, "best")
    assert len(jax.tree.leaves(expected["batch_stats"])) > 0
    found = weights(tmp_path / "run", "last")
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    state = read_checkpoint(tmp_path / "run/checkpoints/last")["state"]
    assert int(state["step"]) == 0
    moments = [x for x in jax.tree.leaves(state["opt_state"]) if np.ndim(x)]
    assert moments
    assert not any(np.any(x) for x in moments)
    if ema:
        jax.tree.map(np.testing.assert_array_equal, state["averages"], expected)
    record = read(tmp_path / "run/env.json")[0]["init"]
    checksum = trained.read(trained.locate(source)).weights_sha256()
    assert record["weights_sha256"] == checksum
    assert (record["from"], record["left"]) == ("source", [])
    assert len(record["taken"]) == len(jax.tree.leaves(expected))


@pytest.mark.slow
def test_an_interrupted_run_goes_on_without_its_source(
    tiles, source, tmp_path, before_the_first_step
):
    export.export(source, f"{tmp_path}/net.safetensors")
    config = make_config(tiles, **{"train.init_from": f"{tmp_path}/net.safetensors"})
    train.train(config, tmp_path / "whole", overwrite=False)
    before_the_first_step(config, tmp_path / "run")
    (tmp_path / "net.safetensors").unlink()
    train.train(config, tmp_path / "run", overwrite=False)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    starts = read(tmp_path / "run/env.json")
    assert ["init" in start for start in starts] == [True, False]
    # It learned from there: the random weights of the same seed gave another run.
    assert outcome(tmp_path / "run")[0] != outcome(source)[0]
    # The run that the file was of is the same source, and another one is not.
    same = make_config(tiles, **{"train.init_from": str(source)})
    train.train(same, tmp_path / "run", overwrite=False)
    assert read(tmp_path / "run/config.json")["train"]["init_from"] == str(source)
    other = make_config(tiles, **{"train.init_from": f"{tmp_path}/whole"})
    with pytest.raises(InputError, match=r"began with the weights of .*source"):
        train.train(other, tmp_path / "run", overwrite=False)
    # What it began with stays known in its network file.
    export.export(tmp_path / "run", f"{tmp_path}/run.safetensors")
    (first, _) = trained.read_starts(trained.locate(f"{tmp_path}/run.safetensors"))
    assert first["init"] == starts[0]["init"]


def test_another_network_is_refused_before_anything_is_written(tiles, source, tmp_path):
    other = {"train.init_from": str(source), "model.features": (2, 6)}
    with pytest.raises(InputError, match=r"\[3, 3, 2, 4\] there, \[3, 3, 2, 6\] in"):
        train.train(make_config(tiles, **other), tmp_path / "run", overwrite=False)
    assert not (tmp_path / "run").exists()
    # Also where a run would be deleted.
    run = shutil.copytree(source, tmp_path / "other")
    with pytest.raises(InputError, match="in this run"):
        train.train(make_config(tiles, **other), run, overwrite=True)
    own = {"train.init_from": str(run)}
    with pytest.raises(InputError, match="is the directory of the run itself"):
        train.train(make_config(tiles, **own), run, overwrite=True)
    assert saltjax.load(run).result == saltjax.load(source).result


@pytest.mark.slow
def test_the_command_begins_with_a_part_of_another_network(plain, tmp_path):
    options = (
        "--config=configs/quickstart.py",
        f"--workdir={tmp_path}/run",
        *(option for option in TINY if "features" not in option),
        "--config.model.features=(4,12)",
        f"--config.train.init_from={plain}",
    )
    done = launch(*options)
    assert_refused(done, "[3, 3, 4, 8] there, [3, 3, 4, 12] in this run")
    done = launch(*options, "--config.train.init_partial=True")
    assert done.returncode == 0, done.stderr
    assert "arrays of plain; these are not taken over:" in done.stdout
    record = read(tmp_path / "run/env.json")[0]["init"]
    assert record["from"] == "plain"
    assert len(record["taken"]) > 0
    for line in record["left"]:
        assert line in done.stdout


def test_a_part_of_nothing_is_refused():
    config = tiny_config(**{"train.init_partial": True})
    with pytest.raises(
        InputError, match=r"init_partial=True without config.train.init"
    ):
        settings.check(config)
