"""From the tiles' own resolution to the network's and back.

The network sees a tile of (h, w) pixels as a square of `size`. Larger and smaller sections, (H, W),
are brought to the same scale, so that what they show is as large as it was in training.
"""

import jax
import jax.numpy as jnp
import numpy as np


def network_length(n: int, tile: int, size: int, method: str) -> int:
    """Returns the pixels on the network's side for n on the section's; `size` for n = tile.

    >>> network_length(101, 101, 128, "nearest"), network_length(202, 101, 128, "nearest")
    (128, 256)
    """
    if method == "pad":
        return n + size - tile
    # As many as have their centres, tile / size apart, within the section.
    return -(-(2 * size * n - tile) // (2 * tile))


def image_to_network(
    image: jax.Array, tile: tuple[int, int], size: int, method: str
) -> jax.Array:
    """Returns image float32[B, H', W', C], at the network's scale, for float32[B, H, W, C].

    `nearest` and `bilinear` interpolate; `pad` mirrors the image around its edges (h, w <= size).
    """
    if method == "pad":
        return _pad(image, tile, size)
    return _interpolate(image, tile, size, method)


def label_to_network(
    label: jax.Array, tile: tuple[int, int], size: int, method: str
) -> jax.Array:
    """Returns float32[B, H', W', 1] in {0, 1} for uint8[B, H, W, 1] in {0, 1}.

    A label is never interpolated: `bilinear` takes the nearest pixel, as `nearest` does.
    """
    label = label.astype(jnp.float32)
    if method == "pad":
        return _pad(label, tile, size)
    return _interpolate(label, tile, size, "nearest")


def probability_to_native(
    prob: jax.Array,
    shape: tuple[int, int],
    tile: tuple[int, int],
    size: int,
    method: str,
) -> jax.Array:
    """Returns float32[B, H, W, 1] for float32[B, H', W', 1]: undoes `image_to_network`.

    What `nearest` copied is averaged, what `pad` added is cut off, `bilinear` interpolates back.
    `shape` is (H, W).
    """
    if method == "pad":
        top, left = (_margins(t, size)[0] for t in tile)
        return prob[:, top : top + shape[0], left : left + shape[1]]
    if method == "bilinear":
        scale = jnp.array([t / size for t in tile], jnp.float32)
        return _scale(prob, shape, scale)
    for axis, (n, t) in enumerate(zip(shape, tile), start=1):
        prob = _average_copies(prob, axis, n, t, size)
    return prob


def _interpolate(x, tile, size, method):
    shape = [network_length(n, t, size, method) for n, t in zip(x.shape[1:3], tile)]
    if method == "bilinear":
        return _scale(x, shape, jnp.array([size / t for t in tile], jnp.float32))
    rows, cols = (_nearest(n, t, size) for n, t in zip(shape, tile))
    return x[:, rows][:, :, cols]


def _scale(x, shape, scale):
    """Returns x scaled by linear interpolation, smoothed first where it shrinks."""
    shape = (x.shape[0], *shape, x.shape[3])
    return jax.image.scale_and_translate(
        x, shape, (1, 2), scale, jnp.zeros(2), "linear", antialias=True
    )


def _nearest(n: int, old: int, new: int) -> np.ndarray:
    """Returns int[n], the pixel of `old` to the tile that each of `new` to the tile lies in.

    In integers: in floats a centre on the border of two pixels falls to either side.
    """
    return (2 * np.arange(n) + 1) * old // (2 * new)


def _average_copies(prob, axis, n, tile, size):
    """Returns `prob` with that axis brought back to n pixels from what `_nearest` made of them."""
    length = prob.shape[axis]
    if tile > size:
        # Pixels were left out: each takes the nearest of those that were not.
        nearest = np.minimum(_nearest(n, size, tile), length - 1)
        return jnp.take(prob, nearest, axis=axis)
    copies = np.float32(_nearest(length, tile, size) == np.arange(n)[:, None])
    mean = copies / copies.sum(axis=1, keepdims=True)
    product = "ny,bywc->bnwc" if axis == 1 else "nx,bhxc->bhnc"
    return jnp.einsum(product, mean, prob, precision="highest")


def _margins(tile: int, size: int) -> tuple[int, int]:
    before = (size - tile) // 2
    return before, size - tile - before


def _pad(x, tile, size):
    margins = [_margins(t, size) for t in tile]
    return jnp.pad(x, ((0, 0), *margins, (0, 0)), mode="reflect")
