"""Scores of probabilities and masks against labels, with bootstrap intervals.

A pixel is predicted as salt if its probability is at least the threshold. Pixels whose label is
UNLABELLED are left out of every score; each tile is expected to have others too.
"""

import dataclasses
from typing import Any

import numpy as np

from saltjax.data.tiles import UNLABELLED
from saltjax.runs.result import Calibration, CalibrationBin, Interval, NativeScores
from saltjax.system import seeds

# 0.5, 0.55 … 0.95, in twentieths: in floats 0.5 + 0.05 is not 0.55.
KAGGLE_IOU_TWENTIETHS = np.arange(10, 20)
# Of `pooled_scores`. Without any salt in the labels each is 0 or undefined, whatever a network predicts.
OF_SALT = ("precision", "recall", "f1")
STUDY_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclasses.dataclass(frozen=True)
class Curve:
    """A precision-recall curve over pixels.

    Attributes:
      precision, recall, f1: float64[K], at each threshold.
      thresholds: float32[K], increasing.
      average_precision: area under the curve as scikit-learn defines it.
      best: index of the greatest F1.
      salt_share: of the labelled pixels, the precision of predicting salt everywhere.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    thresholds: np.ndarray
    average_precision: float
    best: int
    salt_share: float

    @property
    def best_f1(self) -> float:
        """The greatest F1."""
        return float(self.f1[self.best])

    def index(self, threshold: float) -> int:
        """Returns the index of the point for a threshold; K if it is above all probabilities."""
        return int(np.searchsorted(self.thresholds, np.float32(threshold)))

    def f1_at(self, threshold: float) -> float:
        """Returns the F1 at a threshold; 0 above all probabilities."""
        i = self.index(threshold)
        return float(self.f1[i]) if i < len(self.f1) else 0.0


def precision_recall(prob: np.ndarray, label: np.ndarray) -> Curve:
    """Returns the precision-recall curve over all labelled pixels.

    Without any salt in the labels it is undefined: one point of zeros at 0.5 is returned.

    Args:
      prob: float32[...], probabilities of salt.
      label: uint8[...], the same shape, 1 where salt, 0 where none, or UNLABELLED.
    """
    prob, label = _labelled(prob, label)
    if not label.any():
        precision, recall, thresholds = (
            np.zeros(1),
            np.zeros(1),
            np.full(1, 0.5, np.float32),
        )
        average = 0.0
    else:
        # Imported here since it takes 1.5 seconds.
        from sklearn.metrics import precision_recall_curve

        curve = precision_recall_curve(label, prob)
        precision, recall, thresholds = curve
        # As scikit-learn's average_precision_score, without sorting all pixels again.
        average = -np.sum(np.diff(recall) * precision[:-1])
        # The last point, at recall 0, belongs to no threshold.
        precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return Curve(
        precision=precision,
        recall=recall,
        f1=f1,
        thresholds=thresholds,
        average_precision=float(average),
        best=int(np.argmax(f1)),
        salt_share=float(np.mean(label > 0)),
    )


def _labelled(prob: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns probabilities and labels of the labelled pixels, each [n]."""
    labelled = label != UNLABELLED
    return prob[labelled], label[labelled]


def accuracy(prob: np.ndarray, label: np.ndarray, threshold: float) -> float:
    """Returns the share of labelled pixels whose prediction at the threshold equals the label."""
    prob, label = _labelled(prob, label)
    return float(np.mean((prob >= np.float32(threshold)) == (label > 0)))


def confusion(predicted: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns int64[N, 4], counts of true positive, false positive, false and true negative pixels.

    Args:
      predicted: bool[N, H, W], masks.
      label: uint8[N, H, W], 1 where salt, 0 where none, or UNLABELLED.
    """
    salt, none = label == 1, label == 0
    cells = predicted & salt, predicted & none, ~predicted & salt, ~predicted & none
    return np.stack([cell.sum(axis=(1, 2)) for cell in cells], axis=1)


def confusion_over(
    prob: np.ndarray, label: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """Returns int64[N, K, 4], the `confusion` at K increasing thresholds.

    Args:
      prob: float32[N, H, W], probabilities.
      label: uint8[N, H, W], 1 where salt, 0 where none, or UNLABELLED.
      thresholds: float64[K].
    """
    n, k = len(prob), len(thresholds)
    # The number of thresholds that each pixel reaches; its histogram gives the counts at each.
    reached = np.searchsorted(np.float32(thresholds), prob, side="right")
    tile, salt = np.arange(n)[:, None, None], label > 0
    cell = (tile * 2 + salt) * (k + 1) + reached
    histogram = np.bincount(cell[label != UNLABELLED], minlength=n * 2 * (k + 1))
    above = histogram.reshape(n, 2, k + 1)[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    fp, tp = np.moveaxis(above[:, :, 1:], 1, 0)
    without, with_salt = np.moveaxis(above[:, :, :1], 1, 0)
    return np.stack([tp, fp, with_salt - tp, without - fp], axis=-1)


def _ratio(part: Any, whole: Any, empty: float) -> np.ndarray:
    """Returns part / whole, and `empty` where whole is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), empty)


def tile_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Returns `iou`, `dice` and `kaggle_map` of each tile, float64[N], for `confusion` counts.

    An empty prediction on an empty mask scores 1 in all three. `kaggle_map` is the challenge's
    precision for one object per tile: the share of the ten thresholds 0.5, 0.55, … 0.95 that are
    less than the IoU; on an empty mask any predicted pixel makes it 0.
    """
    tp, fp, fn, _ = counts.T
    iou = _ratio(tp, tp + fp + fn, 1.0)
    hits = (20 * tp)[:, None] > KAGGLE_IOU_TWENTIETHS * (tp + fp + fn)[:, None]
    return {
        "iou": iou,
        "dice": _ratio(2 * tp, 2 * tp + fp + fn, 1.0),
        "kaggle_map": np.where(tp + fp + fn == 0, 1.0, hits.mean(axis=1)),
    }


def pooled_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Returns scores over all pixels, float64[...].

    Accuracy, precision, recall and F1 of salt, and the means over the two classes, salt and
    background, of IoU and recall: `mean_iou` and `mean_class_accuracy`. Precision without any
    predicted salt, and recall without any salt, are 0, and a class without pixels is left out of
    the means, as in scikit-learn.

    Args:
      counts: [..., 4], `confusion` counts summed over tiles.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    return {
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn, 0.0),
        "precision": _ratio(tp, tp + fp, 0.0),
        "recall": _ratio(tp, tp + fn, 0.0),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn, 0.0),
        "mean_iou": _mean_ratio((tp, tp + fp + fn), (tn, tn + fp + fn)),
        "mean_class_accuracy": _mean_ratio((tp, tp + fn), (tn, tn + fp)),
    }


def _mean_ratio(*pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Returns the mean of part / whole over the (part, whole) whose whole is not 0."""
    ratios = sum(_ratio(part, whole, 0.0) for part, whole in pairs)
    return ratios / np.maximum(sum(whole > 0 for _, whole in pairs), 1)


def mean_score(counts: np.ndarray, metric: str) -> float:
    """Returns "f1" over all pixels, or the mean of "iou" or "kaggle_map" over tiles.

    `counts` int64[N, 4] are from `confusion`.
    """
    if metric == "f1":
        return float(pooled_scores(counts.sum(axis=0))["f1"])
    return float(tile_scores(counts)[metric].mean())


def bootstrap_weights(
    units: np.ndarray, seed: int, resamples: int = 1000
) -> np.ndarray:
    """Returns float64[R, N], how often each tile is drawn in each of R bootstrap samples.

    As many units as there are, each with all its tiles, are drawn with replacement (the cluster
    bootstrap: Davison & Hinkley 1997, section 3.8).

    Args:
      units: int[N], one number for the tiles that are not independent.
      seed: of the resampling.
      resamples: R.
    """
    numbers, unit = np.unique(units, return_inverse=True)
    n = len(numbers)
    rng = seeds.bootstrap_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    return drawn.astype(np.float64)[:, unit]


def native_scores(
    counts: np.ndarray,
    seed: int,
    units: np.ndarray | None = None,
    resamples: int = 1000,
) -> NativeScores:
    """Returns each score over tiles with its 95 % interval.

    `iou`, `dice` and `kaggle_map` are means over tiles; the others are `pooled_scores`, of which
    those OF_SALT are None for tiles without any. The intervals are percentile bootstraps (Efron 1979) that resample units.

    Args:
      counts: int64[N, 4] from `confusion`.
      seed: of the resampling.
      units: int[N], see `bootstrap_weights`; None: every tile is one.
      resamples: number of bootstrap samples.
    """
    units = np.arange(len(counts)) if units is None else units
    weights = bootstrap_weights(units, seed, resamples)
    drawn = weights.sum(axis=1)
    scores: dict[str, Any] = {}
    for name, values in tile_scores(counts).items():
        scores[name] = interval(values.mean(), weights @ values / drawn)
    totals, resampled = (
        pooled_scores(counts.sum(axis=0)),
        pooled_scores(weights @ counts),
    )
    for name, value in totals.items():
        scores[name] = interval(value, resampled[name])
    if not counts[:, [0, 2]].any():  # in the labels
        scores |= dict.fromkeys(OF_SALT)
    return NativeScores(**scores)


def interval(value: float | np.ndarray, resampled: np.ndarray) -> Interval:
    """Returns a score with the 2.5th and 97.5th percentiles of its bootstrap samples."""
    low, high = np.percentile(resampled, (2.5, 97.5))
    return Interval(float(value), float(low), float(high))


def calibration(prob: np.ndarray, label: np.ndarray, bins: int = 10) -> Calibration:
    """Returns the agreement of predicted probabilities with the observed share of salt.

    The expected calibration error (Naeini et al. 2015) is, over equal bins of probability, the mean
    of |mean probability - share of salt|, weighted by pixels. Empty bins are left out.

    Args:
      prob: float32[...], probabilities.
      label: uint8[...], the same shape, 1 where salt, 0 where none, or UNLABELLED.
      bins: number of bins.
    """
    prob, label = _labelled(prob, label)
    which = np.minimum((prob * bins).astype(np.int64), bins - 1)
    pixels = np.bincount(which, minlength=bins)
    probability = np.bincount(which, weights=prob, minlength=bins)
    salt = np.bincount(which, weights=label, minlength=bins)
    rows = [
        CalibrationBin(
            low=float(b / bins),
            high=float((b + 1) / bins),
            pixels=int(pixels[b]),
            mean_probability=float(probability[b] / pixels[b]),
            salt_share=float(salt[b] / pixels[b]),
        )
        for b in np.flatnonzero(pixels)
    ]
    ece = np.abs(probability - salt).sum() / len(prob)
    return Calibration(float(ece), rows)
