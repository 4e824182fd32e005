"""Predictions as the command line makes them, with random input and any threshold."""

import json
import pathlib

import numpy as np

from saltjax import predict


def run_predict(
    workdir: pathlib.Path, source, output, threshold=None, tta=None
) -> None:
    """Runs --mode=predict with the network of one run."""
    predict.predict(
        [workdir], str(source), str(output), predict.Flags(threshold=threshold, tta=tta)
    )


def random_traces(*shape: int) -> np.ndarray:
    """Returns amplitudes float32 of that shape."""
    return np.random.default_rng(0).normal(0, 900, shape).astype(np.float32)


def set_threshold(workdir: pathlib.Path, threshold: float) -> None:
    """Changes the threshold in result.json of a run."""
    result = json.loads((workdir / "result.json").read_text())
    result["threshold"]["value"] = float(threshold)
    (workdir / "result.json").write_text(json.dumps(result))
