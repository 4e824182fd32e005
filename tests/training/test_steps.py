import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

from saltjax.data import feed as feeds
from saltjax.data import synthetic
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.system import devices
from saltjax.training import optimizer, steps

NETWORK = Network(UNet(features=(2, 4)), 8, "nearest")
# Compiled faster.
ONE_LEVEL = Network(UNet(features=(2,)), 8, "nearest")
# With SGD at rate 1 the change of the parameters is the negative gradient.
SGD = optax.sgd(1.0)


def make_recipe(tx=SGD, network=ONE_LEVEL, seed=0):
    return steps.Recipe(network, tx, np.int32(seed))


def make_batch(count, seed=0, padding=0):
    """Returns a batch of the network's size whose last tiles are padding."""
    rng = np.random.default_rng(seed)
    valid = np.arange(count) < count - padding
    return {
        "image": rng.integers(0, 256, (count, 8, 8, 3), np.uint8),
        "label": rng.integers(0, 2, (count, 8, 8, 1), np.uint8),
        "weight": (valid / valid.sum()).astype(np.float32),
    }


def numpy_loss(params, batch):
    """Returns the loss of each tile in float64, by the numpy network."""
    logits = reference.unet(batch["image"] / 255, params, 2, strided=False, skip=True)
    signed = np.where(batch["label"], -logits, logits)
    return np.log1p(np.exp(signed)).mean(axis=(1, 2, 3))


def test_step_follows_the_gradient_of_the_loss_of_valid_tiles():
    recipe, batch = make_recipe(network=NETWORK), make_batch(3, padding=1)
    state = steps.create_state(recipe, seed=0)
    before = jax.tree.map(lambda x: np.asarray(x, np.float64), state.params)
    state, means = steps.train_step(state, batch, recipe)
    np.testing.assert_allclose(means["loss"], numpy_loss(before, batch), rtol=1e-5)
    assert int(state.step) == 1
    # Central differences along random directions, the mean over two of the three tiles.
    rng, h = np.random.default_rng(1), 1e-6
    change = jax.tree.map(lambda a, b: np.asarray(a) - b, state.params, before)
    for _ in range(5):
        direction = jax.tree.map(lambda x: rng.normal(0, 1, x.shape), before)
        up, down = (
            numpy_loss(
                jax.tree.map(lambda x, d, s=s: x + s * h * d, before, direction), batch
            )[:2].mean()
            for s in (1, -1)
        )
        products = jax.tree.map(lambda c, d: (c * d).sum(), change, direction)
        slope = -sum(jax.tree.leaves(products))
        assert (up - down) / (2 * h) == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("way", ["nearest", "bilinear", "pad"])
@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
def test_steps_hold_no_scatter(way, upsample):
    """On GPUs its sums have no fixed order, and XLA's deterministic kernels have none for some."""
    # Mirrored from 9 pixels to 10.
    network = Network(UNet((2, 4), upsample=upsample, norm="batch"), 9, way)
    recipe = make_recipe(optimizer.adam(0.0, True), network)
    state = jax.eval_shape(lambda: steps.create_state(recipe, seed=0))
    lowered = steps.train_step.lower(state, make_batch(2), recipe).as_text()
    assert "stablehlo.convolution" in lowered
    assert "scatter" not in lowered


def test_padding_changes_neither_weights_nor_other_means():
    recipe = make_recipe(network=Network(UNet((2,), norm="batch"), 8, "nearest"))
    batch = make_batch(4, padding=2)
    other = make_batch(4, seed=1)
    padded = {
        name: np.concatenate([batch[name][:2], other[name][2:]]) for name in batch
    } | {"weight": batch["weight"]}
    outcomes = []
    for each in (batch, padded):
        state = steps.create_state(recipe, seed=0)
        state, means = steps.train_step(state, each, recipe)
        outcomes.append((state, {name: x[:2] for name, x in means.items()}))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *outcomes
    )
    assert outcomes[0][0].variables["batch_stats"]


def test_weights_follow_from_the_seed():
    recipe = make_recipe(optimizer.adam(0.0, True))
    first, same, other = (steps.create_state(recipe, seed) for seed in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, first.params, same.params)
    kernels = (state.params["head"]["kernel"] for state in (first, other))
    assert not np.array_equal(*kernels)
    assert (int(first.step), first.batch_stats) == (0, {})
    assert first.variables == {"params": first.params, "batch_stats": {}}


def test_learning_rate_scales_the_step():
    batch, changes = make_batch(2), []
    recipe = make_recipe(optimizer.adam(0.0, True))
    for rate in (0.0, 1e-3, 2e-3):
        state = steps.with_learning_rate(steps.create_state(recipe, 0), rate)
        before = np.asarray(state.params["head"]["bias"])
        state, _ = steps.train_step(state, batch, recipe)
        changes.append(float((state.params["head"]["bias"] - before)[0]))
    assert changes[0] == 0
    # Adam's first step is the rate, up to eps.
    assert np.abs(changes[1:]) == pytest.approx([1e-3, 2e-3], rel=1e-3)


def test_new_rates_and_seeds_do_not_compile_again():
    recipe = make_recipe(optimizer.adam(0.01, True))
    mesh = devices.data_mesh()
    batch = devices.shard(make_batch(4), mesh)
    state = devices.replicate(steps.create_state(recipe, 0), mesh)
    before = steps.train_step._cache_size()
    for rate, seed in ((1e-3, 0), (1e-4, 0), (1e-4, 7)):
        state = steps.with_learning_rate(state, rate)
        # The first step of an epoch is with a new rate, the others with that of the state.
        for _ in range(2):
            other = make_recipe(optimizer.adam(0.01, True), seed=seed)
            state, _ = steps.train_step(state, batch, other)
            found = state.opt_state.hyperparams["learning_rate"]
            assert float(found) == np.float32(rate)
    assert steps.train_step._cache_size() == before + 1
    # Another optimizer is compiled.
    steps.train_step(state, batch, make_recipe(optimizer.adam(0.02, True)))
    assert steps.train_step._cache_size() == before + 2


def test_dropout_follows_from_seed_and_step():
    network = Network(UNet(features=(2,), dropout=0.5), 8, "nearest")
    batch = make_batch(2)

    def loss(seed, step):
        recipe = make_recipe(network=network, seed=seed)
        state = steps.create_state(recipe, seed=0)
        state = dataclasses.replace(state, step=jnp.int32(step))
        return np.asarray(steps.train_step(state, batch, recipe)[1]["loss"]).tolist()

    assert loss(0, 5) == loss(0, 5)
    assert loss(0, 5) != loss(0, 6)
    assert loss(0, 5) != loss(1, 5)


@pytest.fixture(scope="module")
def tiles():
    return synthetic.make_tiles(7, seed=0)


def test_steps_of_one_call_are_those_of_several(tiles):
    """Five tiles of seven, on four devices in batches of two, the last one of a single tile."""
    mesh, recipe = devices.data_mesh(), make_recipe(optimizer.adam(0.0, True))
    order, outcomes = np.array([6, 1, 3, 0, 5]), []
    for resident in (False, True):
        feed = feeds.create(tiles, mesh, 2, resident)
        state = devices.replicate(steps.create_state(recipe, seed=0), mesh)
        state, losses = steps.with_learning_rate(state, 1e-3), []
        for batch, valid in feeds.calls(feed, order):
            state, means = steps.train_call(feed, state, batch, valid, recipe)
            losses.append(feeds.valid_means(means, valid)["loss"])
        assert len(losses) == (1 if resident else 3)
        outcomes.append((jax.device_get(state), np.concatenate(losses)))
    assert outcomes[0][1].shape == (5,)
    assert int(outcomes[0][0].step) == 3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *outcomes
    )


def test_weights_do_not_depend_on_the_number_of_steps_in_a_call(tiles):
    mesh, recipe = devices.data_mesh(1), make_recipe(optimizer.adam(0.0, True))
    feed, outcomes = feeds.create(tiles, mesh, 2, resident=True), []
    for count in (1, 2, 3, 4):
        part = dataclasses.replace(feed, steps_per_call=count)
        state = devices.replicate(steps.create_state(recipe, seed=0), mesh)
        state = steps.with_learning_rate(state, 1e-3)
        for batch, valid in feeds.calls(part, np.arange(7)):
            state, _ = steps.train_call(part, state, batch, valid, recipe)
        outcomes.append(jax.device_get(state))
    assert int(outcomes[0].step) == 4
    for outcome in outcomes[1:]:
        jax.tree.map(np.testing.assert_array_equal, outcome, outcomes[0])


@pytest.mark.parametrize(
    ("step_seconds", "count"), [(0.015, 66), (2.0, 1), (1e-6, 1024)]
)
def test_steps_of_a_call_take_about_a_second(tiles, monkeypatch, step_seconds, count):
    mesh, recipe = devices.data_mesh(1), make_recipe()
    now, counts = 0.0, []

    def train_call(feed, state, batch, valid, recipe):
        """Takes a minute to compile, then the time of its steps."""
        nonlocal now
        counts.append(len(valid))
        now += 60 if len(counts) == 1 else len(valid) * step_seconds
        return jax.tree.map(lambda x: x.delete(), state), {}

    monkeypatch.setattr(steps, "train_call", train_call)
    monkeypatch.setattr(steps.time, "perf_counter", lambda: now)
    state = devices.replicate(steps.create_state(recipe, seed=0), mesh)
    feed = feeds.create(tiles, mesh, 2, resident=True)
    assert steps.timed_feed(feed, state, recipe).steps_per_call == count
    assert counts == [8, 8]
    assert np.isfinite(state.params["head"]["bias"]).all()  # not donated
    host = feeds.create(tiles, mesh, 2, resident=False)
    assert steps.timed_feed(host, state, recipe) is host


def test_last_batch_is_the_mean_over_its_own_tiles(tiles):
    """A batch of one tile, padded, moves the weights as that tile alone."""
    mesh, recipe = devices.data_mesh(1), make_recipe()
    changed = []
    for batch_size in (1, 4):
        feed = feeds.create(tiles, mesh, batch_size, resident=False)
        ((batch, valid),) = feeds.calls(feed, np.array([3]))
        state = steps.create_state(recipe, seed=0)
        state, _ = steps.train_call(feed, state, batch, valid, recipe)
        changed.append(state.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *changed
    )
