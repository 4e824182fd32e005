"""Layers of the networks: double convolution, downsampling and upsampling by 2.

Shapes are NHWC. The 2×2 layers are written as slices and matrix products: on a CPU that is the
same function as `nn.max_pool` and `nn.ConvTranspose`, computed faster.

Every layer that a network calls states its `reach`: how far away, in pixels of its own input, an
input can be that changes an output. `network.receptive_radius` adds them up. Max-pooling and
upsampling move values by up to a pixel between the grids of two levels; that pixel is counted by
the upsampling.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype


def initializers(kind: str, fan_in: int) -> dict[str, Any]:
    """Returns `kernel_init` and `bias_init` of a layer.

    Args:
      kind: "he_normal" (He et al. 2015: kernels of variance 2 / fan-in, truncated normal; biases 0)
        or "torch_default", that of PyTorch's convolutions: kernels and biases uniform in
        ±1/√fan_in. (`reset_parameters` in torch/nn/modules/conv.py: `kaiming_uniform_` with a = √5
        has gain √(1/3), and a bound of √3 · gain / √fan_in.)
      fan_in: input channels times the kernel's area; it has no effect on "he_normal", whose fan-in
        follows from the kernel's shape.
    """
    if kind == "he_normal":
        return {
            "kernel_init": nn.initializers.he_normal(),
            "bias_init": nn.initializers.zeros,
        }

    def uniform(key, shape, dtype=jnp.float32):
        bound = fan_in**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return {"kernel_init": uniform, "bias_init": uniform}


def mirror_to_multiple(x: jax.Array, axis: int, multiple: int) -> jax.Array:
    """Returns x mirrored at the end of an axis up to the next multiple, as symmetric padding does.

    Unlike `jnp.pad` it takes an axis whose length is known only when the program runs.
    """
    n = x.shape[axis]
    padded = (n + multiple - 1) // multiple * multiple
    if padded == n:
        return x
    place = jnp.arange(padded) % (2 * n)
    return jnp.take(x, jnp.minimum(place, 2 * n - 1 - place), axis=axis)


def ending_at(extent: jax.Array, shape: tuple[int, ...]) -> Callable[..., Any]:
    """Returns an interceptor under which images end before their arrays do.

    Within `flax.linen.intercept_methods(ending_at(extent, shape))` a network computes for the first
    rows and columns of each image what it computes for them alone, so that images of several sizes
    share a compiled program. What it computes for the others has no meaning.

    Args:
      extent: int32[B, 2], rows and columns of each image, multiples of the network's stride.
      shape: height and width of the network's input.
    """

    def ends(x):
        """Returns the extents at the resolution of x [B, H, W, C]."""
        return [extent[:, i] // (shape[i] // x.shape[1 + i]) for i in (0, 1)]

    def inside(x):
        rows, columns = (
            jnp.arange(n) < end[:, None] for n, end in zip(x.shape[1:3], ends(x))
        )
        return rows[:, :, None, None] & columns[:, None, :, None]

    def repeat_last(x):
        for axis, end in enumerate(ends(x), start=1):
            place = jnp.minimum(jnp.arange(x.shape[axis]), end[:, None] - 1)
            others = tuple(a for a in range(1, 4) if a != axis)
            x = jnp.take_along_axis(x, jnp.expand_dims(place, others), axis)
        return x

    def call(layer, args, kwargs, context):
        module = context.module
        if context.method_name == "__call__":
            x = args[0]
            if isinstance(module, nn.Conv) and module.kernel_size != (1, 1):
                args = (jnp.where(inside(x), x, 0), *args[1:])  # its padding is 0
            elif isinstance(module, nn.GroupNorm):
                kwargs = kwargs | {"mask": jnp.broadcast_to(inside(x), x.shape)}
            elif isinstance(module, Upsample) and module.kind == "bilinear":
                args = (repeat_last(x), *args[1:])
        return layer(*args, **kwargs)

    return call


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Returns the maximum of each 2×2 window, [B, H, W, C] -> [B, H/2, W/2, C], H and W even."""
    top = jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    bottom = jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2])
    return jnp.maximum(top, bottom)


# Where the gradient of a 3×3 convolution by its kernel is a matrix product on CPUs: with at least
# that many channels on both sides, and pixels per image. There it is up to 3.5 times as fast as XLA's
# own convolution (measured on AVX-512 cores); with fewer no training step is faster (docs/speed.md).
PRODUCT_CHANNELS, PRODUCT_PIXELS = 128, 32 * 32


def conv_3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the 3×3 convolution at stride 1 of x padded by one zero on each side.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, F], of the same dtype.

    Returns:
      [B, H, W, F], of the same dtype. Only reverse-mode derivatives are defined.
    """
    pixels = x.shape[1] * x.shape[2]
    # An exported network has symbolic sizes, and no gradient.
    large = isinstance(pixels, int) and pixels >= PRODUCT_PIXELS
    if large and min(kernel.shape[2:]) >= PRODUCT_CHANNELS:
        return _conv_3x3_product(x, kernel)
    return _conv_3x3(x, kernel)


def _conv_3x3(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


_conv_3x3_product = jax.custom_vjp(_conv_3x3)


def _conv_3x3_forward(x, kernel):
    return _conv_3x3(x, kernel), (x, kernel)


def _conv_3x3_backward(saved, cotangent):
    x, kernel = saved
    (x_gradient,) = jax.linear_transpose(lambda x: _conv_3x3(x, kernel), x)(cotangent)

    def convolution(x, cotangent):
        return jax.linear_transpose(lambda k: _conv_3x3(x, k), kernel)(cotangent)[0]

    kernel_gradient = jax.lax.platform_dependent(
        x, cotangent, cpu=kernel_gradient_3x3, default=convolution
    )
    return x_gradient, kernel_gradient


_conv_3x3_product.defvjp(_conv_3x3_forward, _conv_3x3_backward)


def kernel_gradient_3x3(x: jax.Array, cotangent: jax.Array) -> jax.Array:
    """Returns the gradient of `conv_3x3` by its kernel, as one matrix product per image.

    The gradient at (i, j) is the sum over pixels of x[h, w + j - 1] · cotangent[h + 1 - i, w]: the
    columns' shifts are taken on the one factor, the rows' on the other, so that each is copied three
    times only, and the product of both has all nine.

    Args:
      x: [B, H, W, C].
      cotangent: [B, H, W, F], of the same dtype.

    Returns:
      [3, 3, C, F], of the same dtype, summed in float32.
    """
    b, h, w, c = x.shape
    features = cotangent.shape[-1]
    padded = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    columns = jnp.concatenate([padded[:, :, j : j + w] for j in range(3)], axis=-1)
    padded = jnp.pad(cotangent, ((0, 0), (1, 1), (0, 0), (0, 0)))
    rows = jnp.concatenate([padded[:, 2 - i : 2 - i + h] for i in range(3)], axis=-1)
    products = jnp.einsum(
        "bnc,bnf->bcf",
        columns.reshape(b, h * w, 3 * c),
        rows.reshape(b, h * w, 3 * features),
        preferred_element_type=jnp.float32,
    )
    gradient = products.sum(axis=0).reshape(3, c, 3, features)
    return gradient.transpose(2, 0, 1, 3).astype(x.dtype)


class TransposedConv2x2(nn.Module):
    """Transposed convolution, kernel 2×2, stride 2: [B, H, W, C] -> [B, 2H, 2W, features].

    Its windows do not overlap, so it is a matrix product to 2·2·features followed by
    depth-to-space. `kernel[i, j, c, f]` weighs input channel c in the output at (2y+i, 2x+j).
    The fan-in of "he_normal" is 2·2·C, as for a convolution with that kernel. That of
    "torch_default" is 2·2·features: PyTorch stores the kernel as [C, features, 2, 2] and takes the
    second axis for the input channels (`_calculate_fan_in_and_fan_out` in torch/nn/init.py).
    """

    features: int
    dtype: str = "float32"
    initializer: str = "he_normal"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        init = initializers(self.initializer, 4 * self.features)
        kernel = self.param("kernel", init["kernel_init"], (2, 2, c, self.features))
        bias = self.param("bias", init["bias_init"], (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = jnp.einsum("bhwc,ijcf->bhiwjf", x, kernel)
        return y.reshape(b, 2 * h, 2 * w, self.features) + bias


class ConvBlock(nn.Module):
    """Two 3×3 convolutions, each with its norm and ReLU, then dropout: C -> features channels."""

    features: int
    norm: str = "none"
    dropout: float = 0.0
    dtype: str = "float32"
    initializer: str = "he_normal"

    @property
    def reach(self) -> float:
        """Two pixels; infinite for group norm, whose statistics are over the whole image."""
        return math.inf if self.norm == "group" else 2

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, valid: jax.Array | None) -> jax.Array:
        """Returns [B, H, W, features] for x [B, H, W, C]; `train` and `valid` as in `unet.UNet`."""
        for i in (1, 2):
            x = nn.Conv(
                self.features,
                (3, 3),
                padding=1,
                conv_general_dilated=lambda x, kernel, *_, **__: conv_3x3(x, kernel),
                # Batch norm removes any bias. The bias's gradient would be rounding error only,
                # which Adam scales up to full steps.
                use_bias=self.norm != "batch",
                dtype=self.dtype,
                name=f"conv{i}",
                **initializers(self.initializer, 9 * x.shape[-1]),
            )(x)
            if self.norm == "batch":
                # Padding examples must not enter the statistics of a batch.
                mask = None if valid is None else valid[:, None, None, None]
                norm = nn.BatchNorm(
                    not train, momentum=0.9, dtype=self.dtype, name=f"norm{i}"
                )
                x = norm(x, mask=mask)
            elif self.norm == "group":
                groups = math.gcd(8, self.features)
                x = nn.GroupNorm(groups, dtype=self.dtype, name=f"norm{i}")(x)
            x = nn.relu(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class Downsample(nn.Module):
    """Halves the resolution, channels kept: `max_pool` 2×2, or `strided`, a 3×3 stride-2 conv.

    The strided convolution pads 1 on both sides, as PyTorch does; "SAME" would pad (0, 1).
    """

    kind: str
    dtype: str = "float32"
    initializer: str = "he_normal"

    @property
    def reach(self) -> float:
        """One pixel for the strided convolution, none for max-pooling; see the module."""
        return 1 if self.kind == "strided" else 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind == "max_pool":
            return max_pool_2x2(x)
        return nn.Conv(
            x.shape[-1],
            (3, 3),
            strides=2,
            padding=1,
            dtype=self.dtype,
            name="conv",
            **initializers(self.initializer, 9 * x.shape[-1]),
        )(x)


class Upsample(nn.Module):
    """Doubles the resolution: `transposed` conv, or `bilinear` interpolation of a 1×1 conv."""

    features: int
    kind: str
    dtype: str = "float32"
    initializer: str = "he_normal"

    @property
    def reach(self) -> float:
        """One pixel of the output; interpolation also uses the neighbouring input pixel."""
        return 1 if self.kind == "bilinear" else 0.5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind == "transposed":
            return TransposedConv2x2(
                self.features, self.dtype, self.initializer, name="conv"
            )(x)
        b, h, w, c = x.shape
        # A 1×1 convolution and an interpolation commute; this order interpolates fewer channels.
        x = nn.Conv(
            self.features,
            (1, 1),
            dtype=self.dtype,
            name="conv",
            **initializers(self.initializer, c),
        )(x)
        # Antialiasing has no effect where the resolution grows, but keeps jax2onnx from converting.
        shape = b, 2 * h, 2 * w, self.features
        return jax.image.resize(x, shape, "bilinear", antialias=False)


class LogitHead(nn.Conv):
    """The 1×1 convolution to one logit.

    It computes in float32: probabilities need more than the three digits of bfloat16.
    """

    features: int = 1
    kernel_size: tuple[int, int] = (1, 1)
    dtype: str = "float32"

    @property
    def reach(self) -> float:
        """None: an output pixel depends on its own input pixel only."""
        return 0
