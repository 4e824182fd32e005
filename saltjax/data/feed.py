"""Batches of tiles, from the host's memory to the devices."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from saltjax.data.tiles import Tiles
from saltjax.system import devices, seeds

# A run can be interrupted and saved only between calls; so many steps take some seconds on a GPU.
MAX_STEPS_PER_CALL = 1024


@dataclasses.dataclass(frozen=True)
class Feed:
    """Tiles, and the devices that compute on them in batches of one shape.

    Attributes:
      tiles: N tiles in the host's memory.
      mesh: the devices.
      batch_size: tiles in a batch.
      resident: image uint8[N, H, W, 3] and label uint8[N, H, W, 1] on every device: one call then
        gathers many batches and steps through them. None on a CPU, where a convolution inside
        such a loop is ten times slower: each call takes one batch from the host.
    """

    tiles: Tiles
    mesh: Mesh
    batch_size: int
    resident: dict[str, jax.Array] | None

    @property
    def padded_size(self) -> int:
        """Examples in a batch on the devices, padding included."""
        return devices.padded_batch_size(self.batch_size, self.mesh)

    @property
    def steps_per_call(self) -> int:
        """Batches in one call, at most."""
        return MAX_STEPS_PER_CALL if self.resident else 1


def create(tiles: Tiles, mesh: Mesh, batch_size: int, resident: bool) -> Feed:
    """Returns the feed; `resident` copies all tiles to every device."""
    arrays = None
    if resident:
        arrays = devices.replicate({"image": tiles.images, "label": tiles.labels}, mesh)
    return Feed(tiles, mesh, batch_size, arrays)


def epoch_order(indices: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Returns the indices in a random order that depends on seed and epoch (from 1) only."""
    return seeds.order_rng(seed, epoch).permutation(indices)


def calls(
    feed: Feed, indices: np.ndarray, first: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the (rows int32[K, B], valid bool[K, B]) of each call, from step `first` on.

    See `batch_rows`. K is `feed.steps_per_call`, fewer in the last call.
    """
    rows, valid = batch_rows(indices, feed.batch_size, feed.padded_size)
    for start in range(first, len(rows), feed.steps_per_call):
        part = slice(start, start + feed.steps_per_call)
        yield rows[part], valid[part]


def batch_rows(
    indices: np.ndarray, batch_size: int, padded_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns every tile of `indices` once, in that order, in batches of one shape.

    Each batch takes up to `batch_size` tiles and is padded to `padded_size` (>= batch_size) with
    copies of its first tile, which are not valid.

    Returns:
      rows int32[K, B], the tiles of each batch, and valid bool[K, B], B = padded_size.
    """
    starts = range(0, len(indices), batch_size)
    rows = np.empty((len(starts), padded_size), np.int32)
    valid = np.zeros(rows.shape, bool)
    for k, start in enumerate(starts):
        batch = indices[start : start + batch_size]
        rows[k], valid[k, : len(batch)] = batch[0], True
        rows[k, : len(batch)] = batch
    return rows, valid


def host_batch(feed: Feed, rows: np.ndarray) -> dict[str, jax.Array]:
    """Returns image uint8[B, H, W, 3] and label uint8[B, H, W, 1] of rows int32[B], sharded."""
    images, labels = feed.tiles.images[rows], feed.tiles.labels[rows]
    return devices.shard({"image": images, "label": labels}, feed.mesh)


def valid_means(
    means: dict[str, jax.Array], valid: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the means of the valid tiles of a call, float64[n], in the order of their rows."""
    return {
        name: x.reshape(valid.shape)[valid].astype(np.float64)
        for name, x in devices.fetch(means).items()
    }
