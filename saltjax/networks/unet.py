"""The networks: `UNet` with its ablations as fields, and `FCN` at constant resolution."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from saltjax.networks import layers


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with one level per entry of `features`.

    Attributes:
      features: channels of each level, from full resolution to the bottom.
      downsample: "max_pool" or "strided".
      skip: whether the encoder's maps are concatenated to the decoder's.
      upsample: "transposed" or "bilinear".
      norm: "none", "batch" or "group" (8 groups, or the greatest common divisor of 8 and the
        channels), after every 3×3 convolution of a block.
      dropout: rate after each block, 0 for none.
      dtype: "float32" or "bfloat16", of activations; parameters and logits are float32.
    """

    features: tuple[int, ...]
    downsample: str = "max_pool"
    skip: bool = True
    upsample: str = "transposed"
    norm: str = "none"
    dropout: float = 0.0
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, image: jax.Array, train: bool = False, valid: jax.Array | None = None
    ) -> jax.Array:
        """Returns logits float32[B, H, W, 1] for image float32[B, H, W, 3] in [0, 1].

        Any H and W: the image is mirrored at its lower and right edge up to a size that the depth
        divides, and the logits are cropped back. `valid` bool[B] marks the examples that enter
        batch statistics; without it all do.
        """
        height, width = image.shape[1:3]
        step = 2 ** (len(self.features) - 1)
        x = layers.mirror_to_multiple(image, 1, step)
        x = layers.mirror_to_multiple(x, 2, step)

        block = functools.partial(
            layers.ConvBlock, norm=self.norm, dropout=self.dropout, dtype=self.dtype
        )
        skips = []
        for i, features in enumerate(self.features):
            if i > 0:
                skips.append(x)
                x = layers.Downsample(self.downsample, self.dtype, name=f"down{i}")(x)
            x = block(features, name=f"encoder{i}")(x, train, valid)
        for i in reversed(range(len(self.features) - 1)):
            x = layers.Upsample(
                self.features[i], self.upsample, self.dtype, name=f"up{i}"
            )(x)
            if self.skip:
                x = jnp.concatenate([x, skips[i]], axis=-1)
            x = block(self.features[i], name=f"decoder{i}")(x, train, valid)
        # In float32: probabilities need more than bfloat16's three digits.
        x = nn.Conv(
            1, (1, 1), dtype="float32", kernel_init=layers.he_normal, name="head"
        )(x)
        return x[:, :height, :width]


class FCN(nn.Module):
    """Fully convolutional network: one block per entry of `features`, all at full resolution."""

    features: tuple[int, ...]
    norm: str = "none"
    dropout: float = 0.0
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, image: jax.Array, train: bool = False, valid: jax.Array | None = None
    ) -> jax.Array:
        """Returns logits float32[B, H, W, 1] for image float32[B, H, W, 3]; see `UNet`."""
        x = image
        for i, features in enumerate(self.features):
            block = layers.ConvBlock(
                features, self.norm, self.dropout, self.dtype, name=f"block{i}"
            )
            x = block(x, train, valid)
        return nn.Conv(
            1, (1, 1), dtype="float32", kernel_init=layers.he_normal, name="head"
        )(x)


def coarsest_pixel(model: UNet | FCN) -> int:
    """Returns the side, in pixels, of what one pixel stands for where the network is coarsest."""
    return 1 if isinstance(model, FCN) else 2 ** (len(model.features) - 1)


def receptive_radius(model: UNet | FCN) -> int | None:
    """Returns how many pixels away an input can be that changes an output; None for anywhere.

    In pixels of the input, a 3×3 convolution at level l reaches 2^l, a strided one half of that
    into the level above. Doubling the resolution adds a pixel of the finer level, or two where it
    interpolates.
    """
    if model.norm == "group":
        return None  # its statistics are over the whole image
    levels = len(model.features)
    if isinstance(model, FCN):
        return 2 * levels
    radius = sum(2 * 2**level for level in range(levels))
    for level in range(levels - 1):
        radius += 2**level * (model.downsample == "strided")
        radius += 2**level * (2 if model.upsample == "bilinear" else 1)
        radius += 2 * 2**level
    return radius


def create_model(
    name: str,
    features: tuple[int, ...],
    downsample: str,
    skip: bool,
    upsample: str,
    norm: str,
    dropout: float,
    dtype: str = "float32",
) -> UNet | FCN:
    """Returns the network that `config.model` describes; the U-Net's own fields bind only it."""
    common = {
        "features": tuple(features),
        "norm": norm,
        "dropout": dropout,
        "dtype": dtype,
    }
    if name == "fcn":
        return FCN(**common)
    return UNet(downsample=downsample, skip=skip, upsample=upsample, **common)


def count_parameters(params) -> int:
    """Returns the number of scalars in a pytree of parameters."""
    return sum(x.size for x in jax.tree.leaves(params))
