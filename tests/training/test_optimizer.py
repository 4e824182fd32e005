import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saltjax.training import optimizer


def plateau_rates(losses, learning_rate=1e-3, factor=0.1, patience=5):
    """Returns the learning rate after each epoch."""
    state, rates = optimizer.Plateau(learning_rate), []
    for loss in losses:
        state = state.update(loss, factor, patience)
        rates.append(state.learning_rate)
    return rates


@pytest.mark.parametrize(
    ("losses", "cuts"),
    [
        # Five epochs without improvement are borne, the sixth cuts; the count starts anew.
        ([1.0] * 14, {7: 1e-4, 13: 1e-5}),
        # An improvement in the fifth bad epoch resets the count.
        ([1.0, *[1.1] * 5, 0.9, *[1.0] * 6], {13: 1e-4}),
        # Just over a ten-thousandth better counts as an improvement; less does not.
        ([1.0, *[1.1] * 5, 0.9998, 0.9998], {}),
        ([1.0, *[1.1] * 5, 0.9999], {7: 1e-4}),
        ([1.0, *[1.1] * 5, 0.99995], {7: 1e-4}),
        # The best stays the best after a cut.
        ([0.5, *[0.9] * 6, 0.8, *[0.8] * 5], {7: 1e-4, 13: 1e-5}),
        # Not a number never improves.
        ([1.0, *[float("nan")] * 6], {7: 1e-4}),
    ],
)
def test_plateau_follows_pytorch(losses, cuts):
    rate, expected = 1e-3, []
    for epoch in range(1, len(losses) + 1):
        rate = cuts.get(epoch, rate)
        expected.append(rate)
    assert plateau_rates(losses) == pytest.approx(expected, rel=1e-12)


def test_plateau_leaves_a_rate_that_would_change_by_less_than_eps():
    # PyTorch's eps: a cut from 1e-8 to 1e-9 is less than 1e-8 and does not happen.
    assert plateau_rates([1.0] * 14, learning_rate=1e-7)[-1] == pytest.approx(1e-8)
    assert plateau_rates([1.0] * 30, learning_rate=1e-7)[-1] == pytest.approx(1e-8)


def test_plateau_with_other_factor_and_patience():
    assert plateau_rates([1.0, 1.0, 1.0], 0.4, factor=0.5, patience=0) == pytest.approx(
        [0.4, 0.2, 0.1]
    )


@pytest.mark.parametrize(
    ("losses", "counts"),
    [
        ([1.0, 1.1, 1.2, 0.9, 1.0], [0, 1, 2, 0, 1]),
        # Equal to the best resets; a hair above counts: there is no tolerance.
        ([1.0, 1.1, 1.0, 1.0000001], [0, 1, 0, 1]),
        # A loss below the last but above the best counts.
        ([1.0, 1.5, 1.2, 1.1], [0, 1, 2, 3]),
    ],
)
def test_early_stopping_counts_as_the_study(losses, counts):
    state, found = optimizer.EarlyStopping(), []
    for loss in losses:
        state = state.update(loss)
        found.append(state.bad_epochs)
    assert found == counts


def test_adamw_decays_kernels_only_by_the_learning_rate():
    params = {"kernel": jnp.full((1, 2), 2.0), "bias": jnp.full((2,), 2.0)}
    grads = {"kernel": jnp.full((1, 2), 0.3), "bias": jnp.full((2,), -0.3)}
    tx = optimizer.adamw(0.1)
    updates, _ = tx.update(grads, tx.init(params), params)
    # Adam's first step has length 1 in the gradient's direction (up to eps).
    changed = optax.apply_updates(params, {k: 0.01 * u for k, u in updates.items()})
    np.testing.assert_allclose(changed["kernel"], 2 - 0.01 * (1 + 0.1 * 2), rtol=1e-6)
    np.testing.assert_allclose(changed["bias"], 2 + 0.01, rtol=1e-6)
