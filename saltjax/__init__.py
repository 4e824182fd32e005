"""U-Nets in JAX that mark salt in seismic images.

network = saltjax.load("runs/final")
prob = network.predict(section)  # float32, of the section's shape
salt = prob >= network.threshold
"""

from __future__ import annotations

import os
import typing

if typing.TYPE_CHECKING:
    from saltjax.inference.predictor import TrainedRun

__all__ = ["load"]


def load(workdir: str | os.PathLike) -> TrainedRun:
    """Returns the best network of a finished run, see `saltjax.trained.TrainedRun`.

    Raises:
      InputError: a ValueError, if the folder holds no finished run, or a damaged one.
    """
    # The program's other commands start faster without JAX.
    from saltjax.inference import predictor as trained

    return trained.load(workdir)
