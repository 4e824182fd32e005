import dataclasses
import logging
import os
import pathlib
import socket
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from variables import draw_variables

from saltjax.data import feed as feeds
from saltjax.data.tiles import Tiles
from saltjax.inference import evaluation
from saltjax.inference.windows import SectionModel
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.scoring import scores
from saltjax.system import devices
from saltjax.training import optimizer, steps


def make_tiles(count):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 12, 10, 3), np.uint8)
    labels = rng.integers(0, 2, (count, 12, 10, 1), np.uint8)
    return Tiles(tuple(map(str, range(count))), images, labels, "folder")


def train(feed, order):
    """Returns the network, its state after a pass over the tiles in that order, and their losses."""
    network = Network(UNet(features=(4, 8)), 16, "nearest")
    recipe = steps.Recipe(network, optimizer.adam(0.01, True), np.int32(0))
    variables = draw_variables(network.model)
    opt_state = recipe.tx.init(variables["params"])
    state = steps.TrainState(np.int32(0), opt_state=opt_state, averages={}, **variables)
    state, losses = devices.replicate(state, feed.mesh), []
    state = steps.with_learning_rate(state, 1e-2)
    for batch, valid in feeds.calls(feed, order):
        state, means = steps.train_call(feed, state, batch, valid, recipe)
        losses.append(feeds.valid_means(means, valid)["loss"])
    return network, state, np.concatenate(losses)


def weights_and_scores(resident):
    """Returns weights, each tile's loss and validation scores after an epoch of three steps."""
    feed = feeds.create(make_tiles(30), devices.data_mesh(), 9, resident)
    order = np.arange(30)[::-3]
    network, state, losses = train(feed, np.concatenate([order, order + 1]) % 30)
    means = scores.mean_scores(
        feed, state.variables, np.arange(20), network, lambda: None, True
    )
    return jax.device_get(state.params), losses, means


@pytest.mark.slow
def test_many_steps_in_one_call_equal_one_step_a_call():
    one_a_call, resident = (weights_and_scores(resident) for resident in (False, True))
    assert one_a_call[1].shape == (20,)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        resident,
        one_a_call,
    )


@pytest.mark.parametrize("resident", [False, True])
def test_calls_start_at_any_step_of_an_epoch(resident, monkeypatch):
    monkeypatch.setattr(feeds, "MAX_STEPS_PER_CALL", 2)
    feed = feeds.create(make_tiles(50), devices.data_mesh(), 8, resident)
    indices = np.arange(50)
    seen = [rows[valid] for rows, valid in feeds.call_rows(feed, indices, first=3)]
    assert np.concatenate(seen).tolist() == list(range(24, 50))
    assert [len(s) for s in seen] == ([16, 10] if resident else [8, 8, 8, 2])


def test_grey_tiles_take_one_channel_on_the_devices_and_give_the_same_bits():
    colour, mesh = make_tiles(20), devices.data_mesh()
    grey = dataclasses.replace(colour, images=np.repeat(colour.images[..., :1], 3, 3))
    whole = {"image": grey.images, "label": grey.labels}
    feed = feeds.create(grey, mesh, 9, resident=True)
    three = dataclasses.replace(feed, resident=devices.replicate(whole, mesh))
    assert feed.resident["image"].shape == (20, 12, 10, 1)
    assert feeds.create(colour, mesh, 9, True).resident["image"].shape[3] == 3
    rows = np.array([3, 3, 19, 0])
    for name, x in feeds.resident_batch(feed.resident, rows).items():
        np.testing.assert_array_equal(x, whole[name][rows])
    (_, state, losses), expected = (train(f, np.arange(20)) for f in (feed, three))
    np.testing.assert_array_equal(losses, expected[2])
    jax.tree.map(np.testing.assert_array_equal, state.params, expected[1].params)


@pytest.mark.parametrize("channels", [3, 5])
def test_tiles_of_several_lines_keep_their_channels_on_the_devices(channels):
    images = np.random.default_rng(0).integers(0, 256, (9, 6, 5, channels), np.uint8)
    labels = np.zeros((9, 6, 5, 1), np.uint8)
    for lines in (images, np.repeat(images[..., :1], channels, axis=3)):
        tiles = Tiles(tuple(map(str, range(9))), lines, labels, "volume")
        feed = feeds.create(tiles, devices.data_mesh(), 3, resident=True)
        rows = np.array([4, 0, 8])
        found = feeds.resident_batch(feed.resident, rows)["image"]
        np.testing.assert_array_equal(found, lines[rows])


@pytest.mark.parametrize("free", [None, 14399, 14400])
def test_tiles_that_do_not_fit_come_from_the_host(monkeypatch, caplog, free):
    """Twenty tiles of 12 × 10 pixels of 1 + 1 channels need 4800 bytes, in colour 9600."""
    caplog.set_level(logging.INFO, "saltjax")
    monkeypatch.setattr(devices, "free_memory", lambda mesh: free)
    monkeypatch.setattr(feeds, "RESIDENT_SHARE", 2 / 3)
    feed = feeds.create(make_tiles(20), devices.data_mesh(), 9, resident=True)
    if free == 14399:
        assert (feed.resident, feed.steps_per_call) == (None, 1)
        assert "batches come from the host" in caplog.text
    else:
        assert feed.steps_per_call > 1
        assert not caplog.text
    for (batch, valid), k in zip(feeds.calls(feed, np.arange(20)), range(3)):
        if feed.resident is None:
            expected = feed.tiles.images[9 * k : 9 * k + 9]
            np.testing.assert_array_equal(batch["image"][: len(expected)], expected)
            assert valid.sum() == len(expected)


def test_batches_are_put_on_the_devices_two_ahead(monkeypatch):
    feed = feeds.create(make_tiles(50), devices.data_mesh(), 8, resident=False)
    put = []
    monkeypatch.setattr(feeds, "host_batch", lambda feed, rows: put.append(rows[0]))
    seen = [list(put) for _ in feeds.calls(feed, np.arange(50))]
    firsts = [0, 8, 16, 24, 32, 40, 48]
    assert seen == [firsts[: k + 3] for k in range(7)]


class Stored:
    """Pixels that are read when they are indexed."""

    def __init__(self, array):
        self.array, self.shape, self.nbytes = array, array.shape, array.nbytes

    def __getitem__(self, key):
        return self.array[key]


@pytest.mark.parametrize("first", [0, 2])
def test_tiles_that_are_read_give_the_same_batches(first):
    tiles, mesh, order = make_tiles(40), devices.data_mesh(), np.arange(40)[::-1]
    stored = {name: Stored(getattr(tiles, name)) for name in ("images", "labels")}
    read = dataclasses.replace(tiles, **stored)
    made = [
        feeds.create(x, mesh, 9, resident)
        for x, resident in ((tiles, False), (read, True))
    ]
    assert made[1].resident is None
    expected, found = (list(feeds.calls(feed, order, first)) for feed in made)
    assert len(found) == 5 - first
    for (a, valid_a), (b, valid_b) in zip(expected, found, strict=True):
        np.testing.assert_array_equal(valid_a, valid_b)
        for name in ("image", "label"):
            np.testing.assert_array_equal(a[name], b[name])
            assert a[name].sharding == b[name].sharding


def test_free_memory_is_that_of_the_fullest_device():
    class Device:
        def __init__(self, stats):
            self.memory_stats = lambda: stats

    def free(*stats):
        return devices.free_memory(
            types.SimpleNamespace(local_devices=map(Device, stats))
        )

    a, b = ({"bytes_limit": 100, "bytes_in_use": n} for n in (30, 90))
    assert free(a, b) == 10
    assert free(a, None) is None
    assert free(a, {"bytes_in_use": 1}) is None


def test_batches_contain_every_tile_once_and_padding_is_invalid():
    indices = np.arange(10)[::-1]
    rows, valid = feeds.batch_rows(indices, batch_size=4, padded_size=6)
    # Each batch is padded with its first tile.
    expected = [[9, 8, 7, 6, 9, 9], [5, 4, 3, 2, 5, 5], [1, 0, 1, 1, 1, 1]]
    np.testing.assert_array_equal(rows, expected)
    assert valid.sum(axis=1).tolist() == [4, 4, 2]
    assert rows[valid].tolist() == indices.tolist()


def test_order_differs_by_epoch_and_seed_and_is_reproducible():
    indices = np.arange(100, 200)
    orders = [
        tuple(feeds.epoch_order(indices, seed, epoch))
        for seed in (0, 1)
        for epoch in (1, 2)
    ]
    assert len(set(orders)) == 4
    assert all(sorted(order) == indices.tolist() for order in orders)
    assert tuple(feeds.epoch_order(indices, 0, 1)) == orders[0]


@pytest.mark.slow
def test_two_hosts_compute_the_same_as_one(tmp_path):
    """Two processes with four devices each, against three devices of this one."""
    with socket.socket() as server:
        server.bind(("localhost", 0))
        address = f"localhost:{server.getsockname()[1]}"
    root = pathlib.Path(__file__).parents[2]
    hosts = [
        subprocess.Popen(
            [sys.executable, __file__, address, str(i), str(tmp_path / f"{i}.npz")],
            cwd=root,
            env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
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
    found = {}
    for resident in (False, True):
        feed = feeds.create(make_tiles(10), mesh, 7, resident)
        network, state, losses = train(feed, np.arange(10))
        variables = jax.device_get(state.variables)
        model = SectionModel(network, variables, (12, 10), 7, tta=False)
        outputs = evaluation.predict_tiles(feed.tiles, np.arange(10), model)
        outcome = {"loss": losses, "prob": outputs.prob, "test_loss": outputs.loss}
        found |= {f"{name} {resident}": value for name, value in outcome.items()}
    return found


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4)
    jax.distributed.initialize(
        sys.argv[1], num_processes=2, process_id=int(sys.argv[2])
    )
    np.savez(sys.argv[3], **two_steps_and_a_prediction(devices.data_mesh()))
