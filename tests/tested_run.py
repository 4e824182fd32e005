"""A tested run's directory as `--mode=compare` reads it, from given outputs, without training."""

import copy
import csv
import json
import pathlib
from typing import Any

import msgspec
import numpy as np
import written_run
from scipy import ndimage

from configs import default
from saltjax.runs import saved_config, saved_outputs, workdir
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.scoring import metrics
from saltjax.system import files


def labels_of(count: int, seed: int = 0) -> np.ndarray:
    """Returns uint8[count, 8, 8], masks with salt in a random number of rows."""
    rows = np.random.default_rng(seed).integers(0, 7, count)
    labels = np.zeros((count, 8, 8), np.uint8)
    for label, salt in zip(labels, rows):
        label[:salt] = 1
    return labels


def prob_of(labels: np.ndarray, error: float, seed: int) -> np.ndarray:
    """Returns uint16[N, H, W], probabilities wrong at that share of the pixels of a tile."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(labels.shape) < rng.uniform(0, 2 * error, (len(labels), 1, 1))
    return np.where(labels.astype(bool) ^ wrong, 52428, 13107).astype(np.uint16)


def masks_of(prob: np.ndarray, threshold: float, min_area: int) -> np.ndarray:
    """Returns the masks bool[N, H, W] for probabilities uint16[N, H, W], tile by tile."""
    masks = prob / 65535 >= threshold
    for mask in masks:
        components, count = ndimage.label(mask, np.ones((3, 3)))
        for number in range(1, count + 1):
            if (components == number).sum() < min_area:
                mask[components == number] = False
    return masks


def write(
    folder: pathlib.Path,
    outputs: SavedOutputs | None,
    overrides: dict[str, Any] | None = None,
    *,
    chosen: tuple[float, int] = (0.5, 0),
    val_metric: str = "f1",
    val_score: float = 0.75,
    val_loss: float = 0.5,
    loss: float = 0.25,
    content: str = "data",
    units: str = "groups",
    counts: tuple[int, int, int] = (40, 5, 5),
    initial: str = "",
) -> dict[str, Any]:
    """Writes the files of a run whose second epoch of two is the best; returns its result.json.

    Args:
      folder: the run directory.
      outputs: for the test tiles; None for a run of a version that did not keep them.
      overrides: settings by their dotted keys.
      chosen: threshold and minimum component size.
      val_metric, val_score: what chose the threshold, and its value on the validation tiles.
      val_loss, loss: of validation and test.
      content, units: the hashes of the data and of their groups.
      counts: of training, validation and test tiles.
      initial: the checksum of the weights that the run began with.
    """
    folder.mkdir(parents=True)
    config = default.get_config()
    config.update_from_flattened_dict(overrides or {})
    saved_config.write(folder, config)
    tree = copy.deepcopy(written_run.RESULT)
    for name in ("mean_iou", "mean_class_accuracy"):
        del tree["test_native"][name]
    tree["epochs"], tree["best_epoch"] = 2, 2
    tree["data"]["dir"] = config.data.dir or config.data.volume or tree["data"]["dir"]
    tree["data"] |= zip(("train", "val", "test"), counts)
    tree["eval"] = config.eval.to_dict()
    tree["threshold"] |= {"value": chosen[0], "metric": val_metric}
    tree["threshold"]["score"] = val_score
    if val_metric == "f1":
        tree["threshold"]["f1"] = val_score
    tree["min_area"] = chosen[1]
    tree["test"]["loss"] = loss
    if outputs is not None:
        masks = masks_of(outputs.prob, *chosen)
        counts = metrics.confusion(masks, outputs.labels)
        native = metrics.native_scores(counts, 0, outputs.units)
        tree["test_native"] = msgspec.to_builtins(native)
        saved_outputs.write(folder, outputs)
    (folder / "result.json").write_text(json.dumps(tree))
    facts = {"content_sha256": content, "units_sha256": units}
    files.write_json(folder / "data.json", facts)
    starts = [{"init": {"weights_sha256": initial}}] if initial else []
    (folder / "env.json").write_text(json.dumps(starts))
    row = dict.fromkeys(workdir.METRICS, 0.25)
    rows = [
        row | {"epoch": epoch, "val_loss": x, "val_accuracy": 1 - x}
        for epoch, x in ((1, val_loss + 0.1), (2, val_loss))
    ]
    workdir.write_metrics(folder, rows)
    return tree


def outputs(error, seed, rows=range(40), groups=1):
    """Outputs for tiles of the same 40: of the rows, with that share of wrong pixels."""
    rows, labels = np.array(rows), labels_of(40)
    prob = prob_of(labels, error, seed)
    ids = [f"t{i:02d}" for i in rows]
    return SavedOutputs(ids, prob[rows], labels[rows], rows // groups)


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
