"""U-Nets in JAX that segment salt in seismic images.

network = saltjax.load("runs/final")
prob = network.predict(section)  # float32, of the section's shape
mask = network.mask(section)
"""

from __future__ import annotations

import os

TYPE_CHECKING = (
    False  # without importing typing: Ctrl-C is not handled before this file is read
)
if TYPE_CHECKING:
    from saltjax.inference.predictor import Predictor

__all__ = ["load"]


def load(
    workdir: str | os.PathLike, engine: str = "jax", precision: str | None = None
) -> Predictor:
    """Returns a trained network, see `saltjax.inference.predictor.Predictor`.

    Args:
      workdir: the directory of a finished run, such as "runs/final" or "~/runs/final"; a network
        file that `--mode=export --output=NAME.safetensors` wrote; or the name of a packaged
        network, which a directory of that name precedes.
      engine: what computes the network: "jax", or "openvino" on CPUs (docs/inference.md says when
        it is faster).
      precision: "float32" or "bfloat16", of products and activations; None for that of training.

    Raises:
      InputError: a ValueError, if there is none, or a damaged one, or the directory holds no
        finished run, or engine or precision are not to be had.
    """
    # Imported here since the command line starts faster without JAX.
    from saltjax.inference import predictor

    return predictor.load(workdir, engine, precision)
