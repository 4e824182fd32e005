"""Differences of scores between runs on the same test tiles, paired by tile."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from saltjax.data import splits
from saltjax.runs.result import Interval
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.scoring import metrics, postprocess

# Of `metrics.tile_scores`, means over tiles, and of `metrics.pooled_scores`, over all pixels.
MEANS, POOLED = ("iou", "kaggle_map"), ("f1", "accuracy")


@dataclasses.dataclass(frozen=True)
class TestedTiles:
    """Scores on T test tiles, of one run or the means over several.

    Attributes:
      content: hash of the data that the tiles are of: equal ids of equal data are equal tiles.
      ids: T ids, sorted.
      units: int[T], one number for the tiles that the bootstrap resamples together.
      counts: float64[T, 4], `metrics.confusion`.
      scores: float64[T] by the names in MEANS.
    """

    content: str
    ids: tuple[str, ...]
    units: np.ndarray
    counts: np.ndarray
    scores: dict[str, np.ndarray]

    def same_tiles(self, other: "TestedTiles") -> bool:
        """Returns whether both are scores on the same tiles."""
        return (self.content, self.ids) == (other.content, other.ids)

    def values(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Returns float64[R], the scores named in MEANS and POOLED, for weights float64[R, T]."""
        drawn = weights.sum(axis=1)
        means = {name: weights @ self.scores[name] / drawn for name in MEANS}
        pooled = metrics.pooled_scores(weights @ self.counts)
        return means | {name: pooled[name] for name in POOLED}


def score_tiles(
    outputs: SavedOutputs, chosen: postprocess.Postprocessing, content: str
) -> TestedTiles:
    """Returns the scores of a run's outputs; `content`: see `TestedTiles`."""
    prob = postprocess.from_sixteen_bits(outputs.prob)
    masks = postprocess.salt_mask(prob, chosen)
    counts = metrics.confusion(masks, outputs.labels).astype(np.float64)
    order = np.argsort(np.array(outputs.ids))
    scores = metrics.tile_scores(counts)
    return TestedTiles(
        content,
        tuple(outputs.ids[i] for i in order),
        outputs.units[order],
        counts[order],
        {name: scores[name][order] for name in MEANS},
    )


def mean_over_runs(tested: Sequence[TestedTiles]) -> TestedTiles | None:
    """Returns each tile's mean scores over the runs that tested it; None for runs on other data.

    Over folds these are the scores of all tiles, each from the run that has not seen it.
    """
    if len({one.content for one in tested}) != 1:
        return None
    ids, first, which, times = np.unique(
        np.concatenate([one.ids for one in tested]),
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.zeros((len(ids), *values.shape[1:]))
        np.add.at(total, which, values)
        return (total.T / times).T

    return TestedTiles(
        tested[0].content,
        tuple(ids.tolist()),
        np.concatenate([one.units for one in tested])[first],
        mean(np.concatenate([one.counts for one in tested])),
        {
            name: mean(np.concatenate([one.scores[name] for one in tested]))
            for name in MEANS
        },
    )


def common_units(a: TestedTiles, b: TestedTiles) -> np.ndarray:
    """Returns int[T], one number for the tiles that are one unit in either of two runs."""
    return splits.joined(
        *(np.unique(one.units, return_inverse=True)[1] for one in (a, b))
    )


def differences(
    tested: TestedTiles, reference: TestedTiles, seed: int
) -> dict[str, Interval]:
    """Returns the scores named in MEANS and POOLED minus those of a reference on the same tiles.

    Each has its 95 % interval. Every bootstrap sample draws the same units for both, so what makes
    a tile easy or hard for both cancels.

    Args:
      tested: the scores.
      reference: those of the reference.
      seed: of the resampling.
    """
    weights = metrics.bootstrap_weights(common_units(tested, reference), seed)
    everything = np.ones((1, len(tested.ids)))
    found = {}
    for name in (*MEANS, *POOLED):
        value, resampled = (
            tested.values(w)[name] - reference.values(w)[name]
            for w in (everything, weights)
        )
        found[name] = metrics.interval(value[0], resampled)
    return found
