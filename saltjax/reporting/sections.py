"""The sections that the page of a prediction shows, few enough for a page."""

import dataclasses

import numpy as np

from saltjax.seismic.amplitudes import Range
from saltjax.seismic.sample_axis import SampleAxis

# Of the sections in a page, which then has about 12 MB; of more it shows a part.
MAX_PIXELS = 8_000_000
MAX_SECTIONS = 1000
# Rather than to leave out more sections than this, sections are shown at a lower resolution.
FEW_SECTIONS = 20


@dataclasses.dataclass(frozen=True)
class Section:
    """A section as the page shows it.

    Attributes:
      name: of an image or a line; in a volume, the inline or crossline number.
      grey: uint8[H, W], the network's input from 0 to 1.
      prob: uint16[H, W], 65535 for probability 1.
      live: bool[W], False for a dead trace.
      columns: int[W], the trace or line number of each column, or its place in an image.
    """

    name: str
    grey: np.ndarray
    prob: np.ndarray
    live: np.ndarray
    columns: np.ndarray


@dataclasses.dataclass(frozen=True)
class Contents:
    """The sections of a page, in order.

    Attributes:
      kind: "images", "lines", or "volume": then all sections have the same rows and columns.
      sections: at least one.
      along: what `Section.name` counts in a volume, "inline" or "crossline".
      across: what `Section.columns` count.
      rows: the position of the pixels of a column.
      steps: of how many sections, columns and rows of the input one is shown.
      total: sections of the input.
      limits: the amplitudes that are black and white; None for images.
    """

    kind: str
    sections: list[Section]
    along: str
    across: str
    rows: SampleAxis
    steps: tuple[float, int, int]
    total: int
    limits: Range | None = None


def choose(
    volume: bool, count: int, width: float, height: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns which sections a page shows, and of how many columns and rows it shows one.

    A volume is thinned out along all axes, along the longest one first, where samples count half: they
    lie closer together than traces. Of other sections all are shown, at a lower resolution, before only
    some are.

    Args:
      volume: whether the sections are those of a volume.
      count: sections.
      width, height: of a section, the mean width of all.
    """
    steps = [1, 1, 1]
    lengths = [count, width, height] if volume else [1, width, height]
    room = MAX_PIXELS if volume else MAX_PIXELS / min(count, FEW_SECTIONS)

    def shown() -> list[int]:
        return [-(-round(length) // step) for length, step in zip(lengths, steps)]

    while np.prod(shown(), dtype=float) > room:
        weighed = [n * weight for n, weight in zip(shown(), (1, 1, 0.5))]
        steps[int(np.argmax(weighed))] += 1
    step, width_step, height_step = steps
    if volume:
        return np.arange(0, count, step), (width_step, height_step)
    _, columns, rows = shown()
    most = min(count, MAX_SECTIONS, max(1, MAX_PIXELS // (columns * rows)))
    kept = np.linspace(0, count - 1, most).round().astype(int)
    return kept, (width_step, height_step)
