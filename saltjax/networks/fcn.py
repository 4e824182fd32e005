"""The fully convolutional network at constant resolution."""

import flax.linen as nn
import jax

from saltjax.networks import layers


class FCN(nn.Module):
    """Fully convolutional network: one block per entry of `features`, all at full resolution.

    Attributes:
      features: channels of each block.
      norm, dropout, dtype, initializer, matmul_precision: as in `unet.UNet`.
    """

    features: tuple[int, ...]
    norm: str = "none"
    dropout: float = 0.0
    dtype: str = "float32"
    initializer: str = "he_normal"
    matmul_precision: str = "float32"

    @property
    def stride(self) -> int:
        """Input pixels per pixel of the coarsest feature map: 1."""
        return 1

    @nn.compact
    def __call__(
        self, image: jax.Array, train: bool = False, valid: jax.Array | None = None
    ) -> jax.Array:
        """Returns logits float32[B, H, W, 1] for image float32[B, H, W, C]; see `unet.UNet`."""
        with jax.default_matmul_precision(self.matmul_precision):
            return self._logits(image, train, valid)

    def _logits(self, x, train, valid):
        for i, features in enumerate(self.features):
            block = layers.ConvBlock(
                features,
                self.norm,
                self.dropout,
                self.dtype,
                self.initializer,
                name=f"block{i}",
            )
            x = block(x, train, valid)
        init = layers.initializers(self.initializer, x.shape[-1])
        return layers.LogitHead(name="head", **init)(x)
