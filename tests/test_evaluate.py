"""Finished runs evaluated: on their own tiles, on others, damaged, and with wrong commands."""

import errno
import json
import logging
import os
import pathlib

import forked
import numpy as np
import pytest
from program import assert_refused
from run_files import in_json, read
from tested_run import masks_of
from tile_files import write_sections, write_tiles

from saltjax import evaluate, export, predict
from saltjax.reporting import figures
from saltjax.runs import saved_outputs, trained
from saltjax.system import locks, output_directory
from saltjax.system.errors import InputError

PATHS = ("--workdir=x", "--input=x", "--output=y")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["synthetic", "folder"])
def test_a_network_of_synthetic_sections_is_announced(run, tmp_path, caplog, source):
    result = read(run / "result.json")
    result["data"]["source"] = source
    (run / "result.json").write_text(json.dumps(result))
    write_sections(tmp_path / "tiles", 2, seed=3)
    said = f"{run} was trained on built-in synthetic sections"
    predict.predict([run], f"{tmp_path}/tiles/images", f"{tmp_path}/out")
    assert (said in caplog.text) == (source == "synthetic")
    caplog.clear()
    evaluate.evaluate([run], str(tmp_path / "tiles"), str(tmp_path / "scores"), None)
    assert (said in caplog.text) == (source == "synthetic")
    caplog.clear()
    if source == "synthetic":  # its own test tiles are no real data
        evaluate.evaluate([run], "", "", None)
        assert said not in caplog.text


@pytest.mark.slow
def test_a_threshold_that_was_chosen_otherwise_is_announced(run, tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    write_tiles(tmp_path / "tiles", 2)
    tiles, images = str(tmp_path / "tiles"), str(tmp_path / "tiles/images")
    said = f"of {run}: chosen without mirror images (eval.tta=False)"
    for tta in (None, True):
        caplog.clear()
        evaluate.evaluate([run], tiles, str(tmp_path / "scores"), tta)
        assert (said in caplog.text) == (tta is True)
        caplog.clear()
        predict.predict([run], images, str(tmp_path / "out"), predict.Flags(tta=tta))
        assert (said in caplog.text) == (tta is True)
    assert "with --config.eval.tta=True" in caplog.text
    caplog.clear()
    predict.predict(
        [run], images, str(tmp_path / "out"), predict.Flags(threshold=0.5, tta=True)
    )
    assert said not in caplog.text
    in_json(lambda result: result["eval"].update(tta=True))(run / "result.json")
    evaluate.evaluate([run], tiles, str(tmp_path / "scores"), False)
    assert "chosen with mirror images (eval.tta=True)" in caplog.text


@pytest.mark.slow
def test_evaluation_on_the_runs_own_test_tiles_gives_its_scores(run, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    evaluate.evaluate([run], "", "", None)
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
    assert f"loss {found['test']['loss']:.4f}" in caplog.text


@pytest.mark.slow
def test_a_network_file_has_the_scores_of_its_run(run, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "saltjax")
    write_sections(tmp_path / "tiles", 50, seed=0)
    tiles, file = str(tmp_path / "tiles"), tmp_path / "net.safetensors"
    export.export(run, str(file))
    evaluate.evaluate([run], tiles, str(tmp_path / "a"), None)
    monkeypatch.setattr(trained, "PACKAGED", tmp_path)
    monkeypatch.chdir(tmp_path)
    # Its own copy of the ids knows the tiles of training, too.
    for name in (file, "net"):
        caplog.clear()
        evaluate.evaluate([name], tiles, str(tmp_path / "b"), None)
        assert "42 of these 50 tiles" in caplog.text
        found = read(tmp_path / "b/evaluation.json")
        assert found.pop("run") == "net"
        expected = read(tmp_path / "a/evaluation.json")
        assert expected.pop("run") == run.name
        assert found == expected
    caplog.clear()
    evaluate.evaluate(["net"], tiles, str(tmp_path / "b"), True)
    assert "chosen without mirror images (eval.tta=False)" in caplog.text
    assert "repeat the command" not in caplog.text
    # It has no tiles and no directory of its own.
    for source, output in (("", ""), (tiles, ""), ("", str(tmp_path / "b"))):
        with pytest.raises(InputError, match=r"needs --input, .* and --output"):
            evaluate.evaluate([file], source, output, None)


@pytest.mark.slow
def test_an_evaluation_replaces_only_an_evaluation(run, tmp_path):
    tiles, scores = write_tiles(tmp_path / "tiles", 6), tmp_path / "scores"
    (scores / "evaluation").mkdir(parents=True)
    for name in ("evaluation.json", "evaluation/mine.png"):
        (scores / name).write_text("by hand")
        with pytest.raises(InputError, match=f"{scores}/{name}: not written by this"):
            evaluate.evaluate([run], str(tiles), str(scores), None)
        assert (scores / name).read_text() == "by hand"
        (scores / name).unlink()
    for _ in range(2):
        evaluate.evaluate([run], str(tiles), str(scores), None)
    assert read(scores / "evaluation.json")["data"]["tiles"] == 6
    with (
        locks.lock(scores, "--output"),
        pytest.raises(InputError, match="another process is writing there"),
    ):
        evaluate.evaluate([run], str(tiles), str(scores), None)
    # In the run's own directory it replaces the one before, whoever wrote that.
    (run / "evaluation.json").write_text("by an earlier version")
    evaluate.evaluate([run], str(tiles), "", None)
    assert read(run / "evaluation.json")["data"]["tiles"] == 6
    assert not (run / output_directory.RECORD).exists()


@pytest.mark.slow
def test_an_evaluation_that_fails_leaves_the_one_before(run, tmp_path, monkeypatch):
    """The disk fills up with the last figure, whether or not the directory is the run's own."""
    tiles = str(write_tiles(tmp_path / "tiles", 3))
    for folder in (run, tmp_path / "scores"):
        evaluate.evaluate([run], tiles, str(folder), None)
        paths = [folder / "evaluation.json", *(folder / "evaluation").iterdir()]
        before = {path: path.read_bytes() for path in paths}
        save, saved = figures.save, []

        def fail_at_the_last(figure, path, write, save=save, saved=saved):
            saved.append(path)
            with write(path) as part:
                if len(saved) == 5:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                part.write_text("new")

        with monkeypatch.context() as full:
            full.setattr(figures, "save", fail_at_the_last)
            with pytest.raises(InputError, match="No space left"):
                evaluate.evaluate([run], tiles, str(folder), True)
        assert {path: path.read_bytes() for path in paths} == before
        assert len(list((folder / "evaluation").iterdir())) == 5
        evaluate.evaluate([run], tiles, str(folder), True)
        assert read(folder / "evaluation.json")["tta"]


@pytest.mark.slow
def test_tiles_of_another_size_are_scored_at_their_own_resolution(run, tmp_path):
    write_tiles(tmp_path / "tiles", 30)
    evaluate.evaluate([run], str(tmp_path / "tiles"), str(tmp_path), None)
    bins = read(tmp_path / "evaluation.json")["calibration"]["bins"]
    assert sum(row["pixels"] for row in bins) == 30 * 12 * 10


def replaced_by(text):
    return lambda path: path.write_text(text)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("config.json", replaced_by("{}"), "config.json: damaged, or of another ver"),
        ("config.json", replaced_by('{"model": 3}'), "config.json: damaged"),
        (
            "config.json",
            in_json(lambda config: config["predict"].clear()),
            "missing settings: predict.direction, predict.normalize; unknown settings: none",
        ),
        (
            "config.json",
            in_json(lambda config: config["train"].update(batch_size=8.5)),
            "config.train.batch_size=8.5; expected a whole number",
        ),
        (
            "config.json",
            in_json(lambda config: config.update(model={"name": "unet"})),
            "config.json: damaged",
        ),
        ("data.json", pathlib.Path.unlink, "data.json: cannot read"),
        (
            "data.json",
            replaced_by('{"height": 101, "width": 101, "content_sha256": "0"}'),
            "the data have changed",
        ),
        ("result.json", pathlib.Path.unlink, "holds no finished run"),
        ("result.json", replaced_by("{"), "result.json: damaged"),
        ("result.json", replaced_by('{"threshold": 0.5}'), "result.json: damaged"),
        (
            "result.json",
            in_json(lambda result: result.update(min_area=float("inf"))),
            "result.json: damaged",
        ),
        (
            "result.json",
            in_json(lambda result: result.update(min_area=-7)),
            "damaged .*min_area -7",
        ),
        (
            "result.json",
            in_json(lambda result: result["threshold"].update(value=5)),
            "threshold 5.0",
        ),
        (
            "result.json",
            in_json(lambda result: result["threshold"].update(metric="x")),
            "metric x",
        ),
        (
            "checkpoints/best/sha256.json",
            replaced_by("{}"),
            "best remaining checkpoint is of epoch 1",
        ),
    ],
)
def test_a_run_that_cannot_be_used_is_refused(run, name, damage, message):
    damage(run / name)
    with pytest.raises(InputError, match=message):
        evaluate.evaluate([run], "", "", None)
    assert not (run / "evaluation.json").exists()


def test_weights_of_other_widths_are_refused(run):
    in_json(lambda config: config["model"].update(features=[4, 16]))(
        run / "config.json"
    )
    with pytest.raises(InputError, match="best is intact, but its arrays are not"):
        evaluate.evaluate([run], "", "", None)
    assert (run / "checkpoints/best/sha256.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threshold", "min_area"), [(0.45, 40), (None, 3000), (0.55, None)]
)
def test_an_evaluation_takes_a_threshold_and_a_size(run, threshold, min_area):
    """The masks are made here by another way than the program's, tile by tile."""
    outputs = saved_outputs.read(run)
    middle = float(np.median(outputs.prob) / 65535)
    in_json(lambda tree: tree["threshold"].update(value=middle))(run / "result.json")
    in_json(lambda tree: tree.update(min_area=9))(run / "result.json")
    before = read(run / "result.json")
    evaluate.evaluate([run], "", "", None, threshold, min_area)
    found = read(run / "evaluation.json")
    chosen = before["threshold"]
    if threshold is not None:
        chosen = {"value": threshold, "f1": None, "metric": None, "score": None}
    assert found["threshold"] == chosen
    assert found["min_area"] == (9 if min_area is None else min_area)
    masks = masks_of(outputs.prob, found["threshold"]["value"], found["min_area"])
    both, either = masks & outputs.labels, masks | outputs.labels
    sums = [x.sum((1, 2)) for x in (both, either)]
    iou = [a / b if b else 1 for a, b in zip(*sums)]
    assert found["test_native"]["iou"]["value"] == pytest.approx(np.mean(iou))
    assert read(run / "result.json") == before
    # Other masks than the run's, or the threshold would not matter.
    assert found["test_native"]["iou"] != before["test_native"]["iou"]


@pytest.mark.slow
def test_the_outputs_of_a_run_that_lacks_them_are_kept(run, tmp_path):
    path = run / "test_outputs.npz"
    before = saved_outputs.read(run)
    path.unlink()
    evaluate.evaluate([run], "", str(tmp_path / "elsewhere"), None)
    evaluate.evaluate([run], "", "", True)  # other probabilities than those of the test
    evaluate.evaluate([run], str(write_tiles(tmp_path / "tiles", 3)), "", None)
    assert not path.exists()
    evaluate.evaluate([run], "", "", None, 0.75, 4)
    after = saved_outputs.read(run)
    assert after.ids == before.ids
    for name in ("prob", "labels", "units"):
        assert np.array_equal(getattr(after, name), getattr(before, name)), name
    content = path.read_bytes()
    evaluate.evaluate([run], "", "", None)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--mode=evaluate",), ["needs --workdir: a finished run, a network file"]),
        (("--mode=evaluate", "--workdir=nowhere"), ["nowhere: no such run"]),
        (("--mode=evaluate", "--config=configs/unet.py"), ["takes no --config"]),
        (("--mode=export", "--workdir=x", "--threshold=1"), ["takes no --threshold"]),
        (("--mode=compare", "--min_area=1"), ["takes no --min_area"]),
        (
            ("--mode=evaluate", "--workdir=x", "--threshold=-0.1"),
            ["--threshold=-0.1; expected a probability"],
        ),
        (
            ("--mode=evaluate", "--workdir=x", "--min_area=-1"),
            ["--min_area=-1; expected a number of pixels, at least 0"],
        ),
        (
            ("--mode=predict", *PATHS, "--min_area=1000000000"),
            ["--min_area=1000000000; expected a number of pixels", "less than"],
        ),
        (("--mode=predict", *PATHS, "--min_area=2.5"), ["--min_area=2.5"]),
        (("--mode=predict", "--workdir=x"), ["needs --input"]),
        (
            ("--mode=predict", *PATHS, "--threshold=2"),
            ["--threshold=2.0; expected a probability"],
        ),
        (
            ("--mode=predict", *PATHS, "--threshold=nan"),
            ["--threshold=nan; expected a probability"],
        ),
        (("--config=configs/unet.py", "--tta"), ["--mode=train takes no --tta"]),
    ],
)
def test_a_wrong_command_is_refused(args, words):
    assert_refused(forked.launch(*args), *words)


@pytest.mark.slow
def test_the_commands_evaluate_and_predict(run, tmp_path):
    # The tiles of the run itself.
    write_sections(tmp_path / "tiles", 50, seed=0)
    options = (f"--workdir={run}", f"--input={tmp_path}/tiles")
    done = forked.launch("--mode=evaluate", *options)
    assert done.returncode == 0, done.stderr
    assert "42 of these 50 tiles" in done.stdout
    data = read(run / "evaluation.json")["data"]
    assert (data["tiles"], data["trained_on"]) == (50, 42)
    options = (*options, f"--output={tmp_path}/o", "--threshold=0.25", "--tta")
    done = forked.launch("--mode=predict", *options)
    assert done.returncode == 0, done.stderr
    assert "at threshold 0.250" in done.stdout
    assert len(list((tmp_path / "o/masks").iterdir())) == 50
