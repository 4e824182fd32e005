"""Masks of files of traces, in memory that does not grow with the file; the share of salt."""

import dataclasses
import pathlib

from saltjax.inference import volumes
from saltjax.inference.body_files import Found
from saltjax.scoring.postprocess import Postprocessing, salt_mask
from saltjax.seismic import amplitudes
from saltjax.system import console


@dataclasses.dataclass(frozen=True)
class Segmented:
    """What was written for an input.

    Attributes:
      probs: the file of the probabilities, of images their directory.
      share: of salt, in all pixels or the samples of live traces.
      source: the traces that were segmented; None for images.
      scaling: how their amplitudes were scaled, for `amplitudes.to_unit`; None for images.
      damaged: messages by trace number, see `volumes.segment`.
      bodies: the salt bodies; None if they were not asked for.
    """

    probs: pathlib.Path
    share: float
    source: volumes.Traces | None = None
    scaling: tuple[str, amplitudes.Range] | None = None
    damaged: dict[int, str] = dataclasses.field(default_factory=dict)
    bodies: Found | None = None


def write(
    probs: volumes.Traces,
    masks: volumes.Traces,
    direction: str,
    chosen: Postprocessing,
) -> float:
    """Writes the mask of each line; returns the share of salt in the samples of live traces.

    A long line is processed in pieces, whose context has the width of the smallest component that
    is kept: a component that reaches beyond it is larger.
    """
    salt = live = 0
    lines_of_pass = probs.lines(volumes.passes(direction)[0])
    jobs = (
        (line, start)
        for line in lines_of_pass
        for start in range(0, len(line), volumes.PIECE)
    )

    def load(job):
        line, start = job
        first, stop = max(0, start - chosen.min_area), start + volumes.PIECE
        numbers = line[first : stop + chosen.min_area]
        keep = slice(start - first, min(stop, len(line)) - first)
        return numbers, keep, probs.read(numbers)

    def kept():
        nonlocal salt, live
        for numbers, keep, prob in volumes.read_ahead(load, jobs):
            alive = amplitudes.live(prob)  # dead traces have probability 0
            mask = salt_mask(prob.T[None], chosen)[0].T & alive[:, None]
            salt += int(mask[keep].sum())
            live += int(alive[keep].sum())
            yield numbers[keep], mask[keep]

    for _ in volumes.write_behind(masks.write, kept()):
        pass
    return salt / max(1, live * probs.samples)


def say_share(share: float, where: str, chosen: Postprocessing) -> None:
    """Prints the share of salt, and a line of its own if that is none or all; `where`: of what."""
    console.say(
        f"Salt       in {share:.1%} of {where}, at threshold {chosen.threshold:.3f}"
    )
    if share in (0, 1):
        console.say(
            f"Warning    salt is predicted {'everywhere' if share else 'nowhere'}; if that is "
            "unexpected, look at the probabilities, and compare scale and amplitudes with those of "
            "the tiles of training"
        )
