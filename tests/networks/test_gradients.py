"""Gradients of every variant against NumPy's in float64."""

import gradients
import jax
import numpy as np
import pytest
import reference

from saltjax.networks.fcn import FCN


def numpy_loss(model, params, image, label):
    """Returns the mean binary cross-entropy in float64."""
    levels, image = len(model.features), np.float64(image)
    if isinstance(model, FCN):
        logits = reference.fcn(image, params, levels, model.norm)
    else:
        strided = model.downsample == "strided"
        logits = reference.unet(image, params, levels, strided, model.skip, model.norm)
    return np.mean(np.logaddexp(0, logits) - label * logits)


@pytest.mark.parametrize("size", [16, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "model", gradients.VARIANTS.values(), ids=list(gradients.VARIANTS)
)
def test_gradients_equal_numpys_in_float64(model, size):
    """Slopes along random directions: their errors have the variance of the gradient's norm."""
    params, image, label = gradients.draw_batch(model, size)
    found = jax.tree.map(np.float64, gradients.gradient(model, params, image, label))
    params = jax.tree.map(np.float64, params)
    # So small that hardly any ReLU has its kink within it; the loss is exact to some 1e-16.
    rng, h, squares = np.random.default_rng(3), 1e-9, []
    for _ in range(8):
        direction = jax.tree.map(lambda x: rng.normal(0, 1, x.shape), params)
        up, down = (
            numpy_loss(
                model,
                jax.tree.map(lambda x, d, s=s: x + s * h * d, params, direction),
                image,
                label,
            )
            for s in (1, -1)
        )
        products = jax.tree.map(lambda g, d: (g * d).sum(), found, direction)
        slope = sum(jax.tree.leaves(products))
        squares.append((slope - (up - down) / (2 * h)) ** 2)
    norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(found)))
    assert np.sqrt(np.mean(squares)) / norm < gradients.TOLERANCE
