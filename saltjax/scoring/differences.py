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
# Added to the names of the scores of the second masks of a tile, see `TestedTiles`.
AT_HALF = " at 0.5"
HALF = postprocess.Postprocessing(0.5, 0)


@dataclasses.dataclass(frozen=True)
class TestedTiles:
    """Scores on T test tiles, of one run or the means over several.

    Each tile has two masks: at the run's own threshold and minimum component size, and at the
    threshold 0.5 without a minimum size.

    Attributes:
      content: hash of the data that the tiles are of: equal ids of equal data are equal tiles.
      ids: T ids, sorted.
      pixels: of each tile, unlabelled ones included.
      units: int[T], one number for the tiles that the bootstrap resamples together.
      counts: float64[T, 2, 4], `metrics.confusion`.
      scores: float64[T, 2] by the names in MEANS.
    """

    content: str
    ids: tuple[str, ...]
    pixels: int
    units: np.ndarray
    counts: np.ndarray
    scores: dict[str, np.ndarray]

    def same_tiles(self, other: "TestedTiles") -> bool:
        """Returns whether both are scores on the same tiles."""
        return (self.content, self.ids) == (other.content, other.ids)

    def values(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Returns float64[R], the scores named in MEANS and POOLED.

        Those of the second masks have AT_HALF added to their names.

        Args:
          weights: float64[R, T], how often each tile counts; None: once, R = 1.
        """
        weights = np.ones((1, len(self.ids))) if weights is None else weights
        drawn = weights.sum(axis=1, keepdims=True)
        found = {name: weights @ self.scores[name] / drawn for name in MEANS}
        pooled = metrics.pooled_scores(np.tensordot(weights, self.counts, axes=1))
        found |= {name: pooled[name] for name in POOLED}
        return {
            name + suffix: values[:, i]
            for name, values in found.items()
            for i, suffix in enumerate(("", AT_HALF))
        }


def score_tiles(
    outputs: SavedOutputs, chosen: postprocess.Postprocessing, content: str
) -> TestedTiles:
    """Returns the scores of a run's outputs; `content`: see `TestedTiles`."""
    prob = postprocess.from_sixteen_bits(outputs.prob)
    order = np.argsort(np.array(outputs.ids))
    counts = [
        metrics.confusion(postprocess.salt_mask(prob, rule), outputs.labels)[order]
        for rule in (chosen, HALF)
    ]
    scores = [metrics.tile_scores(of_masks) for of_masks in counts]
    return TestedTiles(
        content,
        tuple(outputs.ids[i] for i in order),
        outputs.labels[0].size,
        outputs.units[order],
        np.stack(counts, axis=1).astype(np.float64),
        {name: np.stack([found[name] for found in scores], axis=1) for name in MEANS},
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
        tested[0].pixels,
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
    """Returns the scores of `TestedTiles.values` minus those of a reference on the same tiles.

    Each has its 95 % interval. Every bootstrap sample draws the same units for both, so what makes
    a tile easy or hard for both cancels.

    Args:
      tested: the scores.
      reference: those of the reference.
      seed: of the resampling.
    """
    weights = metrics.bootstrap_weights(common_units(tested, reference), seed)
    value, others = tested.values(), reference.values()
    drawn, drawn_others = tested.values(weights), reference.values(weights)
    return {
        name: metrics.interval(
            value[name][0] - others[name][0], drawn[name] - drawn_others[name]
        )
        for name in value
    }
