"""Random variables of networks, drawn by NumPy: JAX would take seconds to compile `init`."""

import jax
import jax.numpy as jnp
import numpy as np


def draw_variables(model, shape=(1, 16, 16, 3), seed=0):
    """Returns variables of a linen model for images of that shape, of the types of its own.

    Kernels have the variance of He initialization. Biases and scales are not 0 and 1, so that a
    test sees their effect; batch statistics lie in [0.5, 1].
    """
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))

    def draw(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 100
        return rng.normal(0, np.sqrt(2 / fan_in), leaf.shape).astype(leaf.dtype)

    variables = {"params": jax.tree.map(draw, shapes["params"]), "batch_stats": {}}
    if "batch_stats" in shapes:
        variables["batch_stats"] = jax.tree.map(
            lambda leaf: rng.uniform(0.5, 1, leaf.shape).astype(leaf.dtype),
            shapes["batch_stats"],
        )
    return variables
