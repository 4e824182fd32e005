"""Scores of probabilities and masks against labels, with bootstrap intervals.

One rule everywhere: a pixel is predicted salt where its probability >= the threshold.
"""

import numpy as np

# 0.5, 0.55 … 0.95, in twentieths: in floats 0.5 + 0.05 is not 0.55.
KAGGLE_IOU_TWENTIETHS = np.arange(10, 20)
STUDY_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def precision_recall(prob: np.ndarray, label: np.ndarray) -> dict:
    """Returns the precision-recall curve over all pixels and its F1-optimal point.

    Args:
      prob: float32[...], probabilities of salt.
      label: uint8[...], the same shape, 1 where salt.

    Returns:
      `precision`, `recall`, `f1` float64[K] and `thresholds` float32[K], rising;
      `average_precision`; `best`, the index of the greatest F1, and `best_f1`; `salt_share` of all
      pixels. Labels without any salt have no curve: one point of zeros at 0.5 then.
    """
    label = label.ravel()
    if not label.any():
        precision, recall, thresholds = (
            np.zeros(1),
            np.zeros(1),
            np.full(1, 0.5, np.float32),
        )
        average = 0.0
    else:
        # A second and a half that no run pays before its test.
        from sklearn.metrics import precision_recall_curve

        curve = precision_recall_curve(label, prob.ravel())
        precision, recall, thresholds = curve
        # Scikit-learn's average_precision_score sums this curve too, after sorting all pixels anew.
        average = -np.sum(np.diff(recall) * precision[:-1])
        # The curve ends with a point at recall 0 that no threshold reaches.
        precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1))
    return {
        "precision": precision,
        "recall": recall,
        "thresholds": thresholds,
        "average_precision": float(average),
        "f1": f1,
        "best": best,
        "best_f1": float(f1[best]),
        "salt_share": float(np.mean(label > 0)),
    }


def accuracy(prob: np.ndarray, label: np.ndarray, threshold: float) -> float:
    """Returns the share of pixels whose prediction at the threshold equals the label."""
    return float(np.mean((prob >= np.float32(threshold)) == (label > 0)))


def f1_at(curve: dict, threshold: float) -> float:
    """Returns the F1 that a `precision_recall` curve has at a threshold."""
    i = np.searchsorted(curve["thresholds"], np.float32(threshold))
    # Above the greatest probability nothing is salt.
    return float(curve["f1"][i]) if i < len(curve["f1"]) else 0.0


def confusion(predicted: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns int64[N, 4], true positive, false positive, false negative, true negative pixels.

    Args:
      predicted: bool[N, H, W], masks.
      label: uint8[N, H, W], 1 where salt.
    """
    actual = label > 0
    cells = (
        predicted & actual,
        predicted & ~actual,
        ~predicted & actual,
        ~predicted & ~actual,
    )
    return np.stack([cell.sum(axis=(1, 2)) for cell in cells], axis=1)


def confusion_over(
    prob: np.ndarray, label: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """Returns int64[N, K, 4], `confusion` of probabilities float32[N, H, W] at K rising thresholds."""
    n, k = len(prob), len(thresholds)
    # How many thresholds each pixel reaches; a histogram of that serves all of them at once.
    reached = np.searchsorted(np.float32(thresholds), prob, side="right")
    tile, salt = np.arange(n)[:, None, None], label > 0
    cell = (tile * 2 + salt) * (k + 1) + reached
    histogram = np.bincount(cell.ravel(), minlength=n * 2 * (k + 1))
    above = histogram.reshape(n, 2, k + 1)[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    fp, tp = np.moveaxis(above[:, :, 1:], 1, 0)
    without, with_salt = np.moveaxis(above[:, :, :1], 1, 0)
    return np.stack([tp, fp, with_salt - tp, without - fp], axis=-1)


def _ratio(part, whole, empty):
    """Returns part / whole, and `empty` where whole is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), empty)


def tile_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Returns `iou`, `dice` and `kaggle_map` of each tile, float64[N], for `confusion` counts.

    An empty prediction on an empty mask counts 1 in all three. `kaggle_map` is the challenge's
    precision for one object a tile: the share of the ten thresholds 0.5, 0.55, … 0.95 that the
    IoU is strictly greater than; on an empty mask any predicted pixel makes it 0.
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
    """Returns accuracy, precision, recall and F1 over all pixels of the last but one axis.

    `counts` [..., 4] are `confusion` counts, already summed over tiles. A precision without any
    predicted salt, and a recall without any salt, are 0, as in scikit-learn.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    return {
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn, 0.0),
        "precision": _ratio(tp, tp + fp, 0.0),
        "recall": _ratio(tp, tp + fn, 0.0),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn, 0.0),
    }


def mean_score(counts: np.ndarray, metric: str) -> float:
    """Returns "f1" over all pixels, or the mean of "iou" or "kaggle_map" over tiles.

    `counts` int64[N, 4] are from `confusion`.
    """
    if metric == "f1":
        return float(pooled_scores(counts.sum(axis=0))["f1"])
    return float(tile_scores(counts)[metric].mean())


def native_scores(
    counts: np.ndarray, seed: int, resamples: int = 1000
) -> dict[str, dict]:
    """Returns {"value", "low", "high"} of each score over tiles, with its 95 % interval.

    `iou`, `dice` and `kaggle_map` are means over tiles; accuracy, precision, recall and F1 are
    over all pixels. The intervals are percentile bootstraps (Efron 1979) that resample tiles.

    Args:
      counts: int64[N, 4] from `confusion`.
      seed: of the resampling.
      resamples: how many.
    """
    n = len(counts)
    rng = np.random.default_rng(seed)
    # How often each tile is drawn; a row is a resample.
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    scores = {}
    for name, values in tile_scores(counts).items():
        scores[name] = _interval(values.mean(), weights @ values / n)
    totals, resampled = (
        pooled_scores(counts.sum(axis=0)),
        pooled_scores(weights @ counts),
    )
    for name in ("accuracy", "precision", "recall", "f1"):
        scores[name] = _interval(totals[name], resampled[name])
    return scores


def _interval(value, resampled) -> dict[str, float]:
    low, high = np.percentile(resampled, (2.5, 97.5))
    return {"value": float(value), "low": float(low), "high": float(high)}


def calibration(prob: np.ndarray, label: np.ndarray, bins: int = 10) -> dict:
    """Returns how well probabilities of salt agree with how often there is salt.

    `ece` is the expected calibration error (Naeini et al. 2015): over equal bins of probability, the
    mean of |mean probability - share of salt|, weighted by pixels. `bins` has for each of them that
    holds any pixels `low`, `high`, `pixels`, `mean_probability` and `salt_share`.

    Args:
      prob: float32[...], probabilities.
      label: uint8[...], the same shape, 1 where salt.
      bins: how many.
    """
    prob, label = prob.ravel(), label.ravel()
    which = np.minimum((prob * bins).astype(np.int64), bins - 1)
    pixels = np.bincount(which, minlength=bins)
    probability = np.bincount(which, weights=prob, minlength=bins)
    salt = np.bincount(which, weights=label, minlength=bins)
    rows = [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "pixels": int(pixels[b]),
            "mean_probability": float(probability[b] / pixels[b]),
            "salt_share": float(salt[b] / pixels[b]),
        }
        for b in np.flatnonzero(pixels)
    ]
    ece = np.abs(probability - salt).sum() / len(prob)
    return {"ece": float(ece), "bins": rows}
