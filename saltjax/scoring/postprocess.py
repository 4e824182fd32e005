"""From probabilities to masks: threshold and minimum component size, chosen on validation tiles."""

import dataclasses

import numpy as np

from saltjax.runs.result import Threshold
from saltjax.runs.settings import RANGES
from saltjax.scoring import metrics
from saltjax.system.errors import InputError

CANDIDATE_THRESHOLDS = np.arange(1, 100) / 100
# Connectivity 8 within a mask, none between stacked masks.
CONNECTIVITY = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
CHOOSE_AREA = -1
MAX_UINT16 = 65535


@dataclasses.dataclass(frozen=True)
class Postprocessing:
    """How probabilities become a mask.

    Attributes:
      threshold: in [0, 1]; a pixel is salt if its probability is at least this,
      min_area: and its connected component of such pixels has at least this many; 0 for any size.
    """

    threshold: float
    min_area: int


def check_given(threshold: float | None, min_area: int | None) -> None:
    """Checks --threshold and --min_area, None where they are not given.

    Raises:
      InputError: if they are no probability, or no number of pixels.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold={threshold}; expected a probability, 0 to 1")
    low, high, _ = RANGES["eval.min_area"]
    if min_area is not None and not max(low, 0) <= min_area < high:
        raise InputError(
            f"--min_area={min_area}; expected a number of pixels, at least 0 and less than {high}"
        )


def to_sixteen_bits(prob: np.ndarray) -> np.ndarray:
    """Returns probabilities as uint16, 65535 for probability 1: the depth of a written PNG."""
    return np.rint(prob * MAX_UINT16).astype(np.uint16)


def from_sixteen_bits(prob: np.ndarray) -> np.ndarray:
    """Returns the probabilities float32 that `to_sixteen_bits` has rounded."""
    return prob.astype(np.float32) / MAX_UINT16


def salt_mask(prob: np.ndarray, postprocessing: Postprocessing) -> np.ndarray:
    """Returns the masks bool[N, H, W] for probabilities float32[N, H, W]."""
    above = prob >= np.float32(postprocessing.threshold)
    return remove_small_components(above, postprocessing.min_area)


def remove_small_components(masks: np.ndarray, min_area: int) -> np.ndarray:
    """Returns masks bool[N, H, W] without connected components of fewer than min_area pixels.

    Components are 8-connected, within one mask.
    """
    if min_area <= 1:
        return masks
    components, areas = _components(masks)
    return (areas >= min_area)[components]


def _components(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the component of each pixel, int[N, H, W], and their areas; both 0 for background."""
    # Imported here since most runs do without it.
    from scipy import ndimage

    components, _ = ndimage.label(masks, CONNECTIVITY)
    areas = np.bincount(components.ravel())
    areas[0] = 0
    return components, areas


def choose(
    curve: metrics.Curve,
    prob: np.ndarray,
    label: np.ndarray,
    metric: str,
    min_area: int,
) -> tuple[Postprocessing, Threshold]:
    """Returns the postprocessing with the best score on the validation tiles, and that score.

    The threshold is chosen first, with minimum component size 0; then the size, of 0 and powers of
    two up to a quarter of a tile, the smallest in case of a tie.

    Args:
      curve: of the validation pixels at the network's resolution.
      prob: float32[N, H, W], of the validation tiles at their own resolution.
      label: uint8[N, H, W], 1 where salt, 0 where none, or UNLABELLED.
      metric: "f1" takes the best threshold of the curve, as in the study; "kaggle_map" and "iou"
        take the one of 0.01, 0.02 … 0.99 with the best mean over tiles at their own resolution.
      min_area: minimum component size, pixels; CHOOSE_AREA chooses.
    """
    if metric == "f1":
        threshold, score = float(curve.thresholds[curve.best]), curve.best_f1
    else:
        counts = metrics.confusion_over(prob, label, CANDIDATE_THRESHOLDS)
        means = [metrics.mean_score(c, metric) for c in np.moveaxis(counts, 1, 0)]
        best = int(np.argmax(means))
        threshold, score = float(CANDIDATE_THRESHOLDS[best]), means[best]
    if min_area == CHOOSE_AREA:
        min_area = _best_area(prob >= np.float32(threshold), label, metric)
    return Postprocessing(threshold, min_area), Threshold(
        value=threshold, f1=curve.f1_at(threshold), metric=metric, score=score
    )


def _best_area(masks: np.ndarray, label: np.ndarray, metric: str) -> int:
    components, areas = _components(masks)
    candidates = [0]
    while (larger := 2 ** len(candidates)) <= masks[0].size // 4:
        candidates.append(larger)
    means = []
    for candidate in candidates:
        counts = metrics.confusion(areas[components] >= max(candidate, 1), label)
        means.append(metrics.mean_score(counts, metric))
    return candidates[int(np.argmax(means))]
