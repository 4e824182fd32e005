"""Runs that go on: tested again, for more epochs, with moved data; and starts that are refused."""

import functools
import json
import os
import shutil
import signal

import forked
import pytest
from program import TINY
from run_outcome import outcome
from tile_files import write_tiles
from tiny import tiny_config

from saltjax import check, evaluate, train
from saltjax import epoch as epochs
from saltjax.inference import predictor
from saltjax.reporting import run_figures
from saltjax.runs import environment, replacement, saved_config, settings
from saltjax.scoring import scores
from saltjax.system.errors import InputError


def make_config(tiles, **overrides):
    """Returns the config of a small run on a directory of tiles."""
    small = {"data.dir": str(tiles), "model.features": (2, 4), "train.epochs": 2}
    return tiny_config(**small | overrides)


def read(path):
    return json.loads(path.read_text())


def contents(workdir):
    """Returns content and time of every file of a directory but the lock, by relative path."""
    paths = [p for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"]
    return {
        str(p.relative_to(workdir)): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in paths
    }


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return write_tiles(tmp_path_factory.mktemp("data") / "tiles", 30)


@pytest.fixture(scope="module")
def whole(tiles, tmp_path_factory):
    """A finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    train.train(make_config(tiles), workdir, overwrite=False)
    return workdir


@pytest.fixture
def run(whole, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(whole, tmp_path / "run", copy_function=shutil.copy2)


def fail(*args, **kwargs):
    raise ZeroDivisionError


def figures(workdir):
    """Returns the figures of the test, those of the data left out."""
    data = ("coverage.png", "examples.png")
    paths = (workdir / "plots").iterdir()
    return {p.name: p.read_bytes() for p in paths if p.name not in data}


OTHER = {"eval.threshold_metric": "iou", "eval.min_area": 5}
FAULTS = [
    (scores, "validate"),
    (run_figures, "draw_training"),
    (run_figures, "draw_scores"),
    (replacement, "recover"),
    (saved_config, "write"),
]


@pytest.mark.slow
def test_an_interrupted_test_leaves_one_result_with_its_settings_and_figures(
    tiles, run, monkeypatch, caplog
):
    caplog.set_level("INFO", "saltjax")
    other = make_config(tiles, **OTHER)
    old = (run / "result.json").read_bytes(), figures(run)
    for module, name in FAULTS[:-1]:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            with pytest.raises(ZeroDivisionError):
                train.train(other, run, overwrite=False)
        assert ((run / "result.json").read_bytes(), figures(run)) == old, name
        assert saved_config.read(run).eval.min_area == 0
        train.train(make_config(tiles), run, overwrite=False)
        assert caplog.messages.count(f"{run} is complete.") == 1
        caplog.clear()
    # Between the new result and its settings.
    with monkeypatch.context() as patch:
        patch.setattr(*FAULTS[-1], fail)
        with pytest.raises(ZeroDivisionError):
            train.train(other, run, overwrite=False)
    assert read(run / "config.json")["eval"]["min_area"] == 0
    new = read(run / "result.json")
    assert new["threshold"]["metric"] == "iou"
    assert new["eval"] == {"threshold_metric": "iou", "min_area": 5, "tta": False}
    assert saved_config.read(run).eval.min_area == 5
    caplog.clear()
    train.train(other, run, overwrite=False)
    assert f"{run} is complete." in caplog.text
    assert read(run / "config.json")["eval"]["min_area"] == 5
    assert figures(run).keys() == old[1].keys()
    assert figures(run) != old[1]


def kill_when_scores_are_drawn():
    run_figures.draw_scores = lambda *_: os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_test_leaves_the_old_result(tiles, run, tmp_path):
    options = [
        f"--config.{key}={value}"
        for key, value in settings.flatten(make_config(tiles).to_dict()).items()
        if not isinstance(value, tuple)
    ]
    options += ["--config=quickstart", "--config.model.features=(2,4)"]
    start = functools.partial(
        forked.start, *options, f"--workdir={run}", stdout=tmp_path / "log"
    )
    test = "--config.eval.min_area=5"
    old = (run / "result.json").read_bytes(), figures(run)
    killed = start(test, prepare=kill_when_scores_are_drawn)
    assert forked.finish(killed) == -signal.SIGKILL
    # It was killed with new figures drawn.
    assert (run / replacement.STAGE / "curves.png").exists()
    assert ((run / "result.json").read_bytes(), figures(run)) == old
    assert forked.finish(start()) == 0
    assert f"{run} is complete." in (tmp_path / "log").read_text()
    assert ((run / "result.json").read_bytes(), figures(run)) == old
    assert not (run / replacement.STAGE).exists()
    assert forked.finish(start(test)) == 0
    assert read(run / "result.json")["min_area"] == 5


@pytest.mark.slow
def test_the_default_directory_of_another_test_is_the_same(tmp_path):
    options = ("--config=quickstart", *TINY)
    assert forked.launch(*options, cwd=tmp_path).returncode == 0
    (workdir,) = (tmp_path / "runs").iterdir()
    assert "," not in workdir.name
    trained = (workdir / "metrics.csv").read_bytes()
    test = ("--config.eval.min_area=5", "--config.train.cpu_devices=2")
    done = forked.launch(*options, *test, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [workdir.name]
    assert "Changed    devices 4 × cpu before, 2 × cpu now" in done.stdout
    assert "epoch   1" not in done.stdout
    assert (workdir / "metrics.csv").read_bytes() == trained
    assert read(workdir / "result.json")["min_area"] == 5
    assert len(environment.read(workdir)) == 2
    # To print a result is no start of the run.
    assert forked.launch(*options, *test, cwd=tmp_path).returncode == 0
    assert len(environment.read(workdir)) == 2


def stop_at(epoch, monkeypatch):
    """Makes training fail at the beginning of that epoch."""
    run_epoch = epochs.run_epoch

    def run_epoch_until(state, progress, setup):
        if progress.epochs + 1 == epoch:
            raise ZeroDivisionError
        return run_epoch(state, progress, setup)

    monkeypatch.setattr(epochs, "run_epoch", run_epoch_until)


@pytest.mark.slow
def test_more_epochs_equal_those_of_a_run_from_the_start(
    tiles, run, tmp_path, monkeypatch
):
    more = make_config(tiles, **{"train.epochs": 5})
    train.train(more, tmp_path / "five", overwrite=False)
    before = [(run / name).read_bytes() for name in ("result.json", "config.json")]
    # The earlier result is there until the new one is: stopped at once, and after an epoch.
    for epoch in (3, 4):
        with monkeypatch.context() as patch:
            stop_at(epoch, patch)
            with pytest.raises(ZeroDivisionError):
                train.train(more, run, overwrite=False)
        after = [(run / name).read_bytes() for name in ("result.json", "config.json")]
        assert after == before
    with pytest.raises(InputError, match="is of 2 epochs, and the best"):
        predictor.load(run)
    # Three epochs are done.
    fewer = make_config(tiles, **OTHER)
    with pytest.raises(InputError, match="epoch 3 of the run has begun"):
        train.train(fewer, run, overwrite=False)
    train.train(more, run, overwrite=False)
    assert outcome(run) == outcome(tmp_path / "five")
    assert read(run / "config.json")["train"]["epochs"] == 5
    assert predictor.load(run).result.epochs == 5
    with pytest.raises(InputError, match="holds a run of 5 epochs"):
        train.train(make_config(tiles), run, overwrite=False)


@pytest.mark.slow
def test_an_interrupted_run_may_end_after_fewer_epochs(
    tiles, whole, tmp_path, monkeypatch
):
    workdir = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(ZeroDivisionError):
            train.train(make_config(tiles, **{"train.epochs": 9}), workdir, False)
    before = contents(workdir)
    with pytest.raises(InputError, match="epoch 2 of the run has begun"):
        train.train(make_config(tiles, **{"train.epochs": 1}), workdir, False)
    assert contents(workdir) == before
    train.train(make_config(tiles), workdir, overwrite=False)
    assert outcome(workdir) == outcome(whole)


def unfinish(workdir):
    (workdir / "result.json").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("finished", [True, False])
def test_the_same_tiles_elsewhere_are_accepted(
    tiles, run, tmp_path, monkeypatch, caplog, finished
):
    caplog.set_level("INFO", "saltjax")
    if not finished:
        unfinish(run)
    shutil.copytree(tiles, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    for path in (f"{tiles}/", "moved", str(tmp_path / "moved")):
        before = read(run / "config.json")["data"]["dir"]
        train.train(make_config(path), run, overwrite=False)
        assert read(run / "config.json")["data"]["dir"] == path
        text = f"Moved      config.data.dir is now {path}, before {before}"
        assert text in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("finished", [True, False])
def test_other_tiles_elsewhere_are_refused_and_nothing_is_changed(
    tiles, run, tmp_path, finished
):
    if not finished:
        unfinish(run)
    other = shutil.copytree(tiles, tmp_path / "other")
    shutil.copy(other / "images/t03.png", other / "images/t04.png")
    before = contents(run)
    with pytest.raises(InputError, match="the data have changed since the run"):
        train.train(make_config(other), run, overwrite=False)
    assert contents(run) == before


@pytest.mark.slow
def test_groups_are_compared_by_the_split_that_they_give(tiles, tmp_path):
    rows = [f"t{i:02d},{i // 3}" for i in range(30)]
    texts = {
        "first": rows,
        "renamed": [f"{row}x" for row in rows],
        "other": [f"t{i:02d},{i // 2}" for i in range(30)],
    }
    for name, lines in texts.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(["id,group", *lines]))
    workdir = tmp_path / "run"

    def start(name):
        groups = {"data.split_by": "group", "data.groups": f"{tmp_path}/{name}.csv"}
        train.train(make_config(tiles, **groups), workdir, overwrite=False)

    start("first")
    start("renamed")
    assert read(workdir / "config.json")["data"]["groups"].endswith("renamed.csv")
    before = contents(workdir)
    with pytest.raises(InputError, match="the split has changed"):
        start("other")
    assert contents(workdir) == before


@pytest.mark.slow
def test_a_finished_run_is_tested_again_by_groups_and_without(
    tiles, run, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO", "saltjax")
    test, weights = read(run / "data.json")["splits"]["test"], contents(run)
    for name, size in (("pairs", 2), ("all", 30)):
        rows = [f"{tile},{i // size}" for i, tile in enumerate(test)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["id,group", *rows]))
    pairs, one = (
        make_config(tiles, **{"data.groups": str(tmp_path / f"{name}.csv")})
        for name in ("pairs", "all")
    )
    old = read(run / "result.json")
    assert old["test_units"] == len(test)
    with monkeypatch.context() as patch:
        patch.setattr(scores, "validate", fail)
        with pytest.raises(ZeroDivisionError):
            train.train(pairs, run, overwrite=False)
    # It is still the run without groups.
    evaluate.evaluate([run], "", str(tmp_path / "evaluation"), None)
    train.train(pairs, run, overwrite=False)
    assert read(run / "result.json")["test_units"] == -(-len(test) // 2)
    evaluate.evaluate([run], "", str(tmp_path / "evaluation"), None)
    # The result of a finished run is not that of other groups.
    with pytest.raises(InputError, match="the groups have changed"):
        train.train(one, run, overwrite=False)
    train.train(make_config(tiles), run, overwrite=False)
    assert "Moved" not in caplog.text
    assert read(run / "result.json") == old
    (run / "result.json").unlink()
    train.train(one, run, overwrite=False)
    assert read(run / "result.json")["test_units"] == 1
    trained = {"metrics.csv"} | {name for name in weights if "checkpoints" in name}
    after = contents(run)
    assert {name: after[name][0] for name in trained} == {
        name: weights[name][0] for name in trained
    }


@pytest.mark.slow
def test_a_refused_start_changes_nothing(tiles, run, tmp_path):
    (run / "metrics.csv").unlink()
    for path in ("best", "best.old"):
        shutil.rmtree(run / "checkpoints" / path)
    before = contents(run)
    with pytest.raises(InputError, match="best is missing"):
        train.train(make_config(tiles, **OTHER), run, overwrite=False)
    assert contents(run) == before
    (run / "env.json").write_text("[")
    before = contents(run)
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    shutil.rmtree(unfinished / "checkpoints")
    unfinish(unfinished)
    before = contents(unfinished)
    with pytest.raises(InputError, match=r"env\.json: damaged"):
        train.train(make_config(tiles), unfinished, overwrite=False)
    assert contents(unfinished) == before


def test_check_changes_nothing_of_a_run(tiles, tmp_path):
    run = tmp_path / "run"
    for name in ("plots/examples.png", "plots/coverage.png", "config.json"):
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("the run's")
    before = contents(run)
    check.check(make_config(tiles), run)
    after = contents(run)
    assert after.keys() - before.keys() == {"check/examples.png", "check/coverage.png"}
    assert before.items() <= after.items()
