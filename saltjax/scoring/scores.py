"""Validation and test of a network: the scores of its outputs for sets of tiles."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from saltjax.data.feed import Feed, calls, valid_means
from saltjax.data.tiles import COVERAGE_CLASSES, coverage_class, salt_coverage
from saltjax.networks.network import Network
from saltjax.runs import result
from saltjax.scoring import metrics, postprocess, steps
from saltjax.system import console, devices


@dataclasses.dataclass(frozen=True)
class Outputs:
    """A network's outputs for N tiles.

    Attributes:
      indices: int[N], of the tiles.
      loss, accuracy: means over labelled pixels at the network's resolution, accuracy at 0.5.
      prob: float32[N, h, w], probabilities of salt at the network's resolution, without the pixels
        that resize "pad" added: h and w are the network's image_size for tiles of the size of the
        training tiles, with "pad" the tiles' own.
      label: uint8[N, h, w], 1 where salt, 0 where none, or UNLABELLED.
      prob_native: float32[N, H, W], at the tiles' own resolution, multiples of 1 / 65535.
    """

    indices: np.ndarray
    loss: float
    accuracy: float
    prob: np.ndarray
    label: np.ndarray
    prob_native: np.ndarray


@dataclasses.dataclass(frozen=True)
class Test:
    """The outcome of a test.

    Attributes:
      scores: of the tiles.
      curve: precision and recall of the pixels at the network's resolution.
      outputs: the network's outputs for the tiles.
      masks: bool[N, H, W], the predicted masks at the tiles' own resolution.
      counts: int64[N, 4], `metrics.confusion` of the masks.
    """

    scores: result.Scores
    curve: metrics.Curve
    outputs: Outputs
    masks: np.ndarray
    counts: np.ndarray


def mean_scores(
    feed: Feed,
    variables: Any,
    indices: np.ndarray,
    network: Network,
    after_call: Callable[[], None],
    kaggle_map: bool,
) -> dict[str, float]:
    """Returns mean `loss` and `accuracy` over the tiles' labelled pixels at the network's resolution.

    Args:
      feed: the tiles.
      variables: params and batch_stats, on the devices.
      indices: int[N], of the tiles.
      network: the model and its resolution.
      after_call: is called while the devices compute, and may end the loop by raising.
      kaggle_map: return also the mean `kaggle_map` at 0.5, at the tiles' own resolution.
    """
    parts: list[dict[str, np.ndarray]] = []
    delayed = devices.Delayed(lambda *call: parts.append(valid_means(*call)))
    with console.Bar("Validating", len(indices), "images") as bar:
        for batch, valid in calls(feed, indices):
            scored = steps.score_call(feed, variables, batch, network, kaggle_map)
            delayed.put(scored, valid)
            after_call()
            bar.advance(int(valid.sum()))
        delayed.flush()
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    weights = values.get("labelled")
    means = {
        name: float(np.average(values[name], weights=weights))
        for name in ("loss", "accuracy")
    }
    if kaggle_map:
        cells = [values[name] for name in steps.COUNTS]
        counts = np.stack([*cells, np.zeros(len(indices))], axis=1)  # tn is not used
        means["kaggle_map"] = float(metrics.tile_scores(counts)["kaggle_map"].mean())
    return means


def validate(
    val: Outputs, test: Outputs, labels: np.ndarray, metric: str, min_area: int
) -> tuple[postprocess.Postprocessing, metrics.Curve, result.Validation]:
    """Chooses the postprocessing on the validation tiles.

    Args:
      val: the network's outputs for N validation tiles.
      test: its outputs for the test tiles, only to report accuracies at the study's thresholds.
      labels: uint8[N, H, W], of the validation tiles, 1 where salt, 0 where none, or UNLABELLED.
      metric, min_area: see `postprocess.choose`.

    Returns:
      The postprocessing, the precision-recall curve of the validation pixels, and the part of
      result.json about the validation tiles.
    """
    curve = metrics.precision_recall(val.prob, val.label)
    chosen, threshold = postprocess.choose(
        curve, val.prob_native, labels, metric, min_area
    )
    accuracies = [
        result.ThresholdAccuracy(
            threshold=t,
            val_accuracy=metrics.accuracy(val.prob, val.label, t),
            test_accuracy=metrics.accuracy(test.prob, test.label, t),
        )
        for t in metrics.STUDY_THRESHOLDS
    ]
    validation = result.Validation(
        threshold, chosen.min_area, accuracies, curve.average_precision
    )
    return chosen, curve, validation


def score(
    outputs: Outputs,
    labels: np.ndarray,
    chosen: postprocess.Postprocessing,
    seed: int,
    units: np.ndarray | None = None,
) -> Test:
    """Returns the scores of tiles under a postprocessing that was chosen on others.

    Args:
      outputs: of the network for N tiles.
      labels: uint8[N, H, W], 1 where salt, 0 where none, or UNLABELLED.
      chosen: the postprocessing.
      seed: of the bootstrap.
      units: int[N], one number for the tiles that it resamples together; None: every tile is one.
    """
    units = np.arange(len(labels)) if units is None else units
    curve = metrics.precision_recall(outputs.prob, outputs.label)
    predicted = outputs.prob >= np.float32(chosen.threshold)
    counts = metrics.confusion(predicted, outputs.label).sum(axis=0)
    pooled: dict[str, Any] = {
        k: float(v) for k, v in metrics.pooled_scores(counts).items()
    }
    pooled["average_precision"] = curve.average_precision
    if not curve.salt_share:  # as in `metrics.native_scores`
        pooled |= dict.fromkeys((*metrics.OF_SALT, "average_precision"))
    masks = postprocess.salt_mask(outputs.prob_native, chosen)
    counts = metrics.confusion(masks, labels)
    classes = coverage_class(salt_coverage(labels[..., None]))
    scores = result.Scores(
        test=result.NetworkScores(
            loss=outputs.loss,
            accuracy=outputs.accuracy,
            accuracy_at_threshold=pooled["accuracy"],
            precision=pooled["precision"],
            recall=pooled["recall"],
            f1=pooled["f1"],
            average_precision=pooled["average_precision"],
        ),
        test_no_salt=result.NoSalt(
            accuracy=1 - curve.salt_share, kaggle_map=float(np.mean(classes == 0))
        ),
        test_native=metrics.native_scores(counts, seed, units),
        by_coverage=[
            result.join(
                result.CoverageScores,
                result.CoverageClass(name, int(np.sum(classes == c))),
                metrics.native_scores(counts[classes == c], seed, units[classes == c]),
            )
            for c, name in enumerate(COVERAGE_CLASSES)
            if (classes == c).any()
        ],
        calibration=metrics.calibration(outputs.prob_native, labels),
        test_units=len(np.unique(units)),
    )
    return Test(scores, curve, outputs, masks, counts)
