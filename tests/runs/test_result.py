import copy
import json

import pytest
import written_run

from saltjax.runs import result
from saltjax.system import files
from saltjax.system.errors import InputError


def write(workdir, tree):
    (workdir / "result.json").write_text(json.dumps(tree, indent=2) + "\n")


def test_result_is_written_byte_for_byte_as_it_was_read(tmp_path):
    (tmp_path / "result.json").write_text(written_run.RESULT_TEXT)
    found = result.read(tmp_path)
    files.write_json(tmp_path / "again.json", found)
    assert (tmp_path / "again.json").read_text() == written_run.RESULT_TEXT


def test_fields_hold_the_values_of_the_file(tmp_path):
    write(tmp_path, written_run.RESULT)
    found = result.read(tmp_path)
    assert (found.parameters, found.best_epoch, found.min_area) == (2137185, 2, 16)
    assert found.threshold == result.Threshold(
        0.1694612354040146, 0.75, "kaggle_map", 0.5
    )
    assert found.thresholds[1] == result.ThresholdAccuracy(0.4, 0.82, 0.72)
    assert found.test.f1 == 0.746
    assert found.test_native.iou == result.Interval(0.6, 0.5, 0.7)
    assert [(c.coverage, c.tiles) for c in found.by_coverage] == [
        ("0", 2),
        ("0.1-0.4", 3),
    ]
    assert found.by_coverage[1].recall == result.Interval(0.5, 0.4, 0.6)
    assert found.calibration.bins[1] == result.CalibrationBin(0.9, 1.0, 500, 0.97, 0.9)
    assert found.data.label == "tgs/train 40/5/5"


def test_synthetic_data_are_labelled_as_such():
    data = result.TrainingData("synthetic", "", 35, 7, 8)
    assert data.label == "synthetic 35/7/8"


@pytest.mark.parametrize(
    "keys",
    [
        ("status",),
        ("best_epoch",),
        ("data",),
        ("data", "val"),
        ("threshold", "metric"),
        ("min_area",),
        ("thresholds", 3, "val_accuracy"),
        ("test", "loss"),
        ("test_no_salt", "kaggle_map"),
        ("test_native", "dice"),
        ("test_native", "iou", "low"),
        ("by_coverage", 1, "tiles"),
        ("by_coverage", 0, "f1", "high"),
        ("calibration", "ece"),
        ("calibration", "bins", 0, "pixels"),
    ],
    ids=lambda keys: ".".join(map(str, keys)),
)
def test_missing_key_is_damage(tmp_path, keys):
    tree = copy.deepcopy(written_run.RESULT)
    *parents, last = keys
    part = tree
    for key in parents:
        part = part[key]
    del part[last]
    write(tmp_path, tree)
    with pytest.raises(InputError) as caught:
        result.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/result.json: damaged")
    assert f"`{last}`" in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("epochs",), 2.5, "epochs"),
        (("epochs",), True, "epochs"),
        (("stopped_early",), 1, "stopped_early"),
        (("train_seconds",), "12", "train_seconds"),
        (("data",), [], "data"),
        (("data", "dir"), None, "dir"),
        (("by_coverage",), {}, "by_coverage"),
        (("by_coverage", 1, "tiles"), 1.5, "tiles"),
        (("test_native", "iou"), 0.5, "iou"),
        (("threshold", "value"), 1.5, "threshold 1.5"),
        (("threshold", "value"), -0.1, "threshold -0.1"),
        (("threshold", "value"), float("nan"), "threshold nan"),
        (("threshold", "metric"), "auc", "metric auc"),
        (("train_seconds",), float("nan"), "not JSON"),
        (("test_native", "iou", "low"), float("inf"), "not JSON"),
        (("min_area",), -1, "min_area -1"),
        (("min_area",), "0", "min_area"),
    ],
)
def test_value_that_no_run_has_is_damage(tmp_path, keys, value, message):
    tree = copy.deepcopy(written_run.RESULT)
    *parents, last = keys
    part = tree
    for key in parents:
        part = part[key]
    part[last] = value
    write(tmp_path, tree)
    with pytest.raises(InputError) as caught:
        result.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/result.json: damaged")
    assert message in str(caught.value)


def test_result_of_an_earlier_version_lacks_the_settings_of_its_test(tmp_path):
    tree = dict(written_run.RESULT)
    del tree["eval"]
    write(tmp_path, tree)
    assert result.read(tmp_path).eval is None


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda tree: tree.update(mood="good"), "mood"),
        (lambda tree: tree["threshold"].update(low=0.1), "threshold.low"),
        (lambda tree: tree["by_coverage"][1].update(fdr=0.1), "by_coverage.1.fdr"),
    ],
)
def test_keys_of_a_newer_version_are_named(tmp_path, change, key):
    tree = copy.deepcopy(written_run.RESULT)
    change(tree)
    write(tmp_path, tree)
    with pytest.raises(InputError) as caught:
        result.read(tmp_path)
    assert f"result.json has keys that this version does not know: {key}; use" in str(
        caught.value
    )


def test_result_of_a_version_with_fewer_scores_is_read(tmp_path):
    tree = copy.deepcopy(written_run.RESULT)
    del tree["test_units"]
    for scores in (tree["test_native"], *tree["by_coverage"]):
        del scores["mean_iou"], scores["mean_class_accuracy"]
    write(tmp_path, tree)
    found = result.read(tmp_path)
    assert found.test_units is None
    assert found.test_native.mean_iou is None
    assert found.by_coverage[1].mean_class_accuracy is None
    assert found.test_native.f1 == result.Interval(0.76, 0.66, 0.86)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_file_that_is_no_result_is_damage(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(InputError, match=r"result\.json: damaged"):
        result.read(tmp_path)


def test_missing_result_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"result\.json: cannot read"):
        result.read(tmp_path)


def test_evaluation_has_the_documented_keys_in_order(tmp_path):
    write(tmp_path, written_run.RESULT)
    run = result.read(tmp_path)
    evaluation = result.join(
        result.Evaluation,
        result.Evaluated(
            "final",
            2,
            True,
            "jax",
            "float32",
            result.EvaluatedData("folder", "/x", 9, 1),
        ),
        result.Applied(run.threshold, run.min_area),
        result.Scores(
            run.test,
            run.test_no_salt,
            run.test_native,
            run.by_coverage,
            run.calibration,
            run.test_units,
        ),
    )
    files.write_json(tmp_path / "evaluation.json", evaluation)
    same = {
        key: written_run.RESULT[key]
        for key in (
            "threshold",
            "min_area",
            "test",
            "test_no_salt",
            "test_native",
            "by_coverage",
            "calibration",
            "test_units",
        )
    }
    expected = {
        "run": "final",
        "best_epoch": 2,
        "tta": True,
        "engine": "jax",
        "precision": "float32",
        "data": {"source": "folder", "dir": "/x", "tiles": 9, "trained_on": 1},
    } | same
    text = json.dumps(expected, indent=2) + "\n"
    assert (tmp_path / "evaluation.json").read_text() == text
