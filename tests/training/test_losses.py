import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from saltjax.data.tiles import UNLABELLED
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


# As logits of unlabelled pixels: what a network may compute there, and what it must not.
ANYTHING = [0.0, -7.0, 3e38, np.inf, -np.inf, np.nan]


def partly_labelled(seed=0):
    """Returns logits and labels float64[4, 5, 6, 1]: of the tiles 0.5, 0.1, all and none is labelled.

    In the second there is no salt.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (4, 5, 6, 1))
    label = (rng.random(logits.shape) < 0.4).astype(float)
    label[1] = 0
    share = np.array([0.5, 0.9, 0.0, 1.0])[:, None, None, None]
    label[rng.random(logits.shape) < share] = UNLABELLED
    return logits, label


def of_labelled(loss, logits, label):
    """Returns float64[B], a loss of the labelled pixels of each tile alone; 0 where there is none."""
    labelled = label != UNLABELLED
    return [
        float(loss(x[here], y[here])) if here.any() else 0.0
        for x, y, here in zip(logits, label, labelled)
    ]


def numpy_entropy(logits, label):
    return np.mean(np.logaddexp(0, np.where(label, -logits, logits)))


def gradient_of(loss, logits, label):
    return jax.grad(lambda x: loss(x, jnp.float32(label), True).sum())(
        jnp.float32(logits)
    )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda *args: losses.tile_means(*args)["loss"], numpy_entropy),
        (losses.symmetric_lovasz_hinge, reference.symmetric_lovasz),
    ],
    ids=["entropy", "lovasz"],
)
def test_loss_is_that_of_the_labelled_pixels_alone(loss, expected):
    logits, label = partly_labelled()
    found = loss(jnp.float32(logits), jnp.float32(label), True)
    values = of_labelled(expected, logits, label)
    np.testing.assert_allclose(found, values, rtol=2e-5)
    gradient = gradient_of(loss, logits, label)
    slopes = np.zeros_like(logits)
    for place in np.argwhere(label != UNLABELLED):
        change = np.zeros_like(logits)
        change[tuple(place)] = 1e-5
        ends = (of_labelled(expected, logits + s * change, label) for s in (1, -1))
        slopes[tuple(place)] = np.sum(np.subtract(*ends)) / 2e-5
    np.testing.assert_allclose(gradient, slopes, atol=1e-4)
    assert np.array_equal(gradient != 0, label != UNLABELLED)
    # Whatever the network computes for the others.
    for value in ANYTHING:
        other = np.where(label == UNLABELLED, value, logits)
        np.testing.assert_array_equal(loss(jnp.float32(other), label, True), found)
        np.testing.assert_array_equal(gradient_of(loss, other, label), gradient)


def test_accuracy_is_that_of_the_labelled_pixels_alone():
    logits, label = partly_labelled()
    found = losses.tile_means(jnp.float32(logits), jnp.float32(label), True)
    expected = of_labelled(lambda x, y: np.mean((x >= 0) == y), logits, label)
    np.testing.assert_allclose(found["accuracy"], expected, rtol=1e-6)
