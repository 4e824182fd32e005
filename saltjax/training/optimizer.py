"""Adam with weight decay; its learning rate is part of its state."""

import functools
from typing import Any

import jax
import numpy as np
import optax

from saltjax.system import devices


@functools.cache
def adam(weight_decay: float, decoupled: bool) -> optax.GradientTransformationExtraArgs:
    """Returns AdamW, or Adam (Kingma & Ba 2015) with L2 regularization as PyTorch's `optim.Adam`.

    Its state holds the learning rate, 0 until `with_learning_rate` sets it. The same arguments
    return the same object, so that jitted steps, to which it is static, are compiled once.

    Args:
      weight_decay: the decay's factor.
      decoupled: shrink kernels by learning rate times decay (Loshchilov & Hutter 2019). Otherwise
        decay times parameter is added to the gradient before Adam: of all parameters, biases and
        norm scales included, as in PyTorch.
    """

    def with_rate(learning_rate):
        if decoupled:
            return optax.adamw(
                learning_rate, weight_decay=weight_decay, mask=decay_mask
            )
        return optax.chain(
            optax.add_decayed_weights(weight_decay), optax.adam(learning_rate)
        )

    return optax.inject_hyperparams(with_rate)(learning_rate=0.0)


def decay_mask(params: Any) -> Any:
    """Returns a pytree of bools: true for kernels, false for biases and norm scales."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def with_learning_rate(opt_state: Any, learning_rate: float) -> Any:
    """Returns the state of `adam` with that learning rate, on the same devices."""
    before, rate = opt_state.hyperparams["learning_rate"], np.float32(learning_rate)
    if isinstance(before, jax.Array):
        # With another sharding the steps would be compiled again.
        rate = devices.put(rate, before.sharding)
    return opt_state._replace(hyperparams={"learning_rate": rate})
