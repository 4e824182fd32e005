"""From probabilities to masks: the rule, and how it is chosen on the validation tiles."""

import dataclasses
from typing import Any

import numpy as np

from saltjax.scoring import metrics

CANDIDATE_THRESHOLDS = np.arange(1, 100) / 100
# Pixels at right angles and diagonals are one body; stacked masks have nothing to do with another.
NEIGHBOURS = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


@dataclasses.dataclass(frozen=True)
class Rule:
    """When a pixel is marked as salt.

    Attributes:
      threshold: where its probability is at least this,
      min_area: and the connected body that it then belongs to has at least so many pixels.
    """

    threshold: float
    min_area: int


def salt_mask(prob: np.ndarray, rule: Rule) -> np.ndarray:
    """Returns bool[N, H, W], where probabilities float32[N, H, W] are marked as salt."""
    return drop_small(prob >= np.float32(rule.threshold), rule.min_area)


def drop_small(masks: np.ndarray, min_area: int) -> np.ndarray:
    """Returns masks bool[N, H, W] without bodies of fewer than `min_area` pixels.

    A body is connected along sides and corners, within one mask.
    """
    if min_area <= 1:
        return masks
    bodies, areas = _bodies(masks)
    return (areas >= min_area)[bodies]


def _bodies(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each pixel's body int[N, H, W], 0 for none, and the bodies' areas, that of none 0."""
    # Not needed by most runs.
    from scipy import ndimage

    bodies, _ = ndimage.label(masks, NEIGHBOURS)
    areas = np.bincount(bodies.ravel())
    areas[0] = 0
    return bodies, areas


def choose_rule(
    curve: dict[str, Any],
    prob: np.ndarray,
    label: np.ndarray,
    metric: str,
    min_area: str,
) -> tuple[Rule, dict[str, Any]]:
    """Returns the rule that does best on the validation tiles, and the `threshold` of result.json.

    The threshold comes first, with the score that it has without a least area; then the area, of 0
    and powers of two up to a quarter of a tile, the least of equals.

    Args:
      curve: `metrics.precision_recall` of the validation pixels at the network's resolution.
      prob: float32[N, H, W], of the validation tiles at their own resolution.
      label: uint8[N, H, W].
      metric: "f1" takes the best threshold of the curve, as the study does; "kaggle_map" and "iou"
        the one with the best mean over tiles at their own resolution, of 0.01, 0.02 … 0.99.
      min_area: "auto", or pixels.
    """
    if metric == "f1":
        threshold, score = float(curve["thresholds"][curve["best"]]), curve["best_f1"]
    else:
        counts = metrics.confusion_over(prob, label, CANDIDATE_THRESHOLDS)
        means = [metrics.mean_score(c, metric) for c in np.moveaxis(counts, 1, 0)]
        best = int(np.argmax(means))
        threshold, score = float(CANDIDATE_THRESHOLDS[best]), means[best]
    if min_area == "auto":
        area = _best_area(prob >= np.float32(threshold), label, metric)
    else:
        area = int(min_area)
    f1 = metrics.f1_at(curve, threshold)
    return Rule(threshold, area), {
        "value": threshold,
        "f1": f1,
        "metric": metric,
        "score": score,
    }


def _best_area(masks: np.ndarray, label: np.ndarray, metric: str) -> int:
    bodies, areas = _bodies(masks)
    candidates = [0]
    while (larger := 2 ** len(candidates)) <= masks[0].size // 4:
        candidates.append(larger)
    means = []
    for candidate in candidates:
        counts = metrics.confusion(areas[bodies] >= max(candidate, 1), label)
        means.append(metrics.mean_score(counts, metric))
    return candidates[int(np.argmax(means))]
