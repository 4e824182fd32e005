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
    # As many as have their centres, tile / size apart, within the section; but at least one.
    return max(1, -(-(2 * size * n - tile) // (2 * tile)))


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
    for axis, (n, t) in enumerate(zip(shape, tile), start=1):
        if method == "bilinear":
            prob = _interpolate_axis(prob, axis, n, t / size)
        else:
            prob = _average_copies(prob, axis, n, t, size)
    return prob


def _interpolate(x, tile, size, method):
    shape = [network_length(n, t, size, method) for n, t in zip(x.shape[1:3], tile)]
    for axis, (n, t) in enumerate(zip(shape, tile), start=1):
        if method == "bilinear":
            x = _interpolate_axis(x, axis, n, size / t)
        else:
            nearest = np.minimum(_nearest(n, t, size), x.shape[axis] - 1)
            x = _take(x, nearest, axis)
    return x


def _interpolate_axis(x, axis, n, scale):
    """Returns x with that axis at n pixels, `scale` times as fine, by linear interpolation.

    Where that is coarser, over as many pixels as become one, as Pillow and `jax.image.resize` do.
    Few pixels enter each, so they are gathered: a matrix of weights would be as large as long axes
    squared.
    """
    length, reach = x.shape[axis], max(1.0, 1 / scale)
    centre = (np.arange(n) + 0.5) / scale - 0.5
    first = np.ceil(centre - reach).astype(int)
    places = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 1)
    weights = np.maximum(0, 1 - np.abs(places - centre[:, None]) / reach)
    weights *= (places >= 0) & (places < length)
    places = np.clip(places, 0, length - 1)
    # A centre off the axis, which only axes of a few pixels have, takes the nearest pixel.
    weights[weights.sum(axis=1) == 0] = 1
    weights = np.float32(weights / weights.sum(axis=1, keepdims=True))
    return _weigh(x, axis, places, weights)


def _take(x, places, axis):
    return x[:, places] if axis == 1 else x[:, :, places]


def _weigh(x, axis, places, weights):
    """Returns the sums over k of weights[:, k] times x taken at places[:, k] of that axis."""
    shape = [1] * x.ndim
    shape[axis] = len(places)
    parts = (
        _take(x, places[:, k], axis) * weights[:, k].reshape(shape)
        for k in range(places.shape[1])
        if weights[:, k].any()
    )
    return sum(parts)


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
        return _take(prob, nearest, axis)
    copies = np.bincount(_nearest(length, tile, size), minlength=n)
    first = np.cumsum(copies) - copies
    k = np.arange(copies.max())
    places = np.minimum(first[:, None] + k, length - 1)
    weights = np.float32((k < copies[:, None]) / copies[:, None])
    return _weigh(prob, axis, places, weights)


def _margins(tile: int, size: int) -> tuple[int, int]:
    before = (size - tile) // 2
    return before, size - tile - before


def _pad(x, tile, size):
    margins = [_margins(t, size) for t in tile]
    return jnp.pad(x, ((0, 0), *margins, (0, 0)), mode="reflect")
