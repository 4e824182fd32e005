"""U-Nets in JAX that segment salt in seismic images.

network = saltjax.load("runs/final")
prob = network.predict(section)  # float32, of the section's shape
mask = prob >= network.threshold
"""

from __future__ import annotations

import os

TYPE_CHECKING = (
    False  # without importing typing: Ctrl-C is not handled before this file is read
)
if TYPE_CHECKING:
    from saltjax.inference.predictor import Predictor

__all__ = ["load"]


def load(workdir: str | os.PathLike) -> Predictor:
    """Returns the best network of a finished run, see `saltjax.inference.predictor.Predictor`.

    Args:
      workdir: the run directory, for example "runs/final" or "~/runs/final".

    Raises:
      InputError: a ValueError, if the directory holds no finished run, or a damaged one.
    """
    # Imported here since the command line starts faster without JAX.
    from saltjax.inference import predictor

    return predictor.load(workdir)
