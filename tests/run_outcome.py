"""What a run leaves that must not depend on faults, starts or places."""

import csv
import json

import jax
import numpy as np

from saltjax.runs import checkpoint


def read_checkpoint(path):
    """Returns what a checkpoint holds, as orbax reads it."""
    with checkpoint.ocp.Checkpointer(
        checkpoint.ocp.CompositeCheckpointHandler()
    ) as reader:
        return reader.restore(path.absolute())


def epochs_of(workdir):
    """Returns the rows of metrics.csv without durations."""
    with open(workdir / "metrics.csv", newline="") as file:
        return [row | {"seconds": ""} for row in csv.DictReader(file)]


def outcome(workdir):
    """Returns result, rows of metrics.csv and weights of a run, without durations."""
    result = json.loads((workdir / "result.json").read_text())
    result.pop("train_seconds")
    arrays = {
        jax.tree_util.keystr(path): np.asarray(leaf).tobytes()
        for name in ("best", "last")
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            {name: read_checkpoint(workdir / "checkpoints" / name)["state"]}
        )
    }
    assert len(arrays) > 20
    return result, epochs_of(workdir), arrays
