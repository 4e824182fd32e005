"""The test of a trained network: its outputs on sets of tiles and the scores made of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from saltjax import console, data, devices, metrics, steps

# Called with a batch of tiles; returns what `steps.eval_step` does.
EvalStep = Callable[[dict[str, np.ndarray]], tuple[dict, dict]]


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
      curve: `metrics.precision_recall` of the validation pixels.
      outputs: the network's outputs on the test tiles.
      counts: int64[N, 4], `metrics.confusion` of the test tiles at their own resolution.
    """

    scores: dict[str, Any]
    curve: dict[str, Any]
    outputs: Outputs
    counts: np.ndarray


def eval_function(network: steps.Network, variables: Any, mesh: Mesh) -> EvalStep:
    """Returns `steps.eval_step` with the network's weights on every device."""
    variables = devices.replicate(variables, mesh)
    return lambda batch: steps.eval_step(
        variables, devices.shard(batch, mesh), network=network
    )


def mean_scores(
    eval_step: EvalStep,
    tiles: data.Tiles,
    indices: np.ndarray,
    batch_size: int,
    after_batch: Callable[[], None],
) -> dict[str, float]:
    """Returns mean `loss` and `accuracy` over the tiles' pixels at the network's resolution.

    `after_batch` is called after each batch, and may end the loop by raising.
    """
    sums = []
    with console.Bar("Validating", len(indices), "images") as bar:
        for batch in data.batches(tiles, indices, batch_size, batch_size):
            sums.append(jax.device_get(eval_step(batch)[0]))
            bar.advance(int(batch["valid"].sum()))
            after_batch()
    return _means(sums)


def predict_tiles(
    eval_step: EvalStep, tiles: data.Tiles, indices: np.ndarray, batch_size: int
) -> Outputs:
    """Returns the network's outputs for the tiles, in the order of `indices`."""
    sums, parts = [], []
    with console.Bar("Testing", len(indices), "images") as bar:
        for batch in data.batches(tiles, indices, batch_size, batch_size):
            batch_sums, outputs = jax.device_get(eval_step(batch))
            sums.append(batch_sums)
            parts.append({name: x[batch["valid"]] for name, x in outputs.items()})
            bar.advance(int(batch["valid"].sum()))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Outputs(indices, **_means(sums), **arrays)


def _means(sums: list[dict[str, np.ndarray]]) -> dict[str, float]:
    loss, correct, count = (
        sum(float(s[key]) for s in sums) for key in ("loss", "correct", "count")
    )
    return {"loss": loss / count, "accuracy": correct / count}


def test_network(
    eval_step: EvalStep,
    tiles: data.Tiles,
    split: dict[str, np.ndarray],
    batch_size: int,
    seed: int,
) -> Test:
    """Returns the scores on the test tiles; the threshold is chosen on the validation tiles."""
    val = predict_tiles(eval_step, tiles, split["val"], batch_size)
    test = predict_tiles(eval_step, tiles, split["test"], batch_size)
    curve = metrics.precision_recall(val.prob, val.label)
    threshold = float(curve["thresholds"][curve["best"]])
    pooled = metrics.pooled_scores(
        metrics.confusion(test.prob, test.label, threshold).sum(axis=0)
    )
    native = metrics.confusion(
        test.prob_native, tiles.labels[split["test"], :, :, 0], threshold
    )
    scores = {
        "threshold": {"value": threshold, "f1": curve["best_f1"]},
        "thresholds": [
            {
                "threshold": t,
                "val_accuracy": metrics.accuracy(val.prob, val.label, t),
                "test_accuracy": metrics.accuracy(test.prob, test.label, t),
            }
            for t in metrics.STUDY_THRESHOLDS
        ],
        "average_precision": curve["average_precision"],
        "test": {
            "loss": test.loss,
            "accuracy": test.accuracy,
            "accuracy_at_threshold": float(pooled["accuracy"]),
            "precision": float(pooled["precision"]),
            "recall": float(pooled["recall"]),
            "f1": float(pooled["f1"]),
            "average_precision": metrics.precision_recall(test.prob, test.label)[
                "average_precision"
            ],
        },
        "test_native": metrics.native_scores(native, seed),
    }
    return Test(scores, curve, test, native)
