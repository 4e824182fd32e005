"""A run of version 0.2 in golden_run/ loads, resumes, is tested and exported in every later one.

What was saved must be read exactly. What is computed again agrees within the tolerances here: bits
differ between kinds of CPU and versions of jaxlib.
"""

import csv
import json
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest
from golden_run import make

import saltjax
from saltjax import export, train
from saltjax.data import source
from saltjax.runs import environment, result, saved_config, settings
from saltjax.training import progress as progresses
from saltjax.training import steps

GOLDEN = pathlib.Path(__file__).parent / "golden_run"
# Absolute, of losses and of weights; and of scores, of which a pixel more or less changes 1e-4. With
# jaxlib 0.11.2 and 0.12.0, and on two devices, losses of resumed epochs differed by at most 3e-7.
TOLERANCE, OF_SCORES = 1e-4, 2e-3


@pytest.fixture(scope="module")
def expected():
    with np.load(GOLDEN / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(params=["finished", "interrupted"])
def either(request):
    return GOLDEN / request.param


@pytest.fixture
def finished(tmp_path):
    return shutil.copytree(GOLDEN / "finished", tmp_path / "finished")


def rows_of(workdir):
    """Returns the rows of metrics.csv as numbers."""
    with open(workdir / "metrics.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_settings_are_read_as_they_were_written(either):
    written = json.loads((either / "config.json").read_text())
    assert written.pop("schema") == 1
    found = json.loads(json.dumps(saved_config.read(either).to_dict()))
    read = settings.flatten(found)
    assert settings.flatten(written).items() <= read.items()
    assert read["model.features"] == [2, 4]


def test_starts_are_read(either):
    (start,) = environment.read(either)
    assert start["versions"]["saltjax"] == "0.2.0"


def test_synthetic_tiles_and_split_are_the_same(either):
    config = saved_config.read(either)
    data = source.load(config)
    written = json.loads((either / "data.json").read_text())
    assert written["content_sha256"] == data.tiles.content_hash()
    facts = json.loads(json.dumps(data.facts))
    assert written["splits"] == facts["splits"]
    assert written == {key: facts[key] for key in written}


def test_weights_are_those_that_were_saved(expected):
    for name in ("best", "last"):
        found = make.flat(GOLDEN / "finished/checkpoints" / name)
        assert make.checksum(found) == expected[name]
    network = saltjax.load(GOLDEN / "finished")
    leaves, _ = jax.tree_util.tree_flatten_with_path(network.variables)
    named = sorted((jax.tree_util.keystr(path), leaf) for path, leaf in leaves)
    flat = np.concatenate([leaf.ravel() for _, leaf in named])
    assert make.checksum(flat) == expected["best"]
    found = network.predict(expected["image"])
    np.testing.assert_allclose(found, expected["prob"], rtol=0, atol=TOLERANCE)


def test_its_network_file_is_read(expected):
    network = saltjax.load(GOLDEN / make.NETWORK_FILE)
    leaves, _ = jax.tree_util.tree_flatten_with_path(network.variables)
    named = sorted((jax.tree_util.keystr(path), leaf) for path, leaf in leaves)
    flat = np.concatenate([leaf.ravel() for _, leaf in named])
    assert make.checksum(flat) == expected["best"]
    run = saltjax.load(GOLDEN / "finished")
    assert network.result == run.result
    assert network.postprocessing == run.postprocessing
    assert (network.tile, network.batch_size) == (run.tile, run.batch_size)
    found = network.predict(expected["image"])
    np.testing.assert_allclose(found, expected["prob"], rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_history_and_state_are_restored(either, tmp_path):
    workdir = shutil.copytree(either, tmp_path / "run")
    config = saved_config.read(workdir)
    setup = train.prepare(config, workdir, pause=None)
    state = steps.create_state(setup.recipe, config.seed)
    state, progress = progresses.restore(workdir, state, 9.0, epochs=9)
    assert list(progress.history) == rows_of(either)
    stopped = either.name == "interrupted"
    assert (progress.epochs, progress.step) == ((5, 2) if stopped else (8, 0))
    assert int(state.step) == 10 * progress.epochs + progress.step
    # Adam's moments are restored too.
    assert not np.array_equal(
        *[
            np.asarray(jax.tree.leaves(s.opt_state.inner_state)[-1])
            for s in (state, steps.create_state(setup.recipe, config.seed))
        ]
    )


def assert_near(found, written):
    """Compares two results."""
    assert (found.best_epoch, found.epochs) == (written.best_epoch, written.epochs)
    assert found.test.loss == pytest.approx(written.test.loss, abs=TOLERANCE)
    assert vars(found.test) == pytest.approx(vars(written.test), abs=OF_SCORES)
    threshold = pytest.approx(written.threshold.value, abs=OF_SCORES)
    assert found.threshold.value == threshold
    for name, interval in vars(written.test_native).items():
        near = pytest.approx(interval.value, abs=OF_SCORES)
        assert getattr(found.test_native, name).value == near, name


@pytest.mark.slow
def test_it_is_tested_again(finished):
    before, written = result.read(finished), rows_of(finished)
    config = saved_config.read(finished)
    train.train(config, finished, overwrite=False)
    assert result.read(finished) == before
    other = config.copy_and_resolve_references()
    other.eval.threshold_metric = "iou"
    train.train(other, finished, overwrite=False)
    assert result.read(finished).threshold.metric == "iou"
    assert rows_of(finished) == written
    train.train(config, finished, overwrite=False)
    assert_near(result.read(finished), before)
    assert len(environment.read(finished)) == 3


@pytest.mark.slow
def test_it_resumes_within_an_epoch(tmp_path):
    workdir = shutil.copytree(GOLDEN / "interrupted", tmp_path / "run")
    train.train(saved_config.read(workdir), workdir, overwrite=False)
    found, written = rows_of(workdir), rows_of(GOLDEN / "finished")
    for row in (*found, *written):
        del row["seconds"]
    assert found[:5] == written[:5]
    for a, b in zip(found[5:], written[5:], strict=True):
        assert a == pytest.approx(b, abs=TOLERANCE)
    weights, whole = (
        make.flat(run / "checkpoints/last") for run in (workdir, GOLDEN / "finished")
    )
    np.testing.assert_allclose(weights, whole, rtol=0, atol=TOLERANCE)
    outcome = result.read(workdir)
    assert (
        outcome.best_epoch == 8
    )  # so the scores are those of weights that were trained here
    assert_near(outcome, result.read(GOLDEN / "finished"))


@pytest.mark.slow
def test_it_is_trained_on(finished):
    written, more = rows_of(finished), saved_config.read(finished)
    more.train.epochs = 9
    train.train(more, finished, overwrite=False)
    assert rows_of(finished)[:8] == written
    assert result.read(finished).epochs == 9


@pytest.mark.slow
def test_it_is_exported(tmp_path, expected):
    pytest.importorskip("flatbuffers")
    export.export(GOLDEN / "finished", str(tmp_path))
    artifact = (tmp_path / "model.jaxexport").read_bytes()
    exported = jax.export.deserialize(bytearray(artifact))
    image = np.repeat(expected["image"][..., None], 3, axis=-1)[None] / np.float32(255)
    assert exported.call(image).shape == (1, 24, 30)
    described = json.loads((tmp_path / "model.json").read_text())
    assert described["threshold"] == result.read(GOLDEN / "finished").threshold.value


def test_it_is_small_and_names_no_directory_of_a_machine():
    files = [p for p in GOLDEN.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    contents = [path.read_bytes() for path in files]
    assert sum(map(len, contents)) < 200_000
    assert not any(re.search(rb"/(tmp|home|root|work|Users)/", c) for c in contents)
