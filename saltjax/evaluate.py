"""The test of a trained network: its outputs on sets of tiles and the scores made of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from saltjax import console, data, devices, metrics, pipeline, steps


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What the network says of N tiles.

    Attributes:
      indices: int[N], of the tiles.
      loss, accuracy: means over pixels at the network's resolution, accuracy at 0.5.
      prob: float32[N, S, S], probabilities of salt.
      label: uint8[N, S, S].
      prob_native: float32[N, H, W], at the tiles' own resolution.
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
      scores: the keys of result.json that depend on the network.
      val_curve, test_curve: `metrics.precision_recall` of the pixels.
      outputs: the network's outputs on the test tiles.
      counts: int64[N, 4], `metrics.confusion` of the test tiles at their own resolution.
    """

    scores: dict[str, Any]
    val_curve: dict[str, Any]
    test_curve: dict[str, Any]
    outputs: Outputs
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
    feed: pipeline.Feed, variables: Any, indices: np.ndarray, network: steps.Network
) -> Outputs:
    """Returns the network's outputs for the tiles, in the order of `indices`."""
    pending, parts = None, []
    rows, valid = data.batch_rows(indices, feed.batch_size, feed.padded_size)

    def fetch(means, outputs, valid):
        outputs = {name: x[valid] for name, x in devices.fetch(outputs).items()}
        parts.append(pipeline.valid_means(means, valid) | outputs)
        bar.advance(int(valid.sum()))

    with console.Bar("Testing", len(indices), "images") as bar:
        for k in range(len(rows)):
            batch = pipeline.host_batch(feed, rows[k])
            found = steps.eval_step(variables, batch, network=network)
            if pending:
                fetch(*pending)
            pending = *found, valid[k]
        fetch(*pending)
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    loss, accuracy = (float(arrays.pop(name).mean()) for name in ("loss", "accuracy"))
    return Outputs(indices, loss, accuracy, **arrays)


def test_network(
    feed: pipeline.Feed,
    variables: Any,
    split: dict[str, np.ndarray],
    network: steps.Network,
    seed: int,
) -> Test:
    """Returns the scores on the test tiles; the threshold is chosen on the validation tiles."""
    val = predict_tiles(feed, variables, split["val"], network)
    test = predict_tiles(feed, variables, split["test"], network)
    val_curve = metrics.precision_recall(val.prob, val.label)
    test_curve = metrics.precision_recall(test.prob, test.label)
    threshold = float(val_curve["thresholds"][val_curve["best"]])
    pooled = metrics.pooled_scores(
        metrics.confusion(test.prob, test.label, threshold).sum(axis=0)
    )
    native = metrics.confusion(
        test.prob_native, feed.tiles.labels[split["test"], :, :, 0], threshold
    )
    scores = {
        "threshold": {"value": threshold, "f1": val_curve["best_f1"]},
        "thresholds": [
            {
                "threshold": t,
                "val_accuracy": metrics.accuracy(val.prob, val.label, t),
                "test_accuracy": metrics.accuracy(test.prob, test.label, t),
            }
            for t in metrics.STUDY_THRESHOLDS
        ],
        "average_precision": val_curve["average_precision"],
        "test": {
            "loss": test.loss,
            "accuracy": test.accuracy,
            "accuracy_at_threshold": float(pooled["accuracy"]),
            "precision": float(pooled["precision"]),
            "recall": float(pooled["recall"]),
            "f1": float(pooled["f1"]),
            "average_precision": test_curve["average_precision"],
        },
        # What a score is worth: that of predicting no salt anywhere.
        "test_no_salt": {
            "accuracy": 1 - test_curve["salt_share"],
            "kaggle_map": float(np.mean(native[:, 0] + native[:, 2] == 0)),
        },
        "test_native": metrics.native_scores(native, seed),
    }
    return Test(scores, val_curve, test_curve, test, native)
