"""A network: a model, the resolution that it works at, and how it is applied to images."""

import contextlib
import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from saltjax.networks import layers, resize
from saltjax.networks.fcn import FCN
from saltjax.networks.unet import UNet
from saltjax.system import seeds


@dataclasses.dataclass(frozen=True)
class Network:
    """A model, its resolution and its input; hashable, a static argument of jitted steps.

    Attributes:
      model: the linen module, from image float32[B, H, W, C] to logits float32[B, H, W, 1].
      image_size: side of the square that a tile is resized to, in pixels.
      resize: how tiles are resized to it, "nearest", "bilinear" or "pad".
      context: k, if the channels are a section between its k neighbours on either side; 0 for
        tiles, whose three channels are those of an image.
    """

    model: nn.Module
    image_size: int
    resize: str
    context: int = 0

    @property
    def channels(self) -> int:
        """C, the channels of the input."""
        return 2 * self.context + 1 if self.context else 3

    def inputs(self, image: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns image float32[B, S, S, C] and label float32[B, S', S', 1], S the image_size.

        Args:
          image: float32[B, H, W, C] in [0, 1], tiles.
          label: uint8[B, H, W, 1] of any values, which are kept; for resize "pad" it stays at that size,
            otherwise S' is S: what `without_padding` leaves of the logits.
        """
        tile = image.shape[1:3]
        options = tile, self.image_size, self.resize
        image = jnp.asarray(resize.image_to_network(image, *options))
        return image, resize.label_to_network(label, *options)

    def without_padding(self, logits: jax.Array, tile: tuple[int, ...]) -> jax.Array:
        """Returns the part of logits [B, S, S, 1] that belongs to tiles of (H, W) pixels."""
        return resize.without_padding(logits, tile, self.image_size, self.resize)

    def init(self, seed: int) -> dict[str, Any]:
        """Returns the initial variables for a seed: `params` and `batch_stats` ({} if none).

        `jax.eval_shape(network.init, 0)` gives their shapes without computing anything.
        """
        shape = (1, self.image_size, self.image_size, self.channels)
        image = jnp.zeros(shape, jnp.float32)
        options = None
        if not isinstance(image, jax.core.Tracer) and jax.default_backend() == "cpu":
            # XLA's default level, 3, compiles three times as long, to the same bits.
            options = {"xla_backend_optimization_level": 2}
        init = jax.jit(self.model.init, compiler_options=options)
        variables = init(seeds.init_key(seed), image)
        return {
            "params": variables["params"],
            "batch_stats": variables.get("batch_stats", {}),
        }

    @functools.cached_property
    def stride(self) -> int:
        """Pixels of the network's input per pixel of its coarsest feature map."""
        return self.model.stride

    @functools.cached_property
    def receptive_radius(self) -> int | None:
        """See `receptive_radius`."""
        return receptive_radius(self.model, self.stride)


def create_network(config: ConfigDict) -> Network:
    """Returns the network that a complete config describes."""
    data, train = config.data, config.train
    model = create_model(
        **config.model, dtype=train.dtype, matmul_precision=train.matmul_precision
    )
    return Network(model, data.image_size, data.resize, data.context)


def create_model(
    name: str,
    features: tuple[int, ...],
    downsample: str,
    skip: bool,
    upsample: str,
    norm: str,
    dropout: float,
    init: str,
    dtype: str = "float32",
    matmul_precision: str = "float32",
) -> nn.Module:
    """Returns the model that `config.model` describes; "fcn" ignores the fields of the U-Net.

    The arguments are the settings of that section, `train.dtype` and `train.matmul_precision`.
    """
    common: dict[str, Any] = {
        "features": tuple(features),
        "norm": norm,
        "dropout": dropout,
        "dtype": dtype,
        "initializer": init,
        "matmul_precision": matmul_precision,
    }
    if name == "fcn":
        return FCN(**common)
    return UNet(downsample=downsample, skip=skip, upsample=upsample, **common)


def receptive_radius(model: nn.Module, stride: int) -> int | None:
    """Returns how many pixels away an input can be that changes an output; None if unlimited.

    The sum over all layers of their `reach`, in pixels of the network's input: an upper bound for
    any network, and exact where each layer's input is the output of the previous one.

    Raises:
      TypeError: if the model calls a layer that states no reach.
    """
    size, radius = 2 * stride, 0.0

    def add(call, args, kwargs, context):
        nonlocal radius
        layer = context.module
        # Only the model's own layers: each of them counts its sublayers.
        if context.method_name == "__call__" and len(layer.path) == 1:
            if not hasattr(layer, "reach"):
                raise TypeError(
                    f"layer {layer.name} of {type(model).__name__} states no reach"
                )
            radius += layer.reach * size / args[0].shape[1]
        return call(*args, **kwargs)

    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    with nn.intercept_methods(add):
        jax.eval_shape(model.init, jax.random.key(0), image)
    return None if math.isinf(radius) else round(radius)


def count_parameters(params: Any) -> int:
    """Returns the number of scalars in a pytree of parameters."""
    return sum(x.size for x in jax.tree.leaves(params))


def unit_image(image: jax.Array) -> jax.Array:
    """Returns float32 in [0, 1] for grey values uint8."""
    return image.astype(jnp.float32) / 255


def predict(
    variables: dict[str, Any],
    image: jax.Array,
    extent: jax.Array | None = None,
    *,
    model: nn.Module,
    channels: int,
    tta: bool,
    complement: bool = False,
) -> jax.Array:
    """Returns probabilities of salt float32[B, H, W] for images at the network's resolution.

    Args:
      variables: params and batch_stats.
      image: float32[B, H, W, 1 or C] in [0, 1]; one channel stands for C equal ones.
      extent: as in `apply`.
      model: the model.
      channels: C, those of its input.
      tta: as in `apply`.
      complement: return float32[2, B, H, W], the probabilities p of salt and 1 - p, which is
        precise also where p is rounded to 1.
    """
    image = jnp.broadcast_to(image, (*image.shape[:3], channels))
    logits = apply(variables, image, model, tta, extent)[..., 0]
    if complement:
        return jax.nn.sigmoid(jnp.stack([logits, -logits]))
    return jax.nn.sigmoid(logits)


predict_step = jax.jit(
    predict, static_argnames=("model", "channels", "tta", "complement")
)


def apply(
    variables: dict[str, Any],
    image: jax.Array,
    model: Any,
    tta: bool,
    extent: jax.Array | None = None,
) -> jax.Array:
    """Returns logits float32[B, H, W, 1] for image float32[B, H, W, C].

    `tta` averages the probabilities of each image and of its mirror image, left to right. Only the
    first `extent` int32[B, 2] rows and columns of each image count, all by default; see
    `layers.ending_at`.
    """
    with contextlib.ExitStack() as stack:
        if extent is not None:
            end = layers.ending_at(extent, image.shape[1:3])
            stack.enter_context(nn.intercept_methods(end))
        logits = model.apply(variables, image)
        if tta:
            mirrored = model.apply(variables, _mirror(image, extent))
            logits = average_logits(logits, _mirror(mirrored, extent))
    return logits


def _mirror(x: jax.Array, extent: jax.Array | None) -> jax.Array:
    """Returns x [B, H, W, C] with its columns, the first extent[:, 1] of them, reversed."""
    if extent is None:
        return x[:, :, ::-1]
    place, width = jnp.arange(x.shape[2]), extent[:, 1:]
    place = jnp.where(place < width, width - 1 - place, place)
    return jnp.take_along_axis(x, place[:, None, :, None], axis=2)


def average_logits(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the logits of the mean of the probabilities of logits a and b."""
    # From the logarithms of both probabilities: 1 - p would lose precision near 1.
    salt = jnp.logaddexp(jax.nn.log_sigmoid(a), jax.nn.log_sigmoid(b))
    none = jnp.logaddexp(jax.nn.log_sigmoid(-a), jax.nn.log_sigmoid(-b))
    return salt - none
