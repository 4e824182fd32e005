"""The U-Net; the study's ablations are fields of it."""

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
      skip: whether the encoder's feature maps are concatenated to the decoder's.
      upsample: "transposed" or "bilinear".
      norm: "none", "batch" or "group" (gcd(8, channels) groups), after every 3×3 convolution of a
        block.
      dropout: rate after each block, 0 for none.
      dtype: "float32" or "bfloat16", of activations; parameters and logits are float32.
      initializer: "he_normal" or "torch_default", see `layers.initializers`.
      matmul_precision: "float32", or "tensorfloat32", which rounds the factors of products to about
        three decimal digits, of convolutions and their gradients too, where the device does so.
    """

    features: tuple[int, ...]
    downsample: str = "max_pool"
    skip: bool = True
    upsample: str = "transposed"
    norm: str = "none"
    dropout: float = 0.0
    dtype: str = "float32"
    initializer: str = "he_normal"
    matmul_precision: str = "float32"

    @property
    def stride(self) -> int:
        """Input pixels per pixel of the coarsest feature map, along each axis."""
        return 2 ** (len(self.features) - 1)

    @nn.compact
    def __call__(
        self, image: jax.Array, train: bool = False, valid: jax.Array | None = None
    ) -> jax.Array:
        """Returns logits float32[B, H, W, 1] for image float32[B, H, W, C] in [0, 1].

        H and W are any: the image is mirrored at its lower and right edges up to a multiple of the
        stride, and the logits are cropped. `train` enables dropout and batch statistics; `valid`
        bool[B] selects the examples that enter the latter, all by default.
        """
        # JAX's own default is TensorFloat-32 on GPUs and bfloat16 on TPUs, for float32 too.
        with jax.default_matmul_precision(self.matmul_precision):
            return self._logits(image, train, valid)

    def _logits(self, image, train, valid):
        height, width = image.shape[1:3]
        x = layers.mirror_to_multiple(image, 1, self.stride)
        x = layers.mirror_to_multiple(x, 2, self.stride)

        block = functools.partial(
            layers.ConvBlock,
            norm=self.norm,
            dropout=self.dropout,
            dtype=self.dtype,
            initializer=self.initializer,
        )
        common = self.dtype, self.initializer
        skips = []
        for i, features in enumerate(self.features):
            if i > 0:
                skips.append(x)
                x = layers.Downsample(self.downsample, *common, name=f"down{i}")(x)
            x = block(features, name=f"encoder{i}")(x, train, valid)
        for i in reversed(range(len(self.features) - 1)):
            x = layers.Upsample(
                self.features[i], self.upsample, *common, name=f"up{i}"
            )(x)
            if self.skip:
                x = jnp.concatenate([x, skips[i]], axis=-1)
            x = block(self.features[i], name=f"decoder{i}")(x, train, valid)
        init = layers.initializers(self.initializer, x.shape[-1])
        return layers.LogitHead(name="head", **init)(x)[:, :height, :width]
