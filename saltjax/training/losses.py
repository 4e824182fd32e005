"""The training loss, and the means over tiles that a run reports."""

import jax
import jax.numpy as jnp
import optax


def binary_cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Returns -y log σ(x) - (1-y) log(1-σ(x)) per pixel, the shape of logits; label in {0, 1}."""
    return optax.sigmoid_binary_cross_entropy(logits, label)


def tile_means(logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
    """Returns means over the pixels of each tile: `loss` and `accuracy`, float32[B].

    A pixel is predicted as salt if σ(logit) >= 0.5. All tiles have the same size, so the mean of
    their means is the mean over all pixels, whatever the batches.

    Args:
      logits: float32[B, H, W, 1].
      label: float32[B, H, W, 1] in {0, 1}.
    """
    correct = (logits >= 0) == (label > 0.5)
    pixels = (1, 2, 3)
    return {
        "loss": jnp.mean(binary_cross_entropy(logits, label), pixels),
        "accuracy": jnp.mean(correct, pixels, dtype=jnp.float32),
    }
