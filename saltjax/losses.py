"""The training loss and the sums that loss and accuracy are made of."""

import jax
import jax.numpy as jnp
import optax


def binary_cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Returns -y log σ(x) - (1-y) log(1-σ(x)) per pixel, the shape of logits; label in {0, 1}."""
    return optax.sigmoid_binary_cross_entropy(logits, label)


def pixel_sums(
    logits: jax.Array, label: jax.Array, valid: jax.Array
) -> dict[str, jax.Array]:
    """Returns sums over the pixels of the valid examples: `loss`, `correct`, `count`, float32[].

    A pixel is correct if its label is 1 and σ(logit) >= 0.5, or neither.

    Args:
      logits: float32[B, H, W, 1].
      label: float32[B, H, W, 1] in {0, 1}.
      valid: bool[B], false for examples that only fill up the batch.
    """
    weight = jnp.broadcast_to(valid[:, None, None, None], logits.shape).astype(
        jnp.float32
    )
    correct = (logits >= 0) == (label > 0.5)
    return {
        "loss": jnp.sum(binary_cross_entropy(logits, label) * weight),
        "correct": jnp.sum(correct * weight),
        "count": jnp.sum(weight),
    }
