"""Statistics of a set of tiles."""

import dataclasses

import numpy as np

from saltjax.data.tiles import BLOCK, UNLABELLED, Tiles
from saltjax.seismic import period

EXAMPLES = 3
# Of which the dominant period is estimated.
MAX_TILES = 1000


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Counts and salt coverage of tiles, of their labelled pixels.

    Attributes:
      tiles: number of tiles.
      height, width: of each, in pixels.
      empty_masks, full_masks: number of tiles without salt, and of tiles that are all salt.
      constant_images: number of images of one value.
      duplicate_images: number of images that an earlier tile has too, see `Tiles.contents`.
      differing_masks: number of those whose mask is not that of the earlier tile.
      duplicate_examples: (id, id of the earlier tile) of up to three, differing masks first.
      salt_coverage: share of salt in all labelled pixels.
      coverage_histogram: number of tiles with salt in ten equal bins of coverage, 0 to 1.
      dominant_period: along columns, in pixels, see `period.dominant`; None if there is none.
    """

    tiles: int
    height: int
    width: int
    empty_masks: int
    full_masks: int
    constant_images: int
    duplicate_images: int
    differing_masks: int
    duplicate_examples: list[tuple[str, str]]
    salt_coverage: float
    coverage_histogram: list[int]
    dominant_period: float | None


def compute(tiles: Tiles) -> Statistics:
    """Returns the statistics of the tiles."""
    coverage = tiles.summary.coverage
    _, first, content = np.unique(
        tiles.contents, return_index=True, return_inverse=True
    )
    copies = np.flatnonzero(first[content] != np.arange(len(tiles)))
    originals = first[content][copies]
    differs = np.zeros(len(copies), bool)
    for start in range(0, len(copies), BLOCK):
        part = slice(start, start + BLOCK)
        both = (tiles.labels[rows[part]] for rows in (copies, originals))
        differs[part] = _differ(*both)
    shown = np.argsort(~differs, kind="stable")[:EXAMPLES]
    histogram, _ = np.histogram(coverage[coverage > 0], 10, (0, 1))
    return Statistics(
        tiles=len(tiles),
        height=tiles.size[0],
        width=tiles.size[1],
        empty_masks=int((coverage == 0).sum()),
        full_masks=int((coverage == 1).sum()),
        constant_images=int(tiles.summary.constant.sum()),
        duplicate_images=len(copies),
        differing_masks=int(differs.sum()),
        duplicate_examples=[
            (tiles.ids[copies[i]], tiles.ids[originals[i]]) for i in shown
        ],
        salt_coverage=_mean_coverage(tiles),
        coverage_histogram=histogram.tolist(),
        dominant_period=_dominant_period(tiles),
    )


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns bool[N], whether labels uint8[N, H, W, 1] differ where both have labelled pixels."""
    labelled = (a != UNLABELLED) & (b != UNLABELLED)
    return ((a != b) & labelled).any(axis=(1, 2, 3))


def _dominant_period(tiles: Tiles) -> float | None:
    """Returns that of the middle channel of up to MAX_TILES tiles, evenly spaced."""
    some = np.unique(np.linspace(0, len(tiles) - 1, MAX_TILES).astype(int))
    images = np.asarray(tiles.images[some])[:, :, :, tiles.images.shape[3] // 2]
    columns = images.transpose(0, 2, 1).reshape(-1, images.shape[1])
    found = period.dominant(columns)
    return found and round(found, 2)


def _mean_coverage(tiles: Tiles) -> float:
    """Returns the mean of the tiles' coverage, weighted by their labelled pixels."""
    weights = tiles.summary.labelled if tiles.has_unlabelled else None
    return float(np.average(tiles.summary.coverage, weights=weights))
