"""Tiles on their way to the devices, and the steps done on them there."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from saltjax.data import tiles as data
from saltjax.system import devices
from saltjax.training import steps

# A call cannot be interrupted: some seconds on a GPU, which is also how often it can be saved.
MAX_STEPS_PER_CALL = 1024


@dataclasses.dataclass(frozen=True)
class Feed:
    """Tiles, and the devices that work on them in batches of one shape.

    Attributes:
      tiles: N tiles in the host's memory.
      mesh: the devices.
      batch_size: tiles in a batch.
      resident: image uint8[N, H, W, 3] and label uint8[N, H, W, 1] on every device: one call then
        gathers many batches and steps through them. None on a CPU, where a convolution inside
        such a loop is ten times slower: each call takes one batch from the host.
    """

    tiles: data.Tiles
    mesh: Mesh
    batch_size: int
    resident: dict[str, jax.Array] | None

    @property
    def padded_size(self) -> int:
        """Examples in a batch on the devices, those that only fill it up included."""
        return devices.padded_batch_size(self.batch_size, self.mesh)

    @property
    def steps_per_call(self) -> int:
        """Batches that one call can take."""
        return MAX_STEPS_PER_CALL if self.resident else 1


def create(tiles: data.Tiles, mesh: Mesh, batch_size: int, resident: bool) -> Feed:
    """Returns the feed; `resident` puts all tiles on every device."""
    arrays = None
    if resident:
        arrays = devices.replicate({"image": tiles.images, "label": tiles.labels}, mesh)
    return Feed(tiles, mesh, batch_size, arrays)


def calls(
    feed: Feed, indices: np.ndarray, first: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the (rows int32[K, B], valid bool[K, B]) of each call, from step `first` on.

    See `data.batch_rows`; K is `feed.steps_per_call`, in the last call less.
    """
    rows, valid = data.batch_rows(indices, feed.batch_size, feed.padded_size)
    for start in range(first, len(rows), feed.steps_per_call):
        part = slice(start, start + feed.steps_per_call)
        yield rows[part], valid[part]


def train_call(
    feed: Feed,
    state: steps.TrainState,
    rows: np.ndarray,
    valid: np.ndarray,
    learning_rate: float,
    seed: int,
    *,
    network: steps.Network,
    tx: optax.GradientTransformation,
) -> tuple[steps.TrainState, dict[str, jax.Array]]:
    """Returns the state after the steps of a call and their `losses.tile_means`.

    These are float32[K, B] where the tiles are resident, else, of the one step, float32[B].
    """
    arguments = np.float32(learning_rate), np.int32(seed)
    weight = np.float32(valid / valid.sum(axis=1, keepdims=True))
    if feed.resident:
        rows, weight = devices.shard((rows, weight), feed.mesh, axis=1)
        return steps.train_steps(
            state, feed.resident, rows, weight, *arguments, network=network, tx=tx
        )
    batch = host_batch(feed, rows[0]) | devices.shard({"weight": weight[0]}, feed.mesh)
    return steps.train_step(state, batch, *arguments, network=network, tx=tx)


def score_call(
    feed: Feed, variables: Any, rows: np.ndarray, network: steps.Network
) -> dict[str, jax.Array]:
    """Returns the `losses.tile_means` of the batches of a call, shaped as in `train_call`."""
    if feed.resident:
        rows = devices.shard(rows, feed.mesh, axis=1)
        return steps.score_steps(variables, feed.resident, rows, network=network)
    return steps.score_step(variables, host_batch(feed, rows[0]), network=network)


def host_batch(feed: Feed, rows: np.ndarray) -> dict[str, jax.Array]:
    """Returns the batch of rows int32[B], from the host's memory onto the devices."""
    images, labels = feed.tiles.images[rows], feed.tiles.labels[rows]
    return devices.shard({"image": images, "label": labels}, feed.mesh)


def valid_means(
    means: dict[str, jax.Array], valid: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the means of the valid tiles of a call, float64[n], in the order of their rows."""
    return {
        name: np.float64(x.reshape(valid.shape)[valid])
        for name, x in devices.fetch(means).items()
    }
