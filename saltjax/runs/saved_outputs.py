"""The outputs of a run for its test tiles: test_outputs.npz."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from saltjax.system import files

NAME = "test_outputs.npz"
LABELS = {0, 1, 255}
# Outputs whose mean IoU differs more than this from that of result.json are of another test. Less is
# rounding: where they were computed again, on another machine, a pixel may cross the threshold.
TOLERANCE = 5e-4
ADVICE = "delete it and result.json; the command that trained the run tests it again"


@dataclasses.dataclass(frozen=True)
class SavedOutputs:
    """A network's outputs for N test tiles, at their own resolution.

    Attributes:
      ids: N ids.
      prob: uint16[N, H, W], probabilities of salt; 65535 is probability 1.
      labels: uint8[N, H, W], 1 where salt, 0 where none, 255 where it counts in no score.
      units: int[N], one number for the tiles that the bootstrap resamples together.
    """

    ids: Sequence[str]
    prob: np.ndarray
    labels: np.ndarray
    units: np.ndarray


def write(workdir: pathlib.Path, outputs: SavedOutputs) -> None:
    """Writes test_outputs.npz atomically, compressed.

    Its arrays are `ids`, `probabilities`, `labels` and `units`.

    Raises:
      InputError: if it cannot be written.
    """
    with files.atomic_write(workdir / NAME) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            ids=np.array(outputs.ids, np.str_),
            probabilities=outputs.prob,
            labels=outputs.labels,
            units=outputs.units,
        )


def read(workdir: pathlib.Path) -> SavedOutputs | None:
    """Returns the outputs in test_outputs.npz; None without it: versions before 0.2.0 wrote none.

    Raises:
      InputError: if it is damaged.
    """
    path = workdir / NAME
    if not path.exists():
        return None
    try:
        # Opened here: np.load leaves a damaged archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            ids, prob, labels, units = (
                arrays[name] for name in ("ids", "probabilities", "labels", "units")
            )
        kinds = (ids.dtype.kind, prob.dtype.name, labels.dtype.name, units.dtype.kind)
        shape = (len(ids), *labels.shape[1:])
        if (
            kinds != ("U", "uint16", "uint8", "i")
            or ids.shape != units.shape
            or not prob.shape == labels.shape == shape
            or prob.ndim != 3
        ):
            raise ValueError(f"arrays of {kinds}, {prob.shape}, {len(ids)} ids")
        if not labels.size:
            raise ValueError(f"no pixels: arrays of {labels.shape}")
        if unknown := set(np.unique(labels).tolist()) - LABELS:
            raise ValueError(f"label {min(unknown)}; expected 0, 1 and 255")
    except Exception as error:  # a damaged archive raises errors of many kinds
        raise files.damaged(path, error, ADVICE) from None
    return SavedOutputs(ids.tolist(), prob, labels, units)
