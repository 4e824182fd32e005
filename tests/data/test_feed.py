import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from saltjax.data import feed as pipeline
from saltjax.data import synthetic
from saltjax.networks import unet as models
from saltjax.scoring import scores as scoring
from saltjax.system import devices
from saltjax.training import optimizer, steps


def outcome(resident):
    """Returns weights, each tile's loss and validation scores after an epoch of three steps."""
    network = steps.Network(models.UNet(features=(4, 8)), 16, "nearest")
    tx = optimizer.adamw(0.01)
    mesh = devices.data_mesh()
    tiles = synthetic.make_tiles(30, seed=0)
    feed = pipeline.create(tiles, mesh, 9, resident)
    state = devices.replicate(steps.create_state(network, tx, seed=0), mesh)
    order, losses = np.arange(30)[::-3], []
    for rows, valid in pipeline.calls(feed, np.concatenate([order, order + 1])):
        state, means = pipeline.train_call(
            feed, state, rows % 30, valid, 1e-2, 0, network=network, tx=tx
        )
        losses.append(pipeline.valid_means(means, valid)["loss"])
    scores = scoring.mean_scores(
        feed, state.variables, np.arange(20), network, lambda: None
    )
    return jax.device_get(state.params), np.concatenate(losses), scores


def test_many_steps_in_one_call_are_the_same_steps():
    one_a_call, resident = outcome(resident=False), outcome(resident=True)
    assert one_a_call[1].shape == (20,)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        resident,
        one_a_call,
    )


@pytest.mark.parametrize("resident", [False, True])
def test_calls_begin_where_an_epoch_was_cut_off(resident, monkeypatch):
    monkeypatch.setattr(pipeline, "MAX_STEPS_PER_CALL", 2)
    tiles = synthetic.make_tiles(50, seed=0)
    feed = pipeline.create(tiles, devices.data_mesh(), 8, resident)
    indices = np.arange(50)
    seen = [rows[valid] for rows, valid in pipeline.calls(feed, indices, first=3)]
    assert np.concatenate(seen).tolist() == list(range(24, 50))
    assert [len(s) for s in seen] == ([16, 10] if resident else [8, 8, 8, 2])


def test_two_hosts_compute_what_one_does(tmp_path):
    """Two processes with four devices each, against three devices of this one."""
    with socket.socket() as server:
        server.bind(("localhost", 0))
        address = f"localhost:{server.getsockname()[1]}"
    hosts = [
        subprocess.Popen(
            [sys.executable, __file__, address, str(i), str(tmp_path / f"{i}.npz")],
            cwd=pathlib.Path(__file__).parents[2],
            env=os.environ | {"PYTHONPATH": "."},
        )
        for i in range(2)
    ]
    assert [host.wait(timeout=120) for host in hosts] == [0, 0]
    expected = two_steps_and_a_prediction(Mesh(np.array(jax.devices()[:3]), ("data",)))
    for i in range(2):
        found = np.load(tmp_path / f"{i}.npz")
        assert found.keys() == expected.keys()
        for key in expected:
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-5)


def two_steps_and_a_prediction(mesh):
    network = steps.Network(models.UNet(features=(4, 8)), 16, "nearest")
    tx = optimizer.adamw(0.01)
    feed = pipeline.create(synthetic.make_tiles(10, seed=0), mesh, 7, resident=False)
    state = devices.replicate(steps.create_state(network, tx, seed=0), mesh)
    for rows, valid in pipeline.calls(feed, np.arange(10)):
        state, means = pipeline.train_call(
            feed, state, rows, valid, 1e-2, 0, network=network, tx=tx
        )
    loss = pipeline.valid_means(means, valid)["loss"]
    outputs = scoring.predict_tiles(
        feed, state.variables, np.arange(10), network, tta=False
    )
    return {"loss": loss, "prob": outputs.prob, "test_loss": outputs.loss}


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4)
    jax.distributed.initialize(
        sys.argv[1], num_processes=2, process_id=int(sys.argv[2])
    )
    np.savez(sys.argv[3], **two_steps_and_a_prediction(devices.data_mesh()))
