"""Small training states and progress for tests."""

import functools

import jax
import numpy as np

from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.training import optimizer, progress, steps

NETWORK = Network(UNet(features=(2, 4)), 8, "nearest")
RECIPE = steps.Recipe(NETWORK, optimizer.adam(0.1, True), np.int32(0))


def row(epoch, val_loss):
    """Returns a row of metrics.csv."""
    return {
        "epoch": epoch,
        "train_loss": 0.6,
        "train_accuracy": 0.7,
        "val_loss": val_loss,
        "val_accuracy": 0.8,
        "learning_rate": 1e-3,
        "seconds": 1.5,
    }


def after(*losses, select="val_loss"):
    """Returns the progress after epochs with those validation losses."""
    found = progress.begin(1e-3)
    for epoch, loss in enumerate(losses, 1):
        found = progress.after_epoch(found, row(epoch, loss), 0.1, 5, select)
    return found


@functools.cache
def first_state():
    """Returns the state before the first step, as numpy arrays."""
    return jax.device_get(steps.create_state(RECIPE, 0))


def make_state(seed=0, averages=False):
    """Returns a state of random numpy arrays after `seed` steps, if so with averaged weights."""
    rng = np.random.default_rng(seed)

    def draw(tree):
        return jax.tree.map(lambda x: rng.normal(0, 9, x.shape).astype(x.dtype), tree)

    state = first_state()
    inner = draw(state.opt_state.inner_state)
    state = state.replace(
        step=np.array(seed, np.int32),
        params=draw(state.params),
        opt_state=state.opt_state._replace(inner_state=inner),
    )
    return state.replace(averages=draw(state.variables) if averages else {})


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
