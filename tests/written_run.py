"""A finished run's directory, written file by file as the program leaves it, without training."""

import json
import pathlib
from typing import Any

from variables import draw_variables

from configs import default
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.runs import checkpoint

# result.json with every key, in order. The program writes it with an indentation of 2.
RESULT = json.loads("""
{"status": "completed",
 "parameters": 2137185,
 "epochs": 7,
 "best_epoch": 2,
 "stopped_early": true,
 "train_seconds": 12.345,
 "data": {"source": "folder", "dir": "/data/tgs/train", "train": 40, "val": 5, "test": 5},
 "threshold": {"value": 0.1694612354040146, "f1": 0.75, "metric": "kaggle_map", "score": 0.5},
 "min_area": 16,
 "thresholds": [
  {"threshold": 0.3, "val_accuracy": 0.81, "test_accuracy": 0.71},
  {"threshold": 0.4, "val_accuracy": 0.82, "test_accuracy": 0.72},
  {"threshold": 0.5, "val_accuracy": 0.83, "test_accuracy": 0.73},
  {"threshold": 0.6, "val_accuracy": 0.84, "test_accuracy": 0.74},
  {"threshold": 0.7, "val_accuracy": 0.85, "test_accuracy": 0.75},
  {"threshold": 0.8, "val_accuracy": 0.86, "test_accuracy": 0.76},
  {"threshold": 0.9, "val_accuracy": 0.87, "test_accuracy": 0.77}],
 "average_precision": 0.8125,
 "test": {"loss": 0.25, "accuracy": 0.9, "accuracy_at_threshold": 0.91, "precision": 0.8,
          "recall": 0.7, "f1": 0.746, "average_precision": 0.79},
 "test_no_salt": {"accuracy": 0.7502712673611112, "kaggle_map": 0.4},
 "test_native": {
  "iou": {"value": 0.6, "low": 0.5, "high": 0.7},
  "dice": {"value": 0.65, "low": 0.55, "high": 0.75},
  "kaggle_map": {"value": 0.04999999999999999, "low": 0.0, "high": 0.12222222222222223},
  "accuracy": {"value": 0.92, "low": 0.88, "high": 0.96},
  "precision": {"value": 0.81, "low": 0.71, "high": 0.91},
  "recall": {"value": 0.72, "low": 0.62, "high": 0.82},
  "f1": {"value": 0.76, "low": 0.66, "high": 0.86},
  "mean_iou": {"value": 0.78, "low": 0.68, "high": 0.88},
  "mean_class_accuracy": {"value": 0.88, "low": 0.83, "high": 0.93}},
 "by_coverage": [
  {"coverage": "0", "tiles": 2,
   "iou": {"value": 1.0, "low": 1.0, "high": 1.0},
   "dice": {"value": 1.0, "low": 1.0, "high": 1.0},
   "kaggle_map": {"value": 1.0, "low": 1.0, "high": 1.0},
   "accuracy": {"value": 1.0, "low": 1.0, "high": 1.0},
   "precision": {"value": 0.0, "low": 0.0, "high": 0.0},
   "recall": {"value": 0.0, "low": 0.0, "high": 0.0},
   "f1": {"value": 0.0, "low": 0.0, "high": 0.0},
   "mean_iou": {"value": 1.0, "low": 1.0, "high": 1.0},
   "mean_class_accuracy": {"value": 1.0, "low": 1.0, "high": 1.0}},
  {"coverage": "0.1-0.4", "tiles": 3,
   "iou": {"value": 0.3333333333333333, "low": 0.1, "high": 0.5},
   "dice": {"value": 0.5, "low": 0.2, "high": 0.7},
   "kaggle_map": {"value": 0.2, "low": 0.0, "high": 0.4},
   "accuracy": {"value": 0.8, "low": 0.7, "high": 0.9},
   "precision": {"value": 0.6, "low": 0.5, "high": 0.7},
   "recall": {"value": 0.5, "low": 0.4, "high": 0.6},
   "f1": {"value": 0.55, "low": 0.45, "high": 0.65},
   "mean_iou": {"value": 0.57, "low": 0.47, "high": 0.67},
   "mean_class_accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}}],
 "calibration": {
  "ece": 0.0625,
  "bins": [
   {"low": 0.0, "high": 0.1, "pixels": 1000, "mean_probability": 0.03, "salt_share": 0.05},
   {"low": 0.9, "high": 1.0, "pixels": 500, "mean_probability": 0.97, "salt_share": 0.9}]},
 "test_units": 4,
 "eval": {"threshold_metric": "f1", "min_area": 0, "tta": false}}
""")
RESULT_TEXT = json.dumps(RESULT, indent=2) + "\n"
NETWORK = Network(UNet(features=(2, 4)), 16, "nearest")
VARIABLES = draw_variables(NETWORK.model)


def write(workdir: pathlib.Path, overrides: dict[str, Any] | None = None) -> None:
    """Writes the run of NETWORK on tiles of 12×10 pixels, with the result RESULT.

    With data.context its input has more channels.
    """
    config = default.get_config()
    config.data.image_size = 16
    config.model.features = (2, 4)
    config.train.batch_size = 8
    config.update_from_flattened_dict(overrides or {})
    workdir.mkdir(parents=True)
    (workdir / "config.json").write_text(json.dumps(config.to_dict()))
    (workdir / "data.json").write_text(json.dumps({"height": 12, "width": 10}))
    result = RESULT | {"eval": config.eval.to_dict()}
    (workdir / "result.json").write_text(json.dumps(result))
    best = {"epoch": 2, "val_loss": 0.5}
    variables, context = VARIABLES, config.data.context
    if context:
        variables = draw_variables(NETWORK.model, (1, 16, 16, 2 * context + 1))
    checkpoint.save(workdir / "checkpoints/best", variables, best)
