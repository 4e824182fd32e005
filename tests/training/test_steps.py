import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

from saltjax.data import feed as feeds
from saltjax.data import synthetic
from saltjax.data.tiles import UNLABELLED
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.system import devices
from saltjax.training import losses, optimizer, schedules, steps

NETWORK = Network(UNet(features=(2, 4)), 8, "nearest")
# Compiled faster.
ONE_LEVEL = Network(UNet(features=(2,)), 8, "nearest")
# With SGD at rate 1 the change of the parameters is the negative gradient.
SGD = optax.sgd(1.0)


def make_recipe(tx=SGD, network=ONE_LEVEL, seed=0, **options):
    return steps.Recipe(network, tx, np.int32(seed), **options)


def make_batch(count, seed=0, padding=0):
    """Returns a batch of the network's size whose last tiles are padding."""
    rng = np.random.default_rng(seed)
    valid = np.arange(count) < count - padding
    return {
        "image": rng.integers(0, 256, (count, 8, 8, 3), np.uint8),
        "label": rng.integers(0, 2, (count, 8, 8, 1), np.uint8),
        "weight": (valid / valid.sum()).astype(np.float32),
    }


def numpy_losses(params, batch, margin):
    """Returns cross-entropy and Lovász hinge of each tile in float64, by the numpy network.

    Tiles are mirrored by `margin` pixels on every side, which count in no loss.
    """
    around = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    image = np.pad(batch["image"] / 255, around, mode="reflect")
    logits = reference.unet(image, params, 2, strided=False, skip=True)
    logits = logits[:, margin : margin + 8, margin : margin + 8]
    signed = np.where(batch["label"], -logits, logits)
    entropy = np.log1p(np.exp(signed)).mean(axis=(1, 2, 3))
    lovasz = map(reference.symmetric_lovasz, logits, batch["label"].astype(float))
    return entropy, np.array(list(lovasz))


@pytest.mark.parametrize(("margin", "lovasz"), [(0, 0.0), (4, 0.5)])
def test_step_follows_the_gradient_of_the_loss_of_valid_tiles(margin, lovasz):
    network = Network(NETWORK.model, 8 + 2 * margin, "pad" if margin else "nearest")
    recipe = make_recipe(network=network, lovasz=lovasz)
    batch = make_batch(3, padding=1)
    state = steps.create_state(recipe, seed=0)
    before = jax.tree.map(lambda x: np.asarray(x, np.float64), state.params)
    state, means = steps.train_step(state, batch, recipe)
    entropy, hinge = numpy_losses(before, batch, margin)
    np.testing.assert_allclose(means["loss"], entropy, rtol=1e-5)
    assert means.keys() == {"loss", "accuracy"} | ({"lovasz"} if lovasz else set())
    if lovasz:
        np.testing.assert_allclose(means["lovasz"], hinge, rtol=1e-5)
    assert int(state.step) == 1
    # Central differences along random directions, the mean over two of the three tiles.
    rng, h = np.random.default_rng(1), 1e-6
    change = jax.tree.map(lambda a, b: np.asarray(a) - b, state.params, before)
    for _ in range(5):
        direction = jax.tree.map(lambda x: rng.normal(0, 1, x.shape), before)
        moved = (
            jax.tree.map(lambda x, d, s=s: x + s * h * d, before, direction)
            for s in (1, -1)
        )
        up, down = (
            (entropy + lovasz * hinge)[:2].mean()
            for entropy, hinge in (numpy_losses(x, batch, margin) for x in moved)
        )
        products = jax.tree.map(lambda c, d: (c * d).sum(), change, direction)
        slope = -sum(jax.tree.leaves(products))
        assert (up - down) / (2 * h) == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("way", ["nearest", "bilinear", "pad"])
@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
def test_steps_hold_no_scatter(way, upsample):
    """On GPUs its sums have no fixed order, and XLA's deterministic kernels have none for some.

    But for one that sums nothing: what the hinge's sort moves returns to places that all differ.
    """
    # Mirrored from 9 pixels to 10.
    network = Network(UNet((2, 4), upsample=upsample, norm="batch"), 9, way)
    recipe = make_recipe(
        optimizer.adam(0.0, True), network, lovasz=1.0, augment="affine", ema=0.9
    )
    state = jax.eval_shape(lambda: steps.create_state(recipe, seed=0))
    lowered = steps.train_step.lower(state, make_batch(2), recipe).as_text()
    assert "stablehlo.convolution" in lowered
    scatters = [x for x in lowered.splitlines() if "stablehlo.scatter" in x]
    assert ["unique_indices = true" in x for x in scatters] == [True]


@pytest.mark.parametrize(
    "options", [{}, {"augment": "affine", "lovasz": 1.0, "ema": 0.5}]
)
def test_padding_changes_neither_weights_nor_other_means(options):
    network = Network(UNet((2,), norm="batch"), 8, "nearest")
    recipe = make_recipe(network=network, **options)
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


def test_rate_of_a_step_is_that_of_the_schedule():
    """As if it were set before each step, whatever is set."""
    tx, batch = optimizer.adam(0.1, True), make_batch(2)
    scheduled = make_recipe(tx, schedule=schedules.cosine(0.25, 2, 6))
    state = steps.with_learning_rate(steps.create_state(scheduled, 0), 77.0)
    expected = steps.create_state(make_recipe(tx), 0)
    for step in range(6):
        rate = reference.cosine_rate(step, 0.25, 2, 6)
        expected = steps.with_learning_rate(expected, rate)
        expected, _ = steps.train_step(expected, batch, make_recipe(tx))
        before = float(state.params["head"]["bias"][0])
        state, _ = steps.train_step(state, batch, scheduled)
        if step == 0:  # Adam's first step is the rate, up to eps
            change = float(state.params["head"]["bias"][0]) - before
            assert abs(change) == pytest.approx(0.125, rel=1e-3)
        found = float(state.opt_state.hyperparams["learning_rate"])
        assert found == pytest.approx(rate, rel=1e-6)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            state.params,
            expected.params,
        )


@pytest.mark.parametrize(("decay", "count"), [(0.5, 3), (0.9, 60), (0.999999, 20)])
def test_averages_weigh_each_step_by_the_powers_of_the_decay(decay, count):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (count, 5))
    weights = decay ** np.arange(count - 1, -1, -1.0)
    expected = (weights / weights.sum()) @ values
    found = {"a": np.full(5, 10, np.float32)}  # the initial ones have no weight
    for step, value in enumerate(values, 1):
        found = steps.averaged(found, {"a": np.float32(value)}, np.int32(step), decay)
    np.testing.assert_allclose(found["a"], expected, rtol=1e-4, atol=2e-6)
    constant = {"a": np.full(5, 0.75, np.float32)}
    found = steps.averaged(constant, constant, np.int32(count), decay)
    np.testing.assert_allclose(found["a"], 0.75, rtol=1e-6)  # the sum of weights is 1


def test_averaged_weights_and_statistics_are_the_variables_of_a_state():
    network = Network(UNet((2,), norm="batch"), 8, "nearest")
    outcomes, batch = [], make_batch(2)
    for options in ({"ema": 0.5}, {}):
        recipe = make_recipe(network=network, **options)
        state, seen = steps.create_state(recipe, seed=0), []
        for _ in range(3):
            state, _ = steps.train_step(state, batch, recipe)
            seen.append(
                jax.device_get(
                    {"params": state.params, "batch_stats": state.batch_stats}
                )
            )
        outcomes.append((jax.device_get(state), seen))
    (state, seen), (plain, same) = outcomes
    # They change nothing of the training.
    jax.tree.map(np.testing.assert_array_equal, seen, same)
    assert (plain.averages, plain.variables["params"]) == ({}, plain.params)
    expected = jax.tree.map(
        lambda a, b, c: (np.float64(a) + 2 * np.float64(b) + 4 * np.float64(c)) / 7,
        *seen,
    )
    assert state.variables is state.averages
    assert expected["batch_stats"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        state.averages,
        expected,
    )


def test_weights_follow_from_the_seed():
    recipe = make_recipe(optimizer.adam(0.0, True))
    first, same, other = (steps.create_state(recipe, seed) for seed in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, first.params, same.params)
    kernels = (state.params["head"]["kernel"] for state in (first, other))
    assert not np.array_equal(*kernels)
    assert (int(first.step), first.batch_stats) == (0, {})
    assert first.variables == {"params": first.params, "batch_stats": {}}
    assert first.averages == {}


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


@pytest.mark.parametrize(("dropout", "augment"), [(0.5, "none"), (0.0, "affine")])
def test_dropout_and_augmentation_follow_from_seed_and_step(dropout, augment):
    network = Network(UNet(features=(2,), dropout=dropout), 8, "nearest")
    batch = make_batch(8)

    def loss(seed, step):
        recipe = make_recipe(network=network, seed=seed, augment=augment)
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
    mesh, recipe = devices.local_mesh(1), make_recipe(optimizer.adam(0.0, True))
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
    mesh, recipe = devices.local_mesh(1), make_recipe()
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
    mesh, recipe = devices.local_mesh(1), make_recipe()
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


@pytest.mark.parametrize("lovasz", [0.0, 0.5])
def test_step_follows_the_gradient_of_the_labelled_pixels(lovasz):
    recipe, batch = make_recipe(lovasz=lovasz, unlabelled=True), make_batch(3)
    hidden = np.random.default_rng(2).random(batch["label"].shape) < 0.4
    batch["label"][hidden] = UNLABELLED
    params = jax.tree.map(np.asarray, steps.create_state(recipe, 0).params)

    def loss(params):
        logits = ONE_LEVEL.model.apply({"params": params}, batch["image"] / 255.0)
        total = 0.0
        for x, y in zip(logits, batch["label"]):
            # Of each tile the labelled pixels alone, as a tile of one row.
            x, y = (v[y != UNLABELLED][None, :, None, None] for v in (x, y))
            total += losses.tile_means(x, jnp.float32(y))["loss"][0]
            total += lovasz * losses.symmetric_lovasz_hinge(x, jnp.float32(y))[0]
        return total / 3

    expected = jax.jit(jax.grad(loss))(params)
    state, means = steps.train_step(steps.create_state(recipe, 0), batch, recipe)
    found = jax.tree.map(lambda a, b: b - np.asarray(a), state.params, params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        found,
        expected,
    )
    total = means["loss"].mean() + lovasz * means.get("lovasz", jnp.zeros(1)).mean()
    assert total == pytest.approx(float(loss(params)), rel=1e-5)
