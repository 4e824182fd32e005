"""The evaluation steps: pure functions of a network's variables and a batch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.data.feed import Feed, host_batch
from saltjax.networks import network as networks
from saltjax.networks import resize
from saltjax.networks.network import Network
from saltjax.system import devices
from saltjax.training import losses

MAX_UINT16 = 65535


@functools.partial(jax.jit, static_argnames="network")
def score_step(
    variables: dict[str, Any], batch: dict[str, jax.Array], *, network: Network
) -> dict[str, jax.Array]:
    """Returns the `losses.tile_means` float32[B] of a batch; arguments as in `eval_step`."""
    image, label = network.inputs(batch)
    logits = networks.apply(variables, image, network.model, tta=False)
    return losses.tile_means(logits, label)


@functools.partial(jax.jit, static_argnames="network")
def score_steps(
    variables: dict[str, Any],
    tiles: dict[str, jax.Array],
    rows: jax.Array,
    *,
    network: Network,
) -> dict[str, jax.Array]:
    """Returns the `losses.tile_means` of K batches, float32[K, B].

    Args:
      variables, network: as in `eval_step`.
      tiles: image uint8[N, H, W, 3], label uint8[N, H, W, 1].
      rows: int32[K, B], the tiles of each batch.
    """

    def score(rows):
        batch = {name: x[rows] for name, x in tiles.items()}
        return score_step(variables, batch, network=network)

    return jax.lax.map(score, rows)


def score_call(
    feed: Feed, variables: Any, rows: np.ndarray, network: Network
) -> dict[str, jax.Array]:
    """Returns the `losses.tile_means` of the batches of a call of `feed.calls`.

    These are float32[K, B] if the tiles are resident; otherwise float32[B], of the one batch.
    """
    if feed.resident:
        rows = devices.shard(rows, feed.mesh, axis=1)
        return score_steps(variables, feed.resident, rows, network=network)
    return score_step(variables, host_batch(feed, rows[0]), network=network)


@functools.partial(jax.jit, static_argnames=("network", "tta"))
def eval_step(
    variables: dict[str, Any],
    batch: dict[str, jax.Array],
    *,
    network: Network,
    tta: bool,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Returns the `losses.tile_means` of a batch, and its probabilities and labels.

    Args:
      variables: params and batch_stats.
      batch: image uint8[B, H, W, 3], label uint8[B, H, W, 1].
      network: the model and its resolution.
      tta: average the probabilities of each image and of its mirror image, left to right.

    Returns:
      The means; and `prob` float32[B, S, S], `label` uint8[B, S, S] at the network's resolution,
      `prob_native` uint16[B, H, W], 65535 times the probability, at the tiles' own.
    """
    image, label = network.inputs(batch)
    logits = networks.apply(variables, image, network.model, tta)
    prob = jax.nn.sigmoid(logits)
    tile = batch["image"].shape[1:3]
    native = resize.probability_to_native(
        prob, tile, tile, network.image_size, network.resize
    )
    # The depth of the PNGs that `predict` writes, so that their masks are the ones scored here.
    native = jnp.rint(jnp.clip(native, 0, 1) * MAX_UINT16).astype(jnp.uint16)
    outputs = {"prob": prob, "label": label.astype(jnp.uint8), "prob_native": native}
    means = losses.tile_means(logits, label)
    return means, {name: x[..., 0] for name, x in outputs.items()}
