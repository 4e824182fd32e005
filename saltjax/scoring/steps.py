"""The validation steps: pure functions of a network's variables and a batch."""

import functools
from typing import Any

import jax

from saltjax.data.feed import Feed, resident_batch
from saltjax.networks import network as networks
from saltjax.networks.network import Network
from saltjax.training import losses


@functools.partial(jax.jit, static_argnames="network")
def score_step(
    variables: dict[str, Any], batch: dict[str, jax.Array], *, network: Network
) -> dict[str, jax.Array]:
    """Returns the `losses.tile_means` float32[B] of a batch.

    Args:
      variables: params and batch_stats.
      batch: image uint8[B, H, W, 3], label uint8[B, H, W, 1].
      network: the model and its resolution.
    """
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
      variables, network: as in `score_step`.
      tiles: `Feed.resident`.
      rows: int32[K, B], the tiles of each batch.
    """

    def score(rows):
        return score_step(variables, resident_batch(tiles, rows), network=network)

    return jax.lax.map(score, rows)


def score_call(
    feed: Feed, variables: Any, batch: dict[str, jax.Array], network: Network
) -> dict[str, jax.Array]:
    """Returns the `losses.tile_means` of the batches of a call of `feed.calls`.

    These are float32[K, B] if the tiles are resident; otherwise float32[B], of the one batch.
    """
    if feed.resident:
        return score_steps(variables, feed.resident, batch["rows"], network=network)
    return score_step(variables, batch, network=network)
