"""Runs with every part of the recipe: what they write, and that they resume without a trace."""

import csv
import functools
import itertools
import json
import os
import signal

import forked
import jax
import numpy as np
import pytest
import reference
from run_outcome import outcome, read_checkpoint
from tile_files import write_tiles

import saltjax
from saltjax.runs import checkpoint

OPTIONS = (
    "--config=configs/best.py",
    "--config.data.image_size=16",
    "--config.model.features=(4,8)",
    "--config.train.batch_size=8",
    "--config.train.epochs=3",
    "--config.train.ema=0.9",
    "--config.train.cpu_devices=2",
    "--config.optim.warmup_epochs=1",
)
STEPS = 6  # of an epoch: 42 of 60 tiles are for training


def run(tiles, workdir, *args, prepare=None):
    """Returns the exit status of a training."""
    options = (*OPTIONS, *args)
    return forked.finish(forked.start_training(options, tiles, workdir, prepare))


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return write_tiles(tmp_path_factory.mktemp("data") / "tiles", 60)


@pytest.fixture(scope="module")
def whole(tiles, tmp_path_factory):
    """A run that nothing interrupts."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert run(tiles, workdir) == 0
    return workdir


def rows_of(workdir):
    with open(workdir / "metrics.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_rate_of_an_epoch_is_that_of_its_last_step(whole):
    rates = [row["learning_rate"] for row in rows_of(whole)]
    last = (STEPS - 1, 2 * STEPS - 1, 3 * STEPS - 1)
    expected = [reference.cosine_rate(i, 1e-3, STEPS, 3 * STEPS) for i in last]
    assert rates == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_last_epoch_is_tested_and_none_is_called_the_best(whole):
    result = json.loads((whole / "result.json").read_text())
    assert (result["best_epoch"], result["epochs"]) == (3, 3)
    assert not result["stopped_early"]
    log = forked.log_of(whole).read_text()
    assert "Testing the network of epoch 3 " in log
    lines = [line for line in log.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 3
    assert not any(line.endswith("best") for line in lines)
    for line, row in zip(lines, rows_of(whole)):
        assert f" Kaggle mAP {row['val_kaggle_map']:.4f} " in line
        assert 0 < row["train_lovasz"] < 3


@pytest.mark.slow
def test_averages_are_saved_as_best_and_applied(whole):
    best, last = (
        read_checkpoint(whole / "checkpoints" / name)["state"]
        for name in ("best", "last")
    )
    jax.tree.map(np.testing.assert_array_equal, best, last["averages"])
    weights = [state["params"]["head"]["kernel"] for state in (best, last)]
    assert not np.array_equal(*weights)
    found = saltjax.load(whole).variables
    jax.tree.map(np.testing.assert_array_equal, dict(found), best)


def kill_before_last(call):
    """Kills this process before that save of the checkpoint `last`."""
    save, calls = checkpoint.save, itertools.count(1)

    def save_or_die(path, *args):
        if path.name == "last" and next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        save(path, *args)

    checkpoint.save = save_or_die


@pytest.mark.slow
def test_a_stopped_and_killed_run_ends_with_the_same_result(tiles, whole, tmp_path):
    """Stopped within the second epoch and before its validation, killed between best and last."""
    workdir = tmp_path / "run"
    for call in (STEPS + 3, 3):
        stop = functools.partial(forked.send_signal, signal.SIGTERM, call)
        assert run(tiles, workdir, prepare=stop) == 143
    kill = functools.partial(kill_before_last, 1)
    assert run(tiles, workdir, prepare=kill) == -signal.SIGKILL
    saved = read_checkpoint(workdir / "checkpoints/best")["meta"]["meta"]
    assert saved["epoch"] == 2
    assert run(tiles, workdir) == 0
    log = forked.log_of(workdir).read_text()
    assert log.count("Resuming after step 3 of epoch 2") == 1
    assert log.count(f"Resuming after step {STEPS} of epoch 2") == 2
    assert outcome(workdir) == outcome(whole)
