"""The test of a trained network: its outputs on sets of tiles and the scores made of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from saltjax.data import feed as pipeline
from saltjax.data import tiles as data
from saltjax.scoring import metrics
from saltjax.scoring import postprocess as masks
from saltjax.system import console, devices
from saltjax.training import steps


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What the network says of N tiles.

    Attributes:
      indices: int[N], of the tiles.
      loss, accuracy: means over pixels at the network's resolution, accuracy at 0.5.
      prob: float32[N, S, S], probabilities of salt.
      label: uint8[N, S, S].
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
      scores: the keys of result.json and evaluation.json that depend on these tiles alone.
      curve: `metrics.precision_recall` of the pixels.
      outputs: the network's outputs on the tiles.
      masks: bool[N, H, W], what is marked as salt, at the tiles' own resolution.
      counts: int64[N, 4], `metrics.confusion` of the masks.
    """

    scores: dict[str, Any]
    curve: dict[str, Any]
    outputs: Outputs
    masks: np.ndarray
    counts: np.ndarray


def mean_scores(
    feed: pipeline.Feed,
    variables: Any,
    indices: np.ndarray,
    network: steps.Network,
    after_call: Callable[[], None],
) -> dict[str, float]:
    """Returns mean `loss` and `accuracy` over the tiles' pixels at the network's resolution.

    `after_call` is called while the devices work, and may end the loop by raising.
    """
    pending, parts = None, []
    with console.Bar("Validating", len(indices), "images") as bar:
        for rows, valid in pipeline.calls(feed, indices):
            means = pipeline.score_call(feed, variables, rows, network)
            # Fetched one call late, so that the devices never wait for the host.
            if pending:
                parts.append(pipeline.valid_means(*pending))
            pending = means, valid
            after_call()
            bar.advance(int(valid.sum()))
        parts.append(pipeline.valid_means(*pending))
    return {
        name: float(np.concatenate([part[name] for part in parts]).mean())
        for name in ("loss", "accuracy")
    }


def predict_tiles(
    feed: pipeline.Feed,
    variables: Any,
    indices: np.ndarray,
    network: steps.Network,
    tta: bool,
) -> Outputs:
    """Returns the network's outputs for the tiles, in the order of `indices`; tta: `eval_step`."""
    pending, parts = None, []
    rows, valid = data.batch_rows(indices, feed.batch_size, feed.padded_size)

    def fetch(means, outputs, valid):
        outputs = {name: x[valid] for name, x in devices.fetch(outputs).items()}
        parts.append(pipeline.valid_means(means, valid) | outputs)
        bar.advance(int(valid.sum()))

    with console.Bar("Testing", len(indices), "images") as bar:
        for k in range(len(rows)):
            batch = pipeline.host_batch(feed, rows[k])
            found = steps.eval_step(variables, batch, network=network, tta=tta)
            if pending:
                fetch(*pending)
            pending = *found, valid[k]
        fetch(*pending)
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    loss, accuracy = (float(arrays.pop(name).mean()) for name in ("loss", "accuracy"))
    arrays["prob_native"] = np.float32(arrays["prob_native"]) / steps.MAX_UINT16
    return Outputs(indices, loss, accuracy, **arrays)


def test_network(
    feed: pipeline.Feed,
    variables: Any,
    split: dict[str, np.ndarray],
    network: steps.Network,
    settings: ConfigDict,
    seed: int,
) -> tuple[masks.Rule, dict[str, Any], Test]:
    """Returns the rule for masks, chosen on the validation tiles, and the test on the test tiles.

    Args:
      feed: the tiles.
      variables: of the network.
      split: indices of "val" and "test".
      network: the model and its resolution.
      settings: config.eval.
      seed: of the bootstrap.

    Returns:
      The rule; the validation pixels' `metrics.precision_recall`; the test, whose scores hold also
      the keys of result.json that come from the validation tiles.
    """
    val, test = (
        predict_tiles(feed, variables, split[name], network, settings.tta)
        for name in ("val", "test")
    )
    labels = feed.tiles.labels[:, :, :, 0]
    curve = metrics.precision_recall(val.prob, val.label)
    rule, threshold = masks.choose_rule(
        curve,
        val.prob_native,
        labels[split["val"]],
        settings.threshold_metric,
        settings.min_area,
    )
    scored = score(test, labels[split["test"]], rule, seed)
    scores = {
        "threshold": threshold,
        "min_area": rule.min_area,
        "thresholds": [
            {
                "threshold": t,
                "val_accuracy": metrics.accuracy(val.prob, val.label, t),
                "test_accuracy": metrics.accuracy(test.prob, test.label, t),
            }
            for t in metrics.STUDY_THRESHOLDS
        ],
        "average_precision": curve["average_precision"],
    }
    return rule, curve, dataclasses.replace(scored, scores=scores | scored.scores)


def score(outputs: Outputs, labels: np.ndarray, rule: masks.Rule, seed: int) -> Test:
    """Returns the scores of tiles under a rule that was chosen on others.

    Args:
      outputs: of the network on N tiles.
      labels: uint8[N, H, W], 1 where salt.
      rule: what is marked as salt.
      seed: of the bootstrap.
    """
    curve = metrics.precision_recall(outputs.prob, outputs.label)
    predicted = outputs.prob >= np.float32(rule.threshold)
    pooled = metrics.confusion(predicted, outputs.label).sum(axis=0)
    pooled = {k: float(v) for k, v in metrics.pooled_scores(pooled).items()}
    marked = masks.salt_mask(outputs.prob_native, rule)
    counts = metrics.confusion(marked, labels)
    classes = data.coverage_class(data.salt_coverage(labels[..., None]))
    scores = {
        "test": {
            "loss": outputs.loss,
            "accuracy": outputs.accuracy,
            "accuracy_at_threshold": pooled["accuracy"],
            "precision": pooled["precision"],
            "recall": pooled["recall"],
            "f1": pooled["f1"],
            "average_precision": curve["average_precision"],
        },
        # What a score is worth: that of predicting no salt anywhere.
        "test_no_salt": {
            "accuracy": 1 - curve["salt_share"],
            "kaggle_map": float(np.mean(classes == 0)),
        },
        "test_native": metrics.native_scores(counts, seed),
        "by_coverage": [
            {"coverage": name, "tiles": int(np.sum(classes == c))}
            | metrics.native_scores(counts[classes == c], seed)
            for c, name in enumerate(data.COVERAGE_CLASSES)
            if (classes == c).any()
        ],
        "calibration": metrics.calibration(outputs.prob_native, labels),
    }
    return Test(scores, curve, outputs, marked, counts)
