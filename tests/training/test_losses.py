import jax.numpy as jnp
import numpy as np

from saltjax.training import losses


def test_means_are_over_the_pixels_of_each_tile():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (3, 4, 5, 1))
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
