"""The test that ends a run, against scikit-learn and the outputs that it keeps."""

import csv
import json

import jax
import numpy as np
import pytest
import reference
import sklearn.metrics
from tiny import make_setup, section_model, tiny_config

from saltjax import train
from saltjax.data import synthetic
from saltjax.inference import evaluation
from saltjax.runs import checkpoint
from saltjax.training import steps


@pytest.mark.slow
def test_outputs_of_the_test_give_its_scores(finished_run):
    data, result = (
        json.loads((finished_run / name).read_text())
        for name in ("data.json", "result.json")
    )
    with np.load(finished_run / "test_outputs.npz") as file:
        arrays = dict(file)
    assert arrays["ids"].tolist() == data["splits"]["test"]
    tiles = synthetic.make_tiles(50, seed=0)
    rows = [tiles.ids.index(i) for i in arrays["ids"]]
    np.testing.assert_array_equal(arrays["labels"], tiles.labels[rows, :, :, 0])
    threshold = np.float32(result["threshold"]["value"])
    prob = np.float32(arrays["probabilities"]) / np.float32(65535)
    predicted, actual = prob >= threshold, arrays["labels"] > 0
    native = result["test_native"]
    for key, score in (
        ("f1", sklearn.metrics.f1_score),
        ("mean_class_accuracy", sklearn.metrics.balanced_accuracy_score),
    ):
        expected = score(actual.ravel(), predicted.ravel())
        assert native[key]["value"] == pytest.approx(expected)
    jaccard = sklearn.metrics.jaccard_score(
        actual.ravel(), predicted.ravel(), average="macro"
    )
    assert native["mean_iou"]["value"] == pytest.approx(jaccard)
    assert len(set(arrays["units"].tolist())) == len(rows) == result["test_units"]


@pytest.mark.slow
def test_result_agrees_with_scikit_learn(finished_run):
    config = tiny_config()
    result = json.loads((finished_run / "result.json").read_text())
    setup = make_setup(config)
    like = steps.create_state(setup.recipe, config.seed)
    variables, meta = checkpoint.restore_best(finished_run, like.variables)
    assert meta["epoch"] == result["best_epoch"]
    model = section_model(setup, jax.device_get(variables))
    test, val = (
        evaluation.predict_tiles(setup.data.tiles, setup.data.split[name], model)
        for name in ("test", "val")
    )
    label, prob = test.label.ravel(), test.prob.ravel()
    threshold = np.float32(result["threshold"]["value"])
    metrics = sklearn.metrics
    expected = {
        "loss": metrics.log_loss(label, prob.astype(np.float64)),
        "accuracy": np.mean((prob >= 0.5) == label),
        "accuracy_at_threshold": np.mean((prob >= threshold) == label),
        "precision": metrics.precision_score(label, prob >= threshold),
        "recall": metrics.recall_score(label, prob >= threshold),
        "f1": metrics.f1_score(label, prob >= threshold),
        "average_precision": metrics.average_precision_score(label, prob),
    }
    assert result["test"] == pytest.approx(expected, rel=1e-5)
    average = metrics.average_precision_score(val.label.ravel(), val.prob.ravel())
    assert result["average_precision"] == pytest.approx(average)
    assert [row["threshold"] for row in result["thresholds"]] == [
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
    ]
    for row in result["thresholds"]:
        at = np.float32(row["threshold"])
        assert row["test_accuracy"] == pytest.approx(np.mean((prob >= at) == label))
        found = np.mean((val.prob >= at) == val.label)
        assert row["val_accuracy"] == pytest.approx(found)
    # At the tiles' own resolution, one tile after the other.
    masks = setup.data.tiles.labels[setup.data.split["test"], :, :, 0] > 0
    predicted = test.prob_native >= threshold
    iou = [
        (p & m).sum() / (p | m).sum() if (p | m).any() else 1.0
        for p, m in zip(predicted, masks)
    ]
    assert result["test_native"]["iou"]["value"] == pytest.approx(np.mean(iou))


@pytest.mark.slow
def test_the_epoch_of_the_highest_kaggle_map_is_tested(tmp_path):
    config = tiny_config(**{"checkpoint.select": "kaggle_map"})
    train.train(config, tmp_path, overwrite=False)
    with open(tmp_path / "metrics.csv", newline="") as file:
        maps = [float(row["val_kaggle_map"]) for row in csv.DictReader(file)]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["best_epoch"] == 1 + np.argmax(maps)
    setup = make_setup(config)
    like = steps.create_state(setup.recipe, config.seed)
    variables, meta = checkpoint.restore_best(tmp_path, like.variables)
    assert meta["epoch"] == result["best_epoch"]
    model = section_model(setup, jax.device_get(variables))
    rows = setup.data.split["val"]
    val = evaluation.predict_tiles(setup.data.tiles, rows, model)
    labels = setup.data.tiles.labels[rows, :, :, 0] > 0
    scores = map(reference.kaggle_precision, labels, val.prob_native >= 0.5)
    assert max(maps) == pytest.approx(np.mean(list(scores)))
