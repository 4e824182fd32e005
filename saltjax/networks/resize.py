"""From the tiles' own resolution to the network's and back.

A `tile` of (h, w) pixels is resized to a square of `size` for the network, by one of the methods
"nearest", "bilinear" and "pad". Larger and smaller sections, (H, W), are resized by the same
factors, so that features have the size that they had in training.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray


def network_length(n: int, tile: int, size: int, method: str) -> int:
    """Returns the length at the network's resolution of an axis of n pixels; `size` for n = tile.

    >>> network_length(101, 101, 128, "nearest"), network_length(202, 101, 128, "nearest")
    (128, 256)
    """
    if method == "pad":
        return n + size - tile
    # The pixels, tile / size apart, whose centres lie within the section; at least one.
    return max(1, -(-(2 * size * n - tile) // (2 * tile)))


def image_to_network(
    image: Array, tile: tuple[int, ...], size: int, method: str
) -> Array:
    """Returns image float32[B, H', W', C], at the network's resolution, for float32[B, H, W, C].

    `nearest` and `bilinear` interpolate; `pad` mirrors the image around its edges (h, w <= size).
    """
    if method == "pad":
        return _pad(image, tile, size)
    return _interpolate(image, tile, size, method)


def label_to_network(
    label: Array, tile: tuple[int, ...], size: int, method: str
) -> jax.Array:
    """Returns float32[B, H', W', 1] of the values that uint8[B, H, W, 1] has.

    A label is never interpolated: `bilinear` takes the nearest pixel, as `nearest` does. Pixels that
    `pad` adds have no label: it stays as it is, and is compared with `without_padding` of the output.
    """
    label = jnp.asarray(label, jnp.float32)
    if method == "pad":
        return label
    return _interpolate(label, tile, size, "nearest")


def without_padding(x: Any, tile: tuple[int, ...], size: int, method: str) -> Any:
    """Returns x [B, H', W', …] at the network's resolution without the pixels that `pad` added."""
    if method != "pad":
        return x
    top, left = (margins(t, size)[0] for t in tile)
    height, width = (n - size + t for n, t in zip(x.shape[1:3], tile))
    return x[:, top : top + height, left : left + width]


def probability_to_native(
    prob: Array,
    shape: tuple[int, ...],
    tile: tuple[int, ...],
    size: int,
    method: str,
) -> Array:
    """Returns float32[B, H, W, 1] for float32[B, H', W', 1]: the inverse of `image_to_network`.

    Pixels that `nearest` repeated are averaged, pixels that `pad` added are removed, and `bilinear`
    interpolates back. `shape` is (H, W).
    """
    if method == "pad":
        return without_padding(prob, tile, size, method)
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

    Downsampling averages over the pixels that become one, as Pillow and `jax.image.resize` do. Only
    the few inputs of each pixel are gathered: a full matrix of weights would grow with length².
    """
    length, reach = x.shape[axis], max(1.0, 1 / scale)
    centre = (np.arange(n) + 0.5) / scale - 0.5
    first = np.ceil(centre - reach).astype(int)
    places = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 1)
    weights = np.maximum(0, 1 - np.abs(places - centre[:, None]) / reach)
    weights *= (places >= 0) & (places < length)
    places = np.clip(places, 0, length - 1)
    # A centre outside the axis, which occurs only on axes of a few pixels, takes the nearest pixel.
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
    """Returns int[n], for each pixel of a grid of `new` per tile, the nearest of `old` per tile.

    In integers: in floats a centre on the border of two pixels could be rounded to either side.
    """
    return (2 * np.arange(n) + 1) * old // (2 * new)


def _average_copies(prob, axis, n, tile, size):
    """Returns `prob` with that axis resized back to n pixels by averaging the copies of each."""
    length = prob.shape[axis]
    if tile > size:
        # Pixels were dropped: each takes the value of the nearest one that was kept.
        nearest = np.minimum(_nearest(n, size, tile), length - 1)
        return _take(prob, nearest, axis)
    copies = np.bincount(_nearest(length, tile, size), minlength=n)
    first = np.cumsum(copies) - copies
    k = np.arange(copies.max())
    places = np.minimum(first[:, None] + k, length - 1)
    weights = np.float32((k < copies[:, None]) / copies[:, None])
    return _weigh(prob, axis, places, weights)


def margins(tile: int, size: int) -> tuple[int, int]:
    """Returns how many pixels `pad` adds before and after an axis of a tile."""
    before = (size - tile) // 2
    return before, size - tile - before


def _pad(x, tile, size):
    # By numpy where x is numpy's: for a large section it is ten times as fast as JAX outside of jit.
    xp = np if isinstance(x, np.ndarray) else jnp
    return xp.pad(
        x, ((0, 0), *(margins(t, size) for t in tile), (0, 0)), mode="reflect"
    )
