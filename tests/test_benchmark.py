"""The speed measurement: its output, and what it counts."""

import json
import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from program import ROOT, assert_refused

from saltjax import benchmark
from saltjax.data import feed as feeds
from saltjax.networks.fcn import FCN
from saltjax.networks.network import Network
from saltjax.system import devices
from saltjax.training import optimizer, steps
from saltjax.training.steps import Recipe

TINY = (
    "--config=configs/quickstart.py",
    "--config.data.image_size=16",
    "--config.model.features=(4,8)",
)


def start(*args):
    return subprocess.run(
        [sys.executable, "-m", "saltjax.benchmark", *TINY, *args],
        check=False,
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
def test_the_last_line_is_json_with_the_figures():
    done = start("--steps=3", "--batch=4", "--config.train.cpu_devices=2")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["model"] == "unet"
    assert figures["device"] == "2 x cpu"
    assert figures["batch"] == 4
    rates = (
        "train_images_per_s",
        "eval_images_per_s",
        "compile_seconds",
        "train_gflops_per_s",
        "fraction_of_peak",
        "peak_memory_mb",
    )
    assert all(figures[name] > 0 for name in rates)
    assert set(figures) == {"model", "device", "batch", "dtype", "parameters", *rates}


@pytest.mark.parametrize(
    ("option", "word"),
    [("--steps=0", "steps"), ("--config.train.epochs=0", "config.train.epochs=0")],
)
def test_mistakes_end_with_status_2(option, word):
    assert_refused(start(option), word)


@pytest.mark.parametrize("resident", [False, True])
def test_steps_are_counted_and_timed_after_the_warm_up(resident, monkeypatch):
    feed = feeds.create(benchmark.random_tiles(20, 3), devices.data_mesh(), 5, resident)
    seen, now = [], 0

    def call(rows, valid):
        """Takes a second, the next time two."""
        nonlocal now
        seen.append(rows.shape)
        now += len(seen)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    first, step = benchmark.time_calls(feed, np.arange(20), call)
    assert first == 1
    # The median of the seconds after the two calls of the warm-up.
    if resident:
        assert seen == [(4, 8)] * (benchmark.WARM_UP_CALLS + benchmark.RESIDENT_CALLS)
        assert step == 5 / 4
    else:
        assert seen == [(1, 8)] * (benchmark.WARM_UP_CALLS + 4)
        assert step == 4.5


def test_flops_are_those_of_the_convolutions():
    # One 3×3 convolution of 3 to 4 channels, one of 4 to 4, and the head, at 16×16 pixels.
    network = Network(FCN(features=(4,)), 16, "nearest")
    recipe = Recipe(network, optimizer.adam(0.0, True), np.int32(0))
    feed = feeds.create(benchmark.random_tiles(8, 3), devices.data_mesh(), 8, False)
    state = jax.eval_shape(lambda: steps.create_state(recipe, 0))
    forward = 2 * 16 * 16 * 8 * (9 * 3 * 4 + 9 * 4 * 4 + 4)
    # The backward pass: for weights and inputs, but not for the images; element-wise work on top.
    expected = 3 * forward - 2 * 16 * 16 * 8 * 9 * 3 * 4
    found = benchmark.train_flops(feed, state, recipe)
    assert 0.8 * expected < found < 1.5 * expected
