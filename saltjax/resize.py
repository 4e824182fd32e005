"""From the tiles' own resolution to the network's and back."""

import jax
import jax.numpy as jnp
import numpy as np


def image_to_network(image: jax.Array, size: int, method: str) -> jax.Array:
    """Returns float32[B, size, size, 3] in [0, 1] for uint8[B, H, W, 3].

    `nearest` and `bilinear` interpolate; `pad` mirrors the image around its edges (H, W <= size).
    """
    image = image.astype(jnp.float32) / 255
    return (
        _pad(image, size)
        if method == "pad"
        else _interpolate(image, (size, size), method)
    )


def label_to_network(label: jax.Array, size: int, method: str) -> jax.Array:
    """Returns float32[B, size, size, 1] in {0, 1} for uint8[B, H, W, 1] in {0, 1}.

    A label is never interpolated: `bilinear` takes the nearest pixel, as `nearest` does.
    """
    label = label.astype(jnp.float32)
    return (
        _pad(label, size)
        if method == "pad"
        else _interpolate(label, (size, size), "nearest")
    )


def probability_to_native(
    prob: jax.Array, shape: tuple[int, int], method: str
) -> jax.Array:
    """Returns float32[B, H, W, 1] for float32[B, size, size, 1]: undoes `image_to_network`.

    What `nearest` copied is averaged, what `pad` added is cut off, `bilinear` interpolates back.
    """
    size = prob.shape[1]
    if method == "pad":
        (top, _), (left, _) = (_margins(n, size) for n in shape)
        return prob[:, top : top + shape[0], left : left + shape[1]]
    if method == "nearest" and max(shape) <= size:
        rows, cols = (_mean_of_copies(n, size) for n in shape)
        return jnp.einsum("hy,byxc,wx->bhwc", rows, prob, cols, precision="highest")
    return _interpolate(prob, shape, method)


def _interpolate(x, shape, method):
    if method == "nearest":
        rows, cols = (_nearest(n, new) for n, new in zip(x.shape[1:3], shape))
        return x[:, rows][:, :, cols]
    return jax.image.resize(x, (x.shape[0], *shape, x.shape[3]), method)


def _nearest(old: int, new: int) -> np.ndarray:
    """Returns int[new], the old pixel that each new pixel's centre lies in.

    In integers: in floats a centre on the border of two pixels falls to either side.
    """
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _margins(native: int, size: int) -> tuple[int, int]:
    before = (size - native) // 2
    return before, size - native - before


def _pad(x, size):
    margins = [_margins(n, size) for n in x.shape[1:3]]
    return jnp.pad(x, ((0, 0), *margins, (0, 0)), mode="reflect")


def _mean_of_copies(native: int, size: int) -> np.ndarray:
    """Returns float32[native, size]: row i averages the pixels that `nearest` copied from i."""
    copies = np.float32(_nearest(native, size) == np.arange(native)[:, None])
    return copies / copies.sum(axis=1, keepdims=True)
