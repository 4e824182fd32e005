"""The validation steps: pure functions of a network's variables and a batch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from saltjax.data.feed import Feed, resident_batch
from saltjax.networks import network as networks
from saltjax.networks import resize
from saltjax.networks.network import Network
from saltjax.training import losses

COUNTS = ("tp", "fp", "fn")


@functools.partial(jax.jit, static_argnames=("network", "count"))
def score_step(
    variables: dict[str, Any],
    batch: dict[str, jax.Array],
    *,
    network: Network,
    count: bool,
) -> dict[str, jax.Array]:
    """Returns the `losses.tile_means` float32[B] of a batch.

    Args:
      variables: params and batch_stats.
      batch: image uint8[B, H, W, C], label uint8[B, H, W, 1].
      network: the model and its resolution.
      count: return also COUNTS, float32[B]: true positive, false positive and false negative pixels
        at 0.5, at the tiles' own resolution.
    """
    tile, size, way = batch["image"].shape[1:3], network.image_size, network.resize
    image, label = network.inputs(networks.unit_image(batch["image"]), batch["label"])
    logits = networks.apply(variables, image, network.model, tta=False)
    means = losses.tile_means(network.without_padding(logits, tile), label)
    if count:
        prob = resize.probability_to_native(
            jax.nn.sigmoid(logits), tile, tile, size, way
        )
        salt, label = prob >= 0.5, batch["label"] > 0
        cells = salt & label, salt & ~label, ~salt & label
        means |= {
            name: jnp.sum(cell, (1, 2, 3)).astype(jnp.float32)
            for name, cell in zip(COUNTS, cells)
        }
    return means


@functools.partial(jax.jit, static_argnames=("network", "count"))
def score_steps(
    variables: dict[str, Any],
    tiles: dict[str, jax.Array],
    rows: jax.Array,
    *,
    network: Network,
    count: bool,
) -> dict[str, jax.Array]:
    """Returns what `score_step` does for K batches, float32[K, B].

    Args:
      variables, network, count: as in `score_step`.
      tiles: `Feed.resident`.
      rows: int32[K, B], the tiles of each batch.
    """

    def score(rows):
        batch = resident_batch(tiles, rows)
        return score_step(variables, batch, network=network, count=count)

    return jax.lax.map(score, rows)


def score_call(
    feed: Feed,
    variables: Any,
    batch: dict[str, jax.Array],
    network: Network,
    count: bool,
) -> dict[str, jax.Array]:
    """Returns what `score_step` does for the batches of a call of `feed.calls`.

    These are float32[K, B] if the tiles are resident; otherwise float32[B], of the one batch.
    """
    if not feed.resident:
        return score_step(variables, batch, network=network, count=count)
    rows = batch["rows"]
    return score_steps(variables, feed.resident, rows, network=network, count=count)
