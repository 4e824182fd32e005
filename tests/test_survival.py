"""Faults made for real: killed processes, flipped bits, full disks, signals."""

import csv
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time

import jax
import numpy as np
import pytest
from conftest import flip_a_bit, write_tiles

from configs import quickstart
from saltjax import train
from saltjax.runs import checkpoint
from saltjax.system.errors import InputError
from saltjax.training import progress as journal

# Children of this server start with everything imported and no device in use yet.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["saltjax.train", "configs.quickstart"])


def tiny_config(folder, **overrides):
    config = quickstart.get_config()
    config.data.dir = str(folder)
    config.data.image_size = 16
    config.model.features = (4, 8)
    config.model.norm = "batch"
    config.model.dropout = 0.2
    config.train.batch_size = 8
    config.train.epochs = 3
    config.train.cpu_devices = 2
    config.checkpoint.every_minutes = 0.0  # saves after every step
    config.update_from_flattened_dict(overrides)
    return config


def train_in_child(folder, workdir, overrides, fault, before):
    """Trains as launch.py does, its status as this process's; `fault` comes after one epoch."""
    if before is not None:
        before()
    run_epoch = train.run_epoch

    def run_epoch_then_fault(*args):
        outcome = run_epoch(*args)
        fault()
        return outcome

    if fault is not None:
        train.run_epoch = run_epoch_then_fault
    sys.stdout = sys.stderr = open(workdir.with_suffix(".log"), "a")  # noqa: SIM115
    train.console.out.file = sys.stdout
    try:
        train.train(tiny_config(folder, **overrides), workdir, overwrite=False)
    except InputError as error:
        print(f"Error: {error}", flush=True)
        os._exit(2)
    except train.signals.Stopped as stopped:
        os._exit(128 + stopped.signum)
    os._exit(0)


def start(folder, workdir, fault=None, before=None, **overrides):
    child = SERVER.Process(
        target=train_in_child, args=(folder, workdir, overrides, fault, before)
    )
    child.start()
    return child


def finish(child):
    child.join(120)
    return child.exitcode


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Sixty tiles: 42 for training, six steps an epoch."""
    return write_tiles(tmp_path_factory.mktemp("data") / "tiles", 60)


@pytest.fixture(scope="module")
def whole(tiles, tmp_path_factory):
    """The run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert finish(start(tiles, workdir)) == 0
    return workdir


def read(path):
    """Returns what a checkpoint holds, as orbax reads it."""
    with checkpoint.ocp.Checkpointer(
        checkpoint.ocp.CompositeCheckpointHandler()
    ) as reader:
        return reader.restore(path.absolute())


def outcome(workdir):
    """Returns all that a run leaves and that must not depend on what happened to it."""
    result = json.loads((workdir / "result.json").read_text())
    result.pop("train_seconds")
    with open(workdir / "metrics.csv", newline="") as file:
        rows = [row | {"seconds": ""} for row in csv.DictReader(file)]
    arrays = {
        n: read(workdir / "checkpoints" / n)["meta"]["checksums"]
        for n in ("best", "last")
    }
    assert all(arrays.values())
    return result, rows, arrays


def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(
    tiles, whole, tmp_path
):
    rng, kills, in_saves = random.Random(0), 0, 0
    workdir = tmp_path / "killed"
    while kills < 20:
        child = start(tiles, workdir)
        child.join(rng.uniform(0.2, 3.5))
        if child.exitcode is not None:
            assert child.exitcode == 0
            # Done before the last kill: the same again in another folder.
            assert outcome(workdir) == outcome(whole)
            workdir = tmp_path / f"killed{kills}"
            continue
        child.kill()
        child.join()
        kills += 1
        in_saves += any((workdir / "checkpoints").glob("*.new*"))
    assert finish(start(tiles, workdir)) == 0
    assert outcome(workdir) == outcome(whole)


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_saves_the_state_within_the_epoch(
    tiles, whole, tmp_path, signum, status
):
    workdir = tmp_path / "stopped"
    # Without the signal nothing would be saved within the epoch.
    child = start(tiles, workdir, **{"checkpoint.every_minutes": 10.0})
    last = workdir / "checkpoints/last"
    while not last.exists() and child.exitcode is None:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(child.pid, signum)
    assert finish(child) == status
    saved = last.stat().st_mtime_ns
    assert saved
    assert not (workdir / "result.json").exists()
    assert finish(start(tiles, workdir, **{"checkpoint.every_minutes": 10.0})) == 0
    found, expected = outcome(workdir), outcome(whole)
    assert found == expected


def limit_file_size():
    """From now on no file of this process grows beyond 10 kB: the last bytes of a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


def test_a_full_disk_ends_the_run_and_keeps_what_was_saved(tiles, whole, tmp_path):
    workdir = tmp_path / "full"
    assert finish(start(tiles, workdir, limit_file_size)) == 2
    log = workdir.with_suffix(".log").read_text()
    message = log[log.index("Error: ") :]
    assert f"cannot write {workdir}/checkpoints" in message
    assert "File too large" in message
    assert "MB free there" in message
    assert "Traceback" not in log
    assert finish(start(tiles, workdir)) == 0
    # Nothing that was begun and not finished is left.
    assert not list(workdir.rglob("*.new*"))
    assert outcome(workdir) == outcome(whole)


def test_a_full_disk_is_noticed_before_training(tiles, tmp_path):
    workdir = tmp_path / "full"
    assert finish(start(tiles, workdir, before=limit_file_size)) == 2
    log = workdir.with_suffix(".log").read_text()
    assert f"Error: cannot write {workdir}" in log
    assert "epoch   1" not in log
    assert "Traceback" not in log


def test_a_journal_of_another_version_is_told(tiles, whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    (workdir / "result.json").unlink()
    last = workdir / "checkpoints/last"
    document = json.loads((last / "meta/metadata").read_text())
    document["meta"]["mood"] = "good"
    (last / "meta/metadata").write_text(json.dumps(document))
    manifest = checkpoint._file_checksums(last)
    (last / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    assert finish(start(tiles, workdir)) == 2
    log = workdir.with_suffix(".log").read_text()
    assert "was saved by another version" in log
    assert "Traceback" not in log


def test_a_damaged_best_checkpoint_gives_way_to_the_best_before_it(
    tiles, whole, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    before = json.loads((workdir / "result.json").read_text())
    (workdir / "result.json").unlink()
    best = workdir / "checkpoints/best"
    state = read(best)["state"]
    earlier = before["best_epoch"] - 1
    worse = jax.tree.map(np.zeros_like, state)
    checkpoint.save(best, worse, {"epoch": earlier, "val_loss": 9.0})
    checkpoint.save(best, state, {"epoch": before["best_epoch"], "val_loss": 0.1})
    flip_a_bit(next(best.rglob("manifest.ocdbt")), random.Random(2))
    assert finish(start(tiles, workdir)) == 0
    after = json.loads((workdir / "result.json").read_text())
    assert after["best_epoch"] == earlier
    # A network of zeros gives every pixel the probability 1/2.
    assert after["test"]["loss"] == pytest.approx(np.log(2))
    assert (workdir / "checkpoints/best.damaged-1").exists()
    assert "best is damaged" in workdir.with_suffix(".log").read_text()


def test_runs_without_any_good_checkpoint_end_with_a_clear_error(
    tiles, whole, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    (workdir / "result.json").unlink()
    for path in (workdir / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert finish(start(tiles, workdir)) == 2
    log = workdir.with_suffix(".log").read_text()
    assert f"Error: no good checkpoint is left at {workdir}/checkpoints/last" in log
    assert "Traceback" not in log


def test_tiles_changed_since_the_run_began_are_refused(tiles, whole, tmp_path):
    folder, workdir = tmp_path / "tiles", tmp_path / "run"
    shutil.copytree(tiles, folder)
    assert finish(start(folder, workdir)) == 0
    (workdir / "result.json").unlink()
    for name in ("images", "masks"):
        (folder / name / "t07.png").unlink()
    assert finish(start(folder, workdir)) == 2
    log = workdir.with_suffix(".log").read_text()
    assert "the data have changed" in log
    assert "60 tiles" in log
    assert "59 tiles" in log


def test_a_metric_that_is_no_number_never_becomes_the_best():
    progress = journal.begin(1e-3)
    row = {"epoch": 1, "val_loss": float("nan")}
    assert journal.after_epoch(progress, row, 0.1, 5).best_epoch == 0
