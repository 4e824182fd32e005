"""Random changes of training tiles, within the jitted training step."""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

# Ranges of "affine".
SHIFT = 20.0  # pixels, along each axis
SCALE = (0.85, 1.15)
ROTATION = 10.0  # degrees
CONTRAST = (0.9, 1.1)
BRIGHTNESS = 0.1  # of white


def augment(
    image: jax.Array, label: jax.Array, key: jax.Array, kind: str
) -> tuple[jax.Array, jax.Array]:
    """Returns tiles that are changed at random, each by itself; images stay in [0, 1].

    What a tile draws depends on the key and its place in the batch, not on the batch's size.

    Args:
      image: float32[B, H, W, C] in [0, 1]; its channels are changed alike.
      label: uint8[B, H, W, 1] of any values, which are only moved.
      key: of the random numbers.
      kind: "flip" mirrors half of the tiles from left to right. Never upside down: depth increases
        downwards. "affine" does so too, shifts, scales and rotates image and label (see `warp`), and
        changes the image's contrast about 0.5, and its brightness.
    """
    drawn = jax.random.uniform(key, (len(image), 7))
    flip = drawn[:, 0] < 0.5
    if kind == "flip":
        mirrored = flip[:, None, None, None]
        image, label = (jnp.where(mirrored, x[:, :, ::-1], x) for x in (image, label))
        return image, label
    symmetric = 2 * drawn - 1
    rows, columns = jax.vmap(source_coordinates, (None, 0, 0, 0, 0))(
        image.shape[1:3],
        flip,
        SHIFT * symmetric[:, 1:3],
        _between(SCALE, drawn[:, 3]),
        jnp.deg2rad(ROTATION) * symmetric[:, 4],
    )
    image, label = warp(image, label, rows, columns)
    contrast, brightness = _between(CONTRAST, drawn[:, 5]), BRIGHTNESS * symmetric[:, 6]
    contrast, brightness = (x[:, None, None, None] for x in (contrast, brightness))
    return jnp.clip(0.5 + contrast * (image - 0.5) + brightness, 0, 1), label


def _between(ends: tuple[float, float], drawn: jax.Array) -> jax.Array:
    return ends[0] + (ends[1] - ends[0]) * drawn


def source_coordinates(
    shape: tuple[int, ...],
    flip: jax.Array,
    shift: jax.Array,
    scale: jax.Array,
    angle: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the (row, column) of a tile that each pixel of the augmented tile shows, float32[H, W].

    The tile is mirrored from left to right if `flip`, then scaled and rotated around its centre, then
    shifted.

    Args:
      shape: (H, W) in pixels.
      flip: bool[].
      shift: float32[2], down and to the right, in pixels.
      scale: float32[], over 1 enlarges.
      angle: float32[], counter-clockwise, in radians.
    """
    centre = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    down = jnp.arange(shape[0])[:, None] - centre[0] - shift[0]
    right = jnp.arange(shape[1])[None, :] - centre[1] - shift[1]
    # The inverse rotation; counter-clockwise on a screen, whose rows count downwards.
    cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    down, right = cos * down + sin * right, cos * right - sin * down
    return down + centre[0], jnp.where(flip, -right, right) + centre[1]


def warp(
    image: jax.Array, label: jax.Array, rows: jax.Array, columns: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns image and label at the coordinates rows, columns float32[B, H, W] of their pixels.

    The image is interpolated linearly, the label takes the nearest pixel, and both are mirrored at
    their edges, whose pixels are not repeated.

    Args:
      image: float32[B, H, W, C].
      label: uint8[B, H, W, 1].
      rows, columns: see `source_coordinates`.
    """

    def one(image, label, *coordinates):
        channels = [
            map_coordinates(channel, coordinates, order=1, mode="mirror")
            for channel in jnp.moveaxis(image, -1, 0)
        ]
        nearest = map_coordinates(label[..., 0], coordinates, order=0, mode="mirror")
        return jnp.stack(channels, axis=-1), nearest[..., None]

    return jax.vmap(one)(image, label, rows, columns)
