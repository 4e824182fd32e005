"""What is wanted of files of traces, and how their amplitudes are scaled."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from saltjax.inference.chosen_lines import Lines
from saltjax.inference.cluster import Cluster
from saltjax.inference.predictor import Predictor
from saltjax.inference.scaling import LEAST, MOST
from saltjax.inference.windows import SectionModel
from saltjax.scoring.postprocess import Postprocessing
from saltjax.seismic import amplitudes, period
from saltjax.system import console

# The factor between dominant periods beyond which a warning is given.
MOST_STRETCHED = 2


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted of files of traces.

    Attributes:
      first: the first network, whose settings hold.
      runs: all networks.
      models: the same as they are applied; their probabilities are averaged.
      periods: the dominant period in the training data of each, in pixels, by its name; None if it is not
        known. See `period.dominant`.
      chosen: threshold and minimum component size.
      inputs: all inputs of the command, which must not be replaced.
      header_bytes: first bytes of inline and crossline numbers in SEG-Y trace headers; None for those
        of the first network's run.
      min_body: samples, the minimum size of salt bodies; None for no bodies.
      lines: of volumes, the only ones that are segmented, and that the files hold; None for all.
      cluster: computes volumes on several machines; None for this process.
    """

    first: Predictor
    runs: Sequence[Predictor]
    models: Sequence[SectionModel]
    periods: Mapping[str, float | None]
    chosen: Postprocessing
    inputs: Sequence[pathlib.Path]
    header_bytes: tuple[int, ...] | None
    min_body: int | None
    lines: Lines | None
    cluster: Cluster | None = None

    def header_bytes_of_segy(self) -> tuple[int, ...]:
        """Returns where inline and crossline numbers are."""
        return self.header_bytes or self.first.header_bytes


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How the amplitudes of a file are scaled.

    Attributes:
      sample: traces of it [n, samples].
      normalize, limits: see `amplitudes.to_unit`.
    """

    sample: np.ndarray = dataclasses.field(repr=False)
    normalize: str
    limits: amplitudes.Range


def scaling(sample: np.ndarray, wanted: Request) -> Scaling:
    """Returns how amplitudes are scaled, see `amplitudes.scaling`, by a sample of all traces of a file.

    Warns if features are larger or smaller than in training data by more than a factor of two.
    """
    warn_of_scale(period.dominant(sample), wanted)
    return Scaling(sample, *amplitudes.scaling(sample, wanted.first.normalize))


def warn_of_scale(found: float | None, wanted: Request) -> None:
    """Prints that the dominant period of amplitudes, in samples, is not that of training data, if so."""
    scale = wanted.models[0].scale
    for path, known in wanted.periods.items():
        if found is None or known is None:
            continue
        factor = known / found
        ratio = factor / float(scale.samples)
        if max(ratio, 1 / ratio) > MOST_STRETCHED:
            seen = (
                "" if scale.samples == 1 else f", stretched by {float(scale.samples):g}"
            )
            remedy = ""
            if LEAST <= factor <= MOST:
                remedy = (
                    f": for features of the same size try --scale={factor:.2g},1 and "
                    f"--scale={factor:.2g},{factor:.2g} (docs/inference.md says how to choose)"
                )
            console.say(
                f"Warning    the dominant period of the amplitudes is {found:.1f} samples{seen}, and that of "
                f"the training data of {path} {known:.1f}{remedy}"
            )
            return
