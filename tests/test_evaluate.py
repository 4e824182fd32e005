"""A finished run scored again, and its predictions graded by somebody else."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
import reference
import sklearn.metrics
from conftest import write_tiles
from PIL import Image
from program import TINY, assert_refused, launch

from saltjax import evaluate, predict
from saltjax.data import synthetic
from saltjax.system.errors import InputError


@pytest.fixture
def run(runs, tmp_path):
    """A copy of a finished run, on built-in sections."""
    shutil.copytree(runs[0] / "plain", tmp_path / "run")
    return tmp_path / "run"


def write_sections(folder, count, seed):
    """Writes built-in sections as a folder of tiles; returns their labels uint8[N, H, W] by id."""
    tiles = synthetic.make_tiles(count, seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i, image, label in zip(tiles.ids, tiles.images, tiles.labels[..., 0]):
        Image.fromarray(image).save(folder / f"images/{i}.png")
        Image.fromarray(label * 255).save(folder / f"masks/{i}.png")
    return dict(zip(tiles.ids, tiles.labels[..., 0]))


def read(path):
    return json.loads(pathlib.Path(path).read_text())


def test_a_run_scored_on_its_own_test_tiles_scores_the_same(run, capsys):
    evaluate.evaluate(run, "", "", None)
    result, found = read(run / "result.json"), read(run / "evaluation.json")
    for key in ("test", "test_native", "test_no_salt", "by_coverage", "calibration"):
        assert found[key] == result[key]
    assert found["threshold"] == result["threshold"]
    assert found["data"] == {
        "source": "synthetic",
        "dir": "",
        "tiles": 8,
        "trained_on": 0,
    }
    drawn = {path.stem for path in (run / "evaluation").iterdir()}
    assert drawn == {
        "precision_recall",
        "by_coverage",
        "reliability",
        "predictions",
        "worst",
    }
    assert f"loss {found['test']['loss']:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize(("tta", "min_area"), [(False, 0), (True, 20)])
def test_a_submission_graded_by_others_scores_as_evaluated(
    run, tmp_path, tta, min_area
):
    labels = write_sections(tmp_path / "tiles", 40, seed=9)
    result = read(run / "result.json")
    threshold = result["threshold"]["value"]
    (run / "result.json").write_text(json.dumps(result | {"min_area": min_area}))
    evaluate.evaluate(run, str(tmp_path / "tiles"), str(tmp_path / "scores"), tta)
    found = read(tmp_path / "scores/evaluation.json")
    assert found["tta"] == tta
    output = tmp_path / "out"
    predict.predict([run], str(tmp_path / "tiles/images"), str(output), None, tta)
    with open(output / "submission.csv", newline="") as file:
        codes = {row["id"]: row["rle_mask"] for row in csv.DictReader(file)}
    assert codes.keys() == labels.keys()
    scores = {"kaggle_map": reference.kaggle_score(labels, codes)}
    masks = {i: np.asarray(Image.open(output / f"masks/{i}.png")) for i in labels}
    assert {values for mask in masks.values() for values in np.unique(mask)} <= {0, 255}
    for i, mask in masks.items():
        np.testing.assert_array_equal(reference.decode(codes[i], (101, 101)), mask > 0)
    actual = np.concatenate([label.ravel() for label in labels.values()])
    predicted = np.concatenate([mask.ravel() > 0 for mask in masks.values()])
    for name in ("accuracy", "precision", "recall", "f1"):
        scores[name] = getattr(sklearn.metrics, f"{name}_score")(actual, predicted)
    for name, value in scores.items():
        assert found["test_native"][name]["value"] == pytest.approx(value, abs=1e-9)
    if not min_area:
        # The masks are what the written probabilities give.
        for i, mask in masks.items():
            prob = np.asarray(Image.open(output / f"probs/{i}.png"))
            assert prob.dtype == np.uint16
            written = np.float32(prob) / np.float32(65535)
            np.testing.assert_array_equal(written >= np.float32(threshold), mask > 0)


def test_tiles_the_run_was_trained_on_are_told(run, tmp_path, capsys):
    write_sections(tmp_path / "tiles", 50, seed=0)
    evaluate.evaluate(run, str(tmp_path / "tiles"), str(tmp_path / "out"), None)
    assert read(tmp_path / "out/evaluation.json")["data"]["trained_on"] == 42
    assert "42 of these 50 tiles" in capsys.readouterr().out


def test_tiles_of_another_size_are_scored_at_theirs(run, tmp_path):
    write_tiles(tmp_path / "tiles", 30)
    evaluate.evaluate(run, str(tmp_path / "tiles"), str(tmp_path), None)
    bins = read(tmp_path / "evaluation.json")["calibration"]["bins"]
    assert sum(row["pixels"] for row in bins) == 30 * 12 * 10


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{}", "config.json is damaged, or of another version"),
        ("config.json", '{"model": 3}', "config.json is damaged"),
        ("result.json", None, "holds no finished run"),
        ("result.json", '{"threshold": 0.5}', "result.json: damaged"),
        ("result.json", {"min_area": float("inf")}, "result.json: damaged"),
        ("result.json", {"min_area": -7}, "damaged .*min_area -7"),
        ("result.json", {"threshold": {"value": 5, "metric": "f1"}}, "threshold 5.0"),
        ("result.json", {"threshold": {"value": 0.5, "metric": "x"}}, "metric x"),
        ("config.json", {"eval": {}}, "it lacks 'eval.threshold_metric'"),
        (
            "config.json",
            {"train": {"batch_size": 8.5}},
            "expected a whole number|lacks",
        ),
        ("config.json", {"model": {"name": "unet"}}, "config.json is damaged"),
        ("data.json", None, "data.json: cannot read"),
        ("result.json", "{", "result.json: damaged"),
        (
            "checkpoints/best/sha256.json",
            "{}",
            "best checkpoint that is left of epoch 1",
        ),
        (
            "data.json",
            '{"height": 101, "width": 101, "content_sha256": "0"}',
            "the data have changed",
        ),
    ],
)
def test_a_run_that_cannot_be_used_is_told(run, name, content, message):
    if content is None:
        (run / name).unlink()
    elif isinstance(content, dict):
        (run / name).write_text(json.dumps(read(run / name) | content))
    else:
        (run / name).write_text(content)
    with pytest.raises(InputError, match=message):
        evaluate.evaluate(run, "", "", None)
    assert not (run / "evaluation.json").exists()


def test_weights_of_other_widths_are_told(run):
    config = read(run / "config.json")
    config["model"]["features"] = [4, 16]
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="no good checkpoint is left"):
        evaluate.evaluate(run, "", "", None)


def test_a_finished_run_is_tested_anew_by_another_rule(run):
    before = read(run / "result.json")
    best = (run / "checkpoints/best/sha256.json").read_text()
    options = ("--config=configs/quickstart.py", f"--workdir={run}", *TINY)
    rule = ("--config.eval.threshold_metric=iou", "--config.eval.min_area=30")
    done = launch(*options, *rule)
    assert done.returncode == 0, done.stderr
    after = read(run / "result.json")
    assert (after["threshold"]["metric"], after["min_area"]) == ("iou", 30)
    assert after["test"]["loss"] == before["test"]["loss"]
    assert (run / "checkpoints/best/sha256.json").read_text() == best
    assert read(run / "config.json")["eval"]["min_area"] == "30"
    evaluate.evaluate(run, "", "", None)
    done = launch(*options, *rule, "--overwrite", "--config.train.epochs=1")
    assert done.returncode == 0, done.stderr
    # What was said of the run before is gone with it.
    assert not (run / "evaluation.json").exists()
    assert not (run / "evaluation").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--mode=evaluate",), ["needs the --workdir"]),
        (("--mode=evaluate", "--workdir=nowhere"), ["nowhere/config.json"]),
        (("--mode=evaluate", "--config=configs/unet.py"), ["takes no --config"]),
        (("--mode=evaluate", "--workdir=x", "--threshold=1"), ["takes no --threshold"]),
        (("--mode=predict", "--workdir=x"), ["needs --input"]),
        (("--mode=predict", "--workdir=x", "--threshold=2"), ["threshold"]),
        (
            (
                "--mode=predict",
                "--workdir=x",
                "--threshold=nan",
                "--input=x",
                "--output=y",
            ),
            ["--threshold=nan; expected a probability"],
        ),
        (("--config=configs/unet.py", "--tta"), ["--mode=train takes no --tta"]),
    ],
)
def test_a_mistaken_command_is_told(args, words):
    assert_refused(launch(*args), *words)


def test_the_commands_run_as_a_user_starts_them(run, tmp_path):
    write_sections(tmp_path / "tiles", 10, seed=9)
    done = launch("--mode=evaluate", f"--workdir={run}", f"--input={tmp_path}/tiles")
    assert done.returncode == 0, done.stderr
    assert read(run / "evaluation.json")["data"]["tiles"] == 10
    options = (
        f"--workdir={run}",
        f"--input={tmp_path}/tiles",
        f"--output={tmp_path}/o",
    )
    done = launch("--mode=predict", *options, "--threshold=0.25", "--tta")
    assert done.returncode == 0, done.stderr
    assert "at 0.250" in done.stdout
    assert len(list((tmp_path / "o/masks").iterdir())) == 10
