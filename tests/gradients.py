"""Gradients of every variant of the networks, to compare with those of other implementations."""

import jax
import jax.numpy as jnp
import numpy as np
from variables import draw_variables

from saltjax.networks.fcn import FCN
from saltjax.networks.unet import UNet

BATCH = 2
FEATURES = (4, 8, 16)
VARIANTS = {
    "unet": UNet(FEATURES),
    "strided": UNet(FEATURES, "strided"),
    "no_skip": UNet(FEATURES, "strided", skip=False),
    "bilinear": UNet(FEATURES, upsample="bilinear"),
    "batch": UNet(FEATURES, "strided", norm="batch"),
    "group": UNet(FEATURES, norm="group"),
    "fcn": FCN(FEATURES[:2]),
    "fcn_batch": FCN(FEATURES[:2], norm="batch"),
}
# Of the norm of the gradient. Float32 rounds by 6e-8 in each of some twenty layers, forwards and
# backwards, and sums cancel, with norms above all: at 24 pixels the largest error of JAX was 1e-6,
# with other fusions 7e-6, and that of PyTorch 3e-6. A sum that is computed wrongly, or a layer
# that differs, is off by 1e-3 and more.
TOLERANCE = 2e-5


def draw_batch(model, size):
    """Returns parameters, image float32[B, S, S, 3] and random label float32[B, S, S, 1]."""
    rng = np.random.default_rng(1)
    image = rng.random((BATCH, size, size, 3), np.float32)
    label = rng.integers(0, 2, (BATCH, size, size, 1)).astype(np.float32)
    return draw_variables(model)["params"], image, label


def gradient(model, params, image, label):
    """Returns the gradient of the mean binary cross-entropy, batch norm as in training."""

    @jax.jit
    @jax.grad
    def of_loss(params):
        variables = {"params": params, "batch_stats": stats}
        logits, _ = model.apply(variables, image, train=True, mutable=["batch_stats"])
        return jnp.mean(jax.nn.softplus(logits) - label * logits)

    stats = draw_variables(model)["batch_stats"]
    return jax.device_get(of_loss(params))
