"""A run that goes on, on another number of devices."""

import csv
import functools
import itertools
import json
import shutil

import forked
import jax
import numpy as np
import pytest
from PIL import Image
from tile_files import write_sections

from saltjax.runs import checkpoint
from saltjax.training import steps

OPTIONS = (
    "--config=configs/quickstart.py",
    "--config.data.image_size=16",
    "--config.model.features=(4,8)",
    "--config.train.batch_size=8",
    "--config.train.epochs=2",
    "--config.train.matmul_precision=tensorfloat32",
    "--config.model.init=torch_default",
    "--config.optim.decoupled=False",
)
RECIPE = (
    "--config.data.resize=pad",
    "--config.data.augment=affine",
    "--config.model.norm=batch",
    "--config.loss.lovasz=1.0",
    "--config.optim.schedule=cosine",
    "--config.optim.warmup_epochs=1",
    "--config.train.ema=0.9",
)
SAVE_EACH_STEP = "--config.checkpoint.every_minutes=0.0"
STEPS = 6  # of an epoch: 42 of 60 tiles are for training
# Relative to the weights' norm and to each score. The order of sums differs between numbers of
# devices, by 6e-8 in a step; with jaxlib 0.10.1 and 0.12.0 the weights differed by at most 2e-7, and
# the average precision by 5e-6. A step too many or too few would change the weights by 1e-2.
TOLERANCE = 1e-4


def write_small_sections(folder):
    """Writes 60 tiles of 12×10 pixels, cut out of synthetic sections; none is constant.

    In a constant image group norm divides rounding errors by the root of its epsilon, and they decide
    on which side of its kink a ReLU is: weights then differ by up to 1e-2 after the first step.
    """
    write_sections(folder, 60, seed=0)
    for path in folder.rglob("*.png"):
        Image.open(path).crop((40, 40, 50, 52)).save(path)
    return folder


def copy_in_step(step, workdir, copy):
    """Copies the run directory in that call of the training step: what a kill there would leave."""
    train_call, calls = steps.train_call, itertools.count(1)

    def train_call_and_copy(*args):
        if next(calls) == step:
            shutil.copytree(workdir, copy)
        return train_call(*args)

    steps.train_call = train_call_and_copy


def run(options, tiles, workdir, cpu_devices, prepare=None):
    """Returns the exit status of a training."""
    options = (*OPTIONS, *options, f"--config.train.cpu_devices={cpu_devices}")
    return forked.finish(forked.start_training(options, tiles, workdir, prepare))


def outcome(workdir):
    """Returns the last weights, averaged if they are, rows of metrics.csv and test scores."""
    with checkpoint.ocp.Checkpointer(
        checkpoint.ocp.CompositeCheckpointHandler()
    ) as reader:
        path = (workdir / "checkpoints/last").absolute()
        state = reader.restore(path)["state"]
    params = state.get("averages", state)["params"]
    with open(workdir / "metrics.csv", newline="") as file:
        rows = [
            [float(r[key]) for key in r if key != "seconds"]
            for r in csv.DictReader(file)
        ]
    test = json.loads((workdir / "result.json").read_text())["test"]
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)]), rows, test


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), RECIPE], ids=["study", "recipe"])
def test_a_run_begun_on_four_devices_and_resumed_on_two_is_about_the_same(
    tmp_path, options
):
    tiles = write_small_sections(tmp_path / "tiles")
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    copy = functools.partial(copy_in_step, STEPS + 3, whole, moved)
    saved = (*options, SAVE_EACH_STEP)
    assert run(saved, tiles, whole, 4, copy) == 0
    assert run(options, tiles, moved, 2) == 0
    log = (tmp_path / "moved.log").read_text()
    assert "Resuming after step 2 of epoch 2" in log
    assert "Device     4 × cpu" in (tmp_path / "whole.log").read_text()
    assert "Device     2 × cpu" in log
    (weights, rows, test), (expected, expected_rows, expected_test) = (
        outcome(workdir) for workdir in (moved, whole)
    )
    assert len(rows) == 2
    # The first epoch was on the same devices.
    assert rows[0] == expected_rows[0]
    np.testing.assert_allclose(rows, expected_rows, rtol=TOLERANCE)
    error = np.linalg.norm(weights - expected) / np.linalg.norm(expected)
    assert 0 < error < TOLERANCE
    for name, value in expected_test.items():
        assert test[name] == pytest.approx(value, rel=TOLERANCE), name
