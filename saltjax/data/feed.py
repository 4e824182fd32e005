"""Batches of tiles, from the host's memory to the devices."""

import collections
import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from saltjax.data.tiles import Tiles
from saltjax.system import console, devices, hosts, seeds

# At most; a run can be interrupted and saved only between calls, see `steps.timed_feed`.
MAX_STEPS_PER_CALL = 1024
# Resident tiles take at most this share of a device's free memory: the rest is for the weights, the
# optimizer's state and the activations of a batch.
RESIDENT_SHARE = 0.5
# Batches from the host that are on their way to the devices before they are needed.
AHEAD = 2
# Threads that read tiles from a file.
READERS = 2


@dataclasses.dataclass(frozen=True)
class Feed:
    """Tiles, and the devices that compute on them in batches of one shape.

    Attributes:
      tiles: N tiles in the host's memory.
      mesh: the devices.
      batch_size: tiles in a batch.
      resident: image uint8[N, H, W, C] and label uint8[N, H, W, 1] on every device, C = 1 if there
        are three equal channels: one call then gathers many batches and steps through them.
        None if each call takes one batch from the host: on a CPU, where a convolution inside such a
        loop is ten times slower, and where the tiles do not fit.
      steps_per_call: batches in one call, at most.
    """

    tiles: Tiles
    mesh: Mesh
    batch_size: int
    resident: dict[str, jax.Array] | None = None
    steps_per_call: int = 1

    @property
    def padded_size(self) -> int:
        """Examples in a batch on the devices, padding included."""
        return devices.padded_batch_size(self.batch_size, self.mesh)


def create(tiles: Tiles, mesh: Mesh, batch_size: int, resident: bool) -> Feed:
    """Returns the feed; `resident` copies all tiles to every device, if RESIDENT_SHARE allows it."""
    if not resident or any(hosts.exchange(tiles.streamed)):
        return Feed(tiles, mesh, batch_size)
    images = tiles.images
    if images.shape[3] == 3 and all(
        np.array_equal(images[..., 0], images[..., c]) for c in (1, 2)
    ):
        images = images[..., :1]
    size = images.nbytes + tiles.labels.nbytes
    known = [x for x in hosts.exchange(devices.free_memory(mesh)) if x is not None]
    if known and size > RESIDENT_SHARE * (free := min(known)):
        console.say(
            f"Tiles      {size / 1e9:.1f} GB, more than {RESIDENT_SHARE:.0%} of the {free / 1e9:.1f} GB "
            "free on a device: batches come from the host"
        )
        return Feed(tiles, mesh, batch_size)
    arrays = devices.replicate({"image": images, "label": tiles.labels}, mesh)
    return Feed(tiles, mesh, batch_size, arrays, MAX_STEPS_PER_CALL)


def epoch_order(indices: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Returns the indices in a random order that depends on seed and epoch (from 1) only."""
    return seeds.order_rng(seed, epoch).permutation(indices)


def step_count(feed: Feed, indices: np.ndarray) -> int:
    """Returns the number of batches that hold the tiles of `indices`."""
    return -(-len(indices) // feed.batch_size)


def calls(
    feed: Feed, indices: np.ndarray, first: int = 0
) -> Iterator[tuple[dict[str, jax.Array], np.ndarray]]:
    """Yields what each call takes, see `call_batch`, and its valid bool[K, B], from step `first` on.

    Batches from the host are put on the devices AHEAD of the one that is yielded.
    """
    if feed.tiles.streamed:
        yield from _streamed_calls(feed, indices, first)
        return
    waiting: collections.deque = collections.deque()
    for rows, valid in call_rows(feed, indices, first):
        waiting.append((call_batch(feed, rows), valid))
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def _streamed_calls(
    feed: Feed, indices: np.ndarray, first: int
) -> Iterator[tuple[dict[str, jax.Array], np.ndarray]]:
    """Yields what `calls` does of tiles that other threads read from a file."""
    import grain  # imported here: an extra, and slow to import

    def read(call):
        rows, valid = call
        return own_tiles(feed, rows[0]), valid

    options = grain.ReadOptions(num_threads=READERS, prefetch_buffer_size=AHEAD)
    rows = grain.MapDataset.source(list(call_rows(feed, indices, first)))
    for arrays, valid in rows.map(read).to_iter_dataset(options):
        yield devices.shard_own(arrays, feed.mesh, feed.padded_size), valid


def call_rows(
    feed: Feed, indices: np.ndarray, first: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the (rows int32[K, B], valid bool[K, B]) of each call, from step `first` on.

    See `batch_rows`. K is `feed.steps_per_call`, fewer in the last call.
    """
    rows, valid = batch_rows(indices, feed.batch_size, feed.padded_size)
    for start in range(first, len(rows), feed.steps_per_call):
        part = slice(start, start + feed.steps_per_call)
        yield rows[part], valid[part]


def call_batch(feed: Feed, rows: np.ndarray) -> dict[str, jax.Array]:
    """Returns what a call takes for rows int32[K, B]: these if the tiles are resident, else tiles."""
    if feed.resident:
        return {"rows": devices.shard(rows, feed.mesh, axis=1)}
    return host_batch(feed, rows[0])


def resident_batch(
    tiles: dict[str, jax.Array], rows: jax.Array
) -> dict[str, jax.Array]:
    """Returns image uint8[B, H, W, C] and label uint8[B, H, W, 1] of resident tiles."""
    image, label = tiles["image"][rows], tiles["label"][rows]
    if image.shape[3] == 1:
        image = jnp.broadcast_to(image, (*image.shape[:3], 3))
    return {"image": image, "label": label}


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
    """Returns image uint8[B, H, W, C] and label uint8[B, H, W, 1] of rows int32[B], sharded."""
    return devices.shard_own(own_tiles(feed, rows), feed.mesh, len(rows))


def own_tiles(feed: Feed, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Returns image uint8[b, H, W, C] and label uint8[b, H, W, 1] of those rows of int32[B] that are on
    the devices of this host: of all, but in a training on several hosts.
    """
    rows = rows[devices.own_rows(feed.mesh, len(rows))]
    return {"image": feed.tiles.images[rows], "label": feed.tiles.labels[rows]}


def valid_means(
    means: dict[str, jax.Array], valid: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the means of the valid tiles of a call, float64[n], in the order of their rows."""
    return {
        name: x.reshape(valid.shape)[valid].astype(np.float64)
        for name, x in jax.device_get(means).items()
    }
