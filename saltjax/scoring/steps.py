"""The validation steps: pure functions of a network's variables and a batch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from saltjax.data.feed import Feed, resident_batch
from saltjax.data.tiles import UNLABELLED
from saltjax.networks import network as networks
from saltjax.networks import resize
from saltjax.networks.network import Network
from saltjax.system import devices
from saltjax.training import losses

COUNTS = ("tp", "fp", "fn")
STATIC = ("network", "count", "unlabelled")


@functools.partial(jax.jit, static_argnames=STATIC)
def score_step(
    variables: dict[str, Any],
    batch: dict[str, jax.Array],
    *,
    network: Network,
    count: bool,
    unlabelled: bool = False,
) -> dict[str, jax.Array]:
    """Returns the `losses.tile_means` float32[B] of a batch.

    Args:
      variables: params and batch_stats.
      batch: image uint8[B, H, W, C], label uint8[B, H, W, 1].
      network: the model and its resolution.
      count: return also COUNTS, float32[B]: true positive, false positive and false negative pixels
        at 0.5, at the tiles' own resolution.
      unlabelled: whether labels may be UNLABELLED; return also the number of pixels that each tile's
        means are over, `labelled` float32[B].
    """
    tile, size, way = batch["image"].shape[1:3], network.image_size, network.resize
    image, label = network.inputs(networks.unit_image(batch["image"]), batch["label"])
    logits = networks.apply(variables, image, network.model, tta=False)
    means = losses.tile_means(network.without_padding(logits, tile), label, unlabelled)
    if unlabelled:
        labelled = jnp.not_equal(label, UNLABELLED)
        means |= {"labelled": jnp.sum(labelled, (1, 2, 3)).astype(jnp.float32)}
    if count:
        prob = resize.probability_to_native(
            jax.nn.sigmoid(logits), tile, tile, size, way
        )
        salt, label = prob >= 0.5, batch["label"] > 0
        if unlabelled:
            labelled = jnp.not_equal(batch["label"], UNLABELLED)
            salt, label = salt & labelled, label & labelled
        cells = salt & label, salt & ~label, ~salt & label
        means |= {
            name: jnp.sum(cell, (1, 2, 3)).astype(jnp.float32)
            for name, cell in zip(COUNTS, cells)
        }
    return means


@functools.partial(jax.jit, static_argnames=STATIC)
def score_steps(
    variables: dict[str, Any],
    tiles: dict[str, jax.Array],
    rows: jax.Array,
    *,
    network: Network,
    count: bool,
    unlabelled: bool = False,
) -> dict[str, jax.Array]:
    """Returns what `score_step` does for K batches, float32[K, B].

    Args:
      variables, network, count, unlabelled: as in `score_step`.
      tiles: `Feed.resident`.
      rows: int32[K, B], the tiles of each batch.
    """

    def score(rows):
        batch = resident_batch(tiles, rows)
        return score_step(
            variables, batch, network=network, count=count, unlabelled=unlabelled
        )

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
    static = {
        "network": network,
        "count": count,
        "unlabelled": feed.tiles.has_unlabelled,
    }
    if not feed.resident:
        means = score_step(variables, batch, **static)
    else:
        means = score_steps(variables, feed.resident, batch["rows"], **static)
    return devices.gather(means, feed.mesh)
