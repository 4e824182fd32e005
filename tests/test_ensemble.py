"""Several networks evaluated as one, and masks with a value for no label."""

import json

import forked
import jax
import numpy as np
import pytest
import written_run
from PIL import Image
from program import assert_refused
from run_files import read
from tile_files import write_tiles

import saltjax
from saltjax import evaluate, predict
from saltjax.data import folder as tile_folders
from saltjax.inference import evaluation
from saltjax.runs import checkpoint


@pytest.fixture
def ensemble(tmp_path):
    """Two runs on tiles of 12×10 pixels with different networks and thresholds."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        written_run.write(folder)
    changed = jax.tree.map(lambda x: x * np.float32(1.5), written_run.VARIABLES)
    best = {"epoch": 2, "val_loss": 0.5}
    checkpoint.save(folders[1] / "checkpoints/best", changed, best)
    result = read(folders[1] / "result.json")
    result["threshold"]["value"] = 0.4
    (folders[1] / "result.json").write_text(json.dumps(result))
    return folders


def test_an_ensemble_has_the_scores_of_its_mean_probabilities(ensemble, tmp_path):
    tiles = write_tiles(tmp_path / "tiles", 9)
    scores, out = str(tmp_path / "scores"), str(tmp_path / "out")
    evaluate.evaluate(ensemble, str(tiles), scores, None)
    found = read(tmp_path / "scores/evaluation.json")
    assert found["run"] == "one,two"
    threshold = (0.1694612354040146 + 0.4) / 2
    assert found["threshold"] == {
        "value": pytest.approx(threshold),
        "f1": None,
        "metric": None,
        "score": None,
    }
    # The masks are those that predict writes.
    predict.predict(ensemble, str(tiles / "images"), out)
    read_tiles = tile_folders.read_folder(str(tiles))
    labels = read_tiles.labels[..., 0]
    masks = [
        np.asarray(Image.open(f"{out}/masks/{name}.png")) > 0 for name in read_tiles.ids
    ]
    both = np.logical_and(masks, labels).sum(axis=(1, 2))
    either = np.logical_or(masks, labels).sum(axis=(1, 2))
    iou = np.where(either, both / np.maximum(either, 1), 1).mean()
    assert found["test_native"]["iou"]["value"] == pytest.approx(iou)
    outputs = [
        evaluation.predict_tiles(
            read_tiles, np.arange(9), saltjax.load(run).section_model()
        )
        for run in ensemble
    ]
    salt = np.mean([each.prob for each in outputs], axis=0, dtype=float)
    label = outputs[0].label
    loss = -np.log(np.where(label, salt, 1 - salt)).mean()
    assert found["test"]["loss"] == pytest.approx(loss, rel=1e-5)
    assert abs(loss - outputs[0].loss) > 1e-3


def test_mistakes_with_ensembles(ensemble, tmp_path):
    tiles = write_tiles(tmp_path / "tiles", 9)
    names = ",".join(map(str, ensemble))
    base = ["--mode=evaluate", f"--workdir={names}", f"--input={tiles}"]
    assert_refused(forked.launch(*base), "several networks needs --output")
    own = forked.launch(*base, f"--output={ensemble[1]}")
    assert_refused(own, "several networks needs --output")
    twice = f"--workdir={ensemble[0]},{ensemble[1]}/../one"
    refused = forked.launch("--mode=evaluate", twice, f"--output={tmp_path}/scores")
    assert_refused(refused, "one of them is given twice")
    (ensemble[1] / "data.json").write_text('{"height": 11, "width": 9}')
    refused = forked.launch(*base, f"--output={tmp_path}/scores")
    assert_refused(refused, "have different resolutions", "(12, 10)", "(11, 9)")
    refused = forked.launch(*base, f"--output={tmp_path}/scores", "--unlabelled=0")
    assert_refused(refused, "--unlabelled=0; expected a value above 0")


def test_networks_that_compute_in_different_ways(ensemble, tmp_path):
    tiles = write_tiles(tmp_path / "tiles", 9)
    base = ["--mode=evaluate", f"--workdir={','.join(map(str, ensemble))}"]
    base += [f"--input={tiles}", f"--output={tmp_path}/scores"]
    settings, result = (read(ensemble[1] / f"{n}.json") for n in ("config", "result"))
    settings["train"]["dtype"] = "bfloat16"
    result["eval"]["tta"] = not result["eval"]["tta"]
    (ensemble[1] / "config.json").write_text(json.dumps(settings))
    (ensemble[1] / "result.json").write_text(json.dumps(result))
    assert_refused(forked.launch(*base), "eval.tta differs", "give --tta or --notta")
    assert_refused(forked.launch(*base, "--tta"), "train.dtype", "give --precision")
    done = forked.launch(*base, "--tta", "--precision=float32")
    assert done.returncode == 0, done.stderr


def test_pixels_of_a_given_value_count_in_no_score(ensemble, tmp_path):
    tiles = write_tiles(tmp_path / "tiles", 9)
    path = tiles / "masks/t08.png"
    mask = np.zeros((12, 10), np.uint8)
    mask[:, :4], mask[:2, 5:] = 128, 255
    Image.fromarray(mask).save(path)
    words = ["--mode=evaluate", f"--workdir={ensemble[0]}", f"--input={tiles}"]
    words.append(f"--output={tmp_path}/scores")
    assert_refused(forked.launch(*words), "t08.png", "data.unlabelled")
    done = forked.launch(*words, "--unlabelled=128")
    assert done.returncode == 0, done.stderr
    assert "Unlabelled 4.4% of the pixels, in 1 of 9 tiles" in done.stdout
