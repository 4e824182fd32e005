import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from saltjax.training import losses


def test_means_are_over_the_pixels_of_each_tile():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (3, 4, 5, 1))
    logits[:, 0] = 0  # the probability 0.5 is salt
    label = (rng.random((3, 4, 5, 1)) > 0.5).astype(float)
    prob = 1 / (1 + np.exp(-logits))
    loss = -(label * np.log(prob) + (1 - label) * np.log(1 - prob))
    correct = (prob >= 0.5) == (label == 1)
    means = losses.tile_means(jnp.float32(logits), jnp.float32(label))
    np.testing.assert_allclose(means["loss"], loss.mean(axis=(1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(means["accuracy"], correct.mean(axis=(1, 2, 3)))


def test_loss_of_extreme_logits_is_finite():
    logits = jnp.array([-200.0, 200.0, 200.0, 0.0])
    label = jnp.array([1.0, 0.0, 1.0, 1.0])
    expected = [200, 200, 0, np.log(2)]
    np.testing.assert_allclose(
        losses.binary_cross_entropy(logits, label), expected, rtol=1e-6
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_lovasz_hinge_is_the_integral_of_the_jaccard_loss_over_all_levels(share):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (3, 4, 5, 1))
    logits[1] = np.round(logits[1])  # ties
    label = (rng.random(logits.shape) < share).astype(float)
    found = losses.symmetric_lovasz_hinge(jnp.float32(logits), jnp.float32(label))
    expected = [reference.symmetric_lovasz(x, y) for x, y in zip(logits, label)]
    np.testing.assert_allclose(found, expected, rtol=2e-5)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_lovasz_hinge_has_the_gradient_of_finite_differences(share):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (2, 3, 4, 1))
    label = (rng.random(logits.shape) < share).astype(float)

    def total(x):
        return sum(reference.symmetric_lovasz(a, b) for a, b in zip(x, label))

    gradient = jax.grad(
        lambda x: losses.symmetric_lovasz_hinge(x, jnp.float32(label)).sum()
    )(jnp.float32(logits))
    expected = np.zeros_like(logits)
    for place in np.ndindex(logits.shape):
        change = np.zeros_like(logits)
        change[place] = 1e-5
        expected[place] = (total(logits + change) - total(logits - change)) / 2e-5
    np.testing.assert_allclose(gradient, expected, atol=1e-4)
    assert (np.asarray(gradient) != 0).all()
