"""Scores of a model on a set of tiles."""

import jax
import numpy as np
from ml_collections import ConfigDict

from saltjax import console, data, devices, steps


def load_tiles(config: ConfigDict) -> data.Tiles:
    """Returns the tiles of the config, checked."""
    return data.read_folder(config.data.dir, console.track)


def loss_and_accuracy(
    variables, tiles, indices, batch_size, mesh, model, image_size, method
) -> dict[str, float]:
    """Returns mean loss and accuracy over all pixels of the tiles, at the network's resolution."""
    totals = {"loss": 0.0, "correct": 0.0, "count": 0.0}
    for batch in data.batches(tiles, indices, batch_size, batch_size):
        sums, _ = steps.eval_step(
            variables,
            devices.shard(batch, mesh),
            model=model,
            image_size=image_size,
            method=method,
        )
        for key, value in jax.device_get(sums).items():
            totals[key] += float(value)
    return {
        "loss": totals["loss"] / totals["count"],
        "accuracy": totals["correct"] / totals["count"],
    }
