import jax.numpy as jnp
import numpy as np

from saltjax import losses


def test_sums_are_those_of_the_valid_examples():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (3, 4, 5, 1))
    label = (rng.random((3, 4, 5, 1)) > 0.5).astype(float)
    prob = 1 / (1 + np.exp(-logits[:2]))
    loss = -(label[:2] * np.log(prob) + (1 - label[:2]) * np.log(1 - prob)).sum()
    correct = ((prob >= 0.5) == (label[:2] == 1)).sum()
    valid = jnp.array([True, True, False])
    sums = losses.pixel_sums(jnp.float32(logits), jnp.float32(label), valid)
    np.testing.assert_allclose(sums["loss"], loss, rtol=1e-6)
    assert sums["correct"] == correct
    assert sums["count"] == 2 * 4 * 5


def test_loss_of_extreme_logits_is_finite():
    logits = jnp.array([-200.0, 200.0, 200.0, 0.0])
    label = jnp.array([1.0, 0.0, 1.0, 1.0])
    expected = [200, 200, 0, np.log(2)]
    np.testing.assert_allclose(
        losses.binary_cross_entropy(logits, label), expected, rtol=1e-6
    )
