"""Statistics of a set of tiles."""

import dataclasses

import numpy as np

from saltjax.data.tiles import Tiles, salt_coverage


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Counts and salt coverage of tiles.

    Attributes:
      tiles: number of tiles.
      height, width: of each, in pixels.
      empty_masks, full_masks: number of tiles without salt, and of tiles that are all salt.
      constant_images: number of images of one value.
      salt_coverage: share of all pixels that is salt.
      coverage_histogram: number of tiles with salt in ten equal bins of coverage, 0 to 1.
    """

    tiles: int
    height: int
    width: int
    empty_masks: int
    full_masks: int
    constant_images: int
    salt_coverage: float
    coverage_histogram: list[int]


def compute(tiles: Tiles) -> Statistics:
    """Returns the statistics of the tiles."""
    coverage = salt_coverage(tiles.labels)
    flat = tiles.images.reshape(len(tiles), -1)
    histogram, _ = np.histogram(coverage[coverage > 0], 10, (0, 1))
    return Statistics(
        tiles=len(tiles),
        height=tiles.images.shape[1],
        width=tiles.images.shape[2],
        empty_masks=int((coverage == 0).sum()),
        full_masks=int((coverage == 1).sum()),
        constant_images=int((flat.min(axis=1) == flat.max(axis=1)).sum()),
        salt_coverage=float(coverage.mean()),
        coverage_histogram=histogram.tolist(),
    )
