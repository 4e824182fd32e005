"""The training losses, and the means over tiles that a run reports."""

import jax
import jax.numpy as jnp
import optax

from saltjax.data.tiles import UNLABELLED


def binary_cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Returns -y log σ(x) - (1-y) log(1-σ(x)) per pixel, the shape of logits; label in {0, 1}."""
    return optax.sigmoid_binary_cross_entropy(logits, label)


def tile_means(
    logits: jax.Array, label: jax.Array, unlabelled: bool = False
) -> dict[str, jax.Array]:
    """Returns means over the labelled pixels of each tile: `loss` and `accuracy`, float32[B].

    A pixel is predicted as salt if σ(logit) >= 0.5. All tiles have the same size, so without
    unlabelled pixels the mean of their means is the mean over all pixels, whatever the batches.

    Args:
      logits: float32[B, H, W, 1].
      label: float32[B, H, W, 1] in {0, 1} and, if `unlabelled`, UNLABELLED.
      unlabelled: whether there may be unlabelled pixels. The means of a tile of these alone are 0.
        If not, their sums are those of `jnp.mean`, in the same order.
    """
    pixels = (1, 2, 3)
    if unlabelled:
        labelled = label != UNLABELLED
        # Not only the terms are replaced: 0 times a derivative that is not finite is not 0.
        logits, label = (jnp.where(labelled, x, 0) for x in (logits, label))
        count = jnp.maximum(jnp.sum(labelled, pixels), 1)
        terms = binary_cross_entropy(logits, label), (logits >= 0) == (label > 0.5)
        loss, accuracy = (
            jnp.sum(jnp.where(labelled, x, 0), pixels) / count for x in terms
        )
        return {"loss": loss, "accuracy": accuracy}
    correct = (logits >= 0) == (label > 0.5)
    return {
        "loss": jnp.mean(binary_cross_entropy(logits, label), pixels),
        "accuracy": jnp.mean(correct, pixels, dtype=jnp.float32),
    }


def symmetric_lovasz_hinge(
    logits: jax.Array, label: jax.Array, unlabelled: bool = False
) -> jax.Array:
    """Returns the Lovász hinge of each tile, the mean of those for salt and for background, float32[B].

    The Lovász hinge (Berman, Triki & Blaschko 2018, algorithm 1) is the Lovász extension of the
    Jaccard loss 1 - IoU at the pixels' errors: sorted by decreasing margin error 1 - x·(2y - 1), each
    adds its error times the change of 1 - IoU when it is misclassified with all those before it. The
    errors are elu(margin error) + 1, positive and smooth, where the paper has the positive part of
    the margin error. For the background the labels are exchanged and the logits negated, which
    changes neither margin errors nor order. Without it all but one pixel of a tile without salt
    would have no gradient.

    Args:
      logits: float32[B, H, W, 1].
      label: float32[B, H, W, 1] in {0, 1} and, if `unlabelled`, UNLABELLED.
      unlabelled: whether there may be unlabelled pixels. They are left out; the hinge of a tile of
        these alone is 0.
    """
    logits, label = (x.reshape(len(x), -1).astype(jnp.float32) for x in (logits, label))
    margin = 1 - logits * (2 * label - 1)
    if unlabelled:
        # Behind all others, where they change neither Jaccard loss, with an error of 0.
        margin = jnp.where(label == UNLABELLED, -jnp.inf, margin)
    negative, label = _sorted(-margin, label)
    if unlabelled:
        salt, background = (jnp.float32(label == x) for x in (1, 0))
        weight = (_jaccard_changes(salt) + _jaccard_changes(background)) / 2
    else:
        weight = (_jaccard_changes(label) + _jaccard_changes(1 - label)) / 2
    error = jax.nn.elu(-negative) + 1
    return jnp.sum(error * jax.lax.stop_gradient(weight), axis=1)


@jax.custom_vjp
def _sorted(key: jax.Array, label: jax.Array) -> tuple[jax.Array, ...]:
    """Returns keys float32[B, N] in increasing order, and the labels in the order of the keys.

    JAX's own gradient of a sort adds up what belongs to one place, though the places are all
    different, which on GPUs needs slow kernels to be deterministic.
    """
    return tuple(jax.lax.sort((key, label), dimension=1, num_keys=1))


def _sorted_forward(key, label):
    place = jax.lax.broadcasted_iota(jnp.int32, key.shape, 1)
    *found, place = jax.lax.sort((key, label, place), dimension=1, num_keys=1)
    return tuple(found), place


def _sorted_backward(place, gradients):
    row, (gradient, _) = jnp.arange(len(place))[:, None], gradients
    at = jnp.zeros_like(gradient).at[row, place]
    return at.set(gradient, unique_indices=True, mode="promise_in_bounds"), None


_sorted.defvjp(_sorted_forward, _sorted_backward)


def _jaccard_changes(label: jax.Array) -> jax.Array:
    """Returns the changes of the Jaccard loss when pixels are misclassified one after the other.

    `label` is float32[B, N]; the loss is 0 before the first.
    """
    salt = jnp.sum(label, axis=1, keepdims=True)
    intersection = salt - jnp.cumsum(label, axis=1)
    union = salt + jnp.cumsum(1 - label, axis=1)
    return jnp.diff(1 - intersection / union, axis=1, prepend=0)
