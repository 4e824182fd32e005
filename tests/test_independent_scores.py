"""Predictions scored by independent implementations."""

import csv
import json

import numpy as np
import pytest
import reference
import sklearn.metrics
from PIL import Image
from tile_files import write_sections

import saltjax
from saltjax import evaluate, predict
from saltjax.data import synthetic
from saltjax.system import files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tta", "min_area", "mosaic"),
    [(False, 0, False), (True, 20, False), (False, 0, True), (True, 20, True)],
)
def test_independent_scores_of_a_submission_equal_those_of_evaluate(
    run, tmp_path, tta, min_area, mosaic
):
    """Also of mosaics of tiles, twice as wide and high as those that the run was trained on."""
    labels = write_sections(tmp_path / "tiles", 12 if mosaic else 40, 9, mosaic)
    result = files.read_json(run / "result.json")
    # With the run's own threshold all pixels may be salt, or none.
    images = synthetic.make_tiles(5, seed=9).images[..., 0]
    threshold = float(np.median(list(map(saltjax.load(run).predict, images))))
    result["threshold"]["value"] = threshold
    (run / "result.json").write_text(json.dumps(result | {"min_area": min_area}))
    evaluate.evaluate([run], str(tmp_path / "tiles"), str(tmp_path / "scores"), tta)
    found = files.read_json(tmp_path / "scores/evaluation.json")
    assert found["tta"] == tta
    output = tmp_path / "out"
    predict.predict(
        [run], str(tmp_path / "tiles/images"), str(output), predict.Flags(tta=tta)
    )
    with open(output / "submission.csv", newline="") as file:
        codes = {row["id"]: row["rle_mask"] for row in csv.DictReader(file)}
    assert codes.keys() == labels.keys()
    scores = {"kaggle_map": reference.kaggle_score(labels, codes)}
    masks = {i: np.asarray(Image.open(output / f"masks/{i}.png")) for i in labels}
    assert {values for mask in masks.values() for values in np.unique(mask)} <= {0, 255}
    for i, mask in masks.items():
        np.testing.assert_array_equal(reference.decode(codes[i], mask.shape), mask > 0)
    actual = np.concatenate([label.ravel() for label in labels.values()])
    predicted = np.concatenate([mask.ravel() > 0 for mask in masks.values()])
    for name in ("accuracy", "precision", "recall", "f1"):
        scores[name] = getattr(sklearn.metrics, f"{name}_score")(actual, predicted)
    both = [(mask > 0, labels[i] > 0) for i, mask in masks.items()]
    scores["iou"] = np.mean(
        [(a & b).sum() / (a | b).sum() if (a | b).any() else 1 for a, b in both]
    )
    assert 0.2 < predicted.mean() < 0.8
    for name, value in scores.items():
        assert found["test_native"][name]["value"] == pytest.approx(value, abs=1e-9)
    if not min_area:
        # The masks are those of the written probabilities.
        for i, mask in masks.items():
            prob = np.asarray(Image.open(output / f"probs/{i}.png"))
            assert prob.dtype == np.uint16
            written = np.float32(prob) / np.float32(65535)
            np.testing.assert_array_equal(written >= np.float32(threshold), mask > 0)
