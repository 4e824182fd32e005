"""Real faults: killed processes, signals, flipped bits, full disks."""

import functools
import itertools
import json
import os
import random
import resource
import shutil
import signal

import forked
import jax
import numpy as np
import pytest
from run_outcome import outcome, read_checkpoint
from tile_files import flip_a_bit, write_tiles

from saltjax import epoch
from saltjax.runs import checkpoint
from saltjax.training import progress as progresses

OPTIONS = (
    "--config=configs/quickstart.py",
    "--config.data.image_size=16",
    "--config.model.features=(4,8)",
    "--config.model.norm=batch",
    "--config.model.dropout=0.2",
    "--config.train.batch_size=8",
    "--config.train.epochs=3",
    "--config.train.cpu_devices=2",
)
STEPS = 6  # of an epoch


def start(tiles, workdir, prepare=None, every_minutes=0.0):
    """Starts training; by default it saves after every step. What it prints goes to a file."""
    options = (*OPTIONS, f"--config.checkpoint.every_minutes={every_minutes}")
    return forked.start_training(options, tiles, workdir, prepare)


def run(*args, **settings):
    """Returns the exit status of the training that `start` starts."""
    return forked.finish(start(*args, **settings))


def printed(workdir):
    """Returns all that the processes of a run printed: no traceback."""
    text = forked.log_of(workdir).read_text()
    assert "Traceback" not in text
    return text


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Sixty tiles: 42 for training, six steps an epoch."""
    return write_tiles(tmp_path_factory.mktemp("data") / "tiles", 60)


@pytest.fixture(scope="module")
def whole(tiles, tmp_path_factory):
    """A run without any fault."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert run(tiles, workdir) == 0
    return workdir


@pytest.fixture
def untested(whole, tmp_path):
    """A copy of the run without its result: training is complete, the test is not."""
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run/result.json").unlink()
    return tmp_path / "run"


def unfinished_saves(workdir):
    return list((workdir / "checkpoints").glob("*.new*"))


def kill_in_save(name, call):
    """Kills this process before that call of os.<name> within `checkpoint.save`, from 1."""
    save, function, calls = checkpoint.save, getattr(os, name), itertools.count(1)

    def call_or_die(*args, **options):
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)

    def save_or_die(*args):
        setattr(os, name, call_or_die)
        save(*args)
        setattr(os, name, function)

    checkpoint.save = save_or_die


@pytest.mark.slow
def test_a_run_killed_within_saves_ends_with_the_same_result(tiles, whole, tmp_path):
    workdir = tmp_path / "killed"
    last = workdir / "checkpoints/last"
    # Of the first save, and of later ones, in which orbax renames three times, then `last` is
    # renamed, then `last.new`.
    for name, call in (
        ("rename", 2),
        ("fsync", 9),
        ("rename", 4),
        ("replace", 2),
        ("rename", 5),
        ("fsync", 30),
        ("rename", 14),
        ("replace", 4),
    ):
        kill = functools.partial(kill_in_save, name, call)
        assert run(tiles, workdir, kill) == -signal.SIGKILL
        assert unfinished_saves(workdir)
        if (name, call) == ("rename", 5):
            assert not last.exists()
            assert last.with_name("last.new").exists()
    assert run(tiles, workdir) == 0
    assert "damaged" not in printed(workdir)
    assert outcome(workdir) == outcome(whole)


@pytest.mark.slow
def test_a_run_killed_many_times_ends_with_the_same_result(tiles, whole, tmp_path):
    rng, kills = random.Random(0), 0
    workdir = tmp_path / "killed"
    while kills < 6:
        child = start(tiles, workdir)
        child.join(rng.uniform(0.2, 3.5))
        if child.exitcode is not None:
            assert child.exitcode == 0
            # Complete before the next kill: continue with a new run.
            assert outcome(workdir) == outcome(whole)
            workdir = tmp_path / f"killed{kills}"
            continue
        child.kill()
        child.join()
        kills += 1
    assert run(tiles, workdir) == 0
    assert outcome(workdir) == outcome(whole)


@pytest.mark.slow
def test_signals_save_the_state_within_the_epoch(tiles, whole, tmp_path):
    workdir = tmp_path / "stopped"
    # Without the signals nothing would be saved within an epoch. Each process counts its own calls.
    for signum, call, epochs, step in (
        (signal.SIGTERM, STEPS + 3, 1, 3),
        (signal.SIGINT, 2, 1, 5),
        (signal.SIGHUP, 4, 2, 3),
    ):
        fault = functools.partial(forked.send_signal, signum, call)
        assert run(tiles, workdir, fault, every_minutes=10.0) == 128 + signum
        progress = read_checkpoint(workdir / "checkpoints/last")["meta"]["meta"]
        assert (len(progress["history"]), progress["step"]) == (epochs, step)
        assert not (workdir / "result.json").exists()
    assert run(tiles, workdir, every_minutes=10.0) == 0
    log = printed(workdir)
    for place in ("step 3 of epoch 2", "step 5 of epoch 2", "step 3 of epoch 3"):
        assert f"Resuming after {place}" in log
    assert log.count("the same command resumes from here") == 3
    assert outcome(workdir) == outcome(whole)


def limit_file_size():
    """Limits the files of this process to 10 kB, as a disk that is almost full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


def limit_file_size_after_an_epoch():
    run_epoch = epoch.run_epoch

    def run_epoch_then_limit(*args):
        state_and_progress = run_epoch(*args)
        limit_file_size()
        return state_and_progress

    epoch.run_epoch = run_epoch_then_limit


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_keeps_what_was_saved(tiles, whole, tmp_path):
    workdir = tmp_path / "full"
    assert run(tiles, workdir, limit_file_size_after_an_epoch) == 2
    log = printed(workdir)
    message = log[log.index("Error: ") :]
    assert f"cannot write {workdir}/checkpoints" in message
    assert "File too large" in message
    assert "MB free there" in message
    assert run(tiles, workdir) == 0
    assert f"Resuming after step {STEPS} of epoch 1" in printed(workdir)
    # No temporary directory is left.
    assert not list(workdir.rglob("*.new*"))
    assert outcome(workdir) == outcome(whole)


def test_a_full_disk_is_noticed_before_training(tiles, tmp_path):
    workdir = tmp_path / "full"
    assert run(tiles, workdir, limit_file_size) == 2
    log = printed(workdir)
    assert f"Error: cannot write {workdir}" in log
    assert "epoch   1" not in log


@pytest.mark.slow
def test_progress_of_another_version_is_refused(tiles, untested):
    last = untested / "checkpoints/last"
    document = json.loads((last / "meta/metadata").read_text())
    document["meta"]["mood"] = "good"
    (last / "meta/metadata").write_text(json.dumps(document))
    (last / checkpoint.MANIFEST).unlink()
    manifest = checkpoint._file_checksums(last)
    (last / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    assert run(tiles, untested) == 2
    assert "was saved by another version" in printed(untested)


@pytest.mark.slow
def test_a_damaged_best_checkpoint_is_replaced_by_the_previous_best(
    tiles, whole, untested
):
    before = json.loads((whole / "result.json").read_text())
    best = untested / "checkpoints/best"
    state = read_checkpoint(best)["state"]
    earlier = before["best_epoch"] - 1
    worse = jax.tree.map(np.zeros_like, state)
    checkpoint.save(best, worse, {"epoch": earlier, "val_loss": 9.0})
    checkpoint.save(best, state, {"epoch": before["best_epoch"], "val_loss": 0.1})
    flip_a_bit(next(best.rglob("manifest.ocdbt")), random.Random(2))
    assert run(tiles, untested) == 0
    after = json.loads((untested / "result.json").read_text())
    assert after["best_epoch"] == earlier
    # A network of zeros gives every pixel the probability 1/2.
    assert after["test"]["loss"] == pytest.approx(np.log(2))
    assert (untested / "checkpoints/best.damaged-1").exists()
    assert "best is damaged" in printed(untested)


@pytest.mark.slow
def test_a_run_without_an_intact_checkpoint_ends_with_a_clear_error(tiles, untested):
    for path in (untested / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert run(tiles, untested) == 2
    message = f"Error: no intact checkpoint is left at {untested}/checkpoints/last"
    assert message in printed(untested)


@pytest.mark.slow
def test_tiles_changed_since_the_run_began_are_refused(tiles, untested, tmp_path):
    folder = tmp_path / "tiles"
    shutil.copytree(tiles, folder)
    # The run has the tiles of that directory, whose content is the same so far.
    config = json.loads((untested / "config.json").read_text())
    config["data"]["dir"] = str(folder)
    (untested / "config.json").write_text(json.dumps(config))
    for name in ("images", "masks"):
        (folder / name / "t07.png").unlink()
    assert run(folder, untested) == 2
    log = printed(untested)
    assert "the data have changed" in log
    assert "60 tiles" in log
    assert "59 tiles" in log


def test_a_loss_of_nan_is_never_the_best():
    progress = progresses.begin(1e-3)
    row = {"epoch": 1, "val_loss": float("nan")}
    assert progresses.after_epoch(progress, row, 0.1, 5, "val_loss").best_epoch == 0
