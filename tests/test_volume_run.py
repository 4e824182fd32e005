"""Runs that are trained on a volume, from check to prediction."""

import json
import shutil

import forked
import numpy as np
import pytest
import volume_files
from run_outcome import outcome
from sklearn.metrics import f1_score, jaccard_score
from tiny import tiny_config

import saltjax
from saltjax import epoch, evaluate, export, report, train
from saltjax.data import cutting
from saltjax.runs import network_file, saved_config, saved_outputs, workdir
from saltjax.system import signals
from saltjax.system.errors import InputError

pytestmark = pytest.mark.slow


def make_config(volume, labels, **overrides):
    """Returns the config of a small run on a volume."""
    data = volume_files.config(volume, labels).data
    settings = {f"data.{key}": value for key, value in data.items()}
    small = {"model.features": (4, 8), "train.epochs": 2, "data.image_size": 16}
    return tiny_config(**settings | small | overrides)


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A directory with volume.npy and labels.npy, one inline in three without labels."""
    folder = tmp_path_factory.mktemp("volume")
    amplitudes, labels = volume_files.make()
    labels[::3] = -1
    volume_files.write_npy(folder, amplitudes, labels)
    return folder


def config_of(folder, **overrides):
    return make_config(folder / "volume.npy", folder / "labels.npy", **overrides)


@pytest.fixture(scope="module")
def whole(volume, tmp_path_factory):
    """A finished run."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train.train(config_of(volume), run, overwrite=False)
    return run


def test_scores_are_those_of_the_labelled_samples_of_whole_lines(whole, volume):
    result, facts = read(whole / "result.json"), read(whole / "data.json")
    outputs = saved_outputs.read(whole)
    labels = np.load(volume / "labels.npy")
    assert outputs.ids == facts["splits"]["test"]
    lines = [int(name.rpartition("_")[2]) for name in outputs.ids]
    (first, last) = facts["volume"]["blocks"]["test"][0]
    assert lines == [i for i in range(first, last + 1) if i % 3]
    truth = np.stack([labels[i].T for i in lines])
    truth[:, :, 3] = 255  # dead
    np.testing.assert_array_equal(outputs.labels, truth)
    mask = outputs.prob / 65535 >= np.float32(result["threshold"]["value"])
    known = truth != 255
    iou = [jaccard_score(t[k], m[k]) for t, m, k in zip(truth, mask, known)]
    assert result["test_native"]["iou"]["value"] == pytest.approx(np.mean(iou))
    assert result["test_native"]["f1"]["value"] == pytest.approx(
        f1_score(truth[known], mask[known])
    )
    assert result["test_units"] == len({i // 2 for i in lines})  # data.gap
    assert result["data"]["source"] == "volume"
    assert {k: len(v) for k, v in facts["splits"].items()} == {
        k: result["data"][k] for k in ("train", "val", "test")
    }


def test_run_is_evaluated_as_it_was_tested(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    evaluate.evaluate([run], "", "", None)
    evaluated, tested = read(run / "evaluation.json"), read(run / "result.json")
    assert evaluated["test_native"] == tested["test_native"]


def test_report_shows_the_lines(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    (run / "report.html").unlink()
    report.report(run)
    page = (run / "report.html").read_text()
    assert "test_inline_" in page
    assert "Without the images" not in page


def test_formats_give_the_same_metrics(whole, volume, tmp_path):
    paths = [
        volume_files.write_segy(
            tmp_path / f"{name}.sgy", np.load(volume / f"{name}.npy"), code
        )
        for name, code in (("volume", 5), ("labels", 3))
    ]
    train.train(make_config(*paths), tmp_path / "run", overwrite=False)
    expected, found = outcome(whole), outcome(tmp_path / "run")
    assert found[1] == expected[1]
    assert found[2] == expected[2]
    assert found[0]["test_native"] == expected[0]["test_native"]


def test_interrupted_run_goes_on_bit_for_bit(whole, volume, tmp_path, monkeypatch):
    run, calls = tmp_path / "run", iter(range(100))
    original = epoch.feeds.calls

    def stopping(*args):
        for call in original(*args):
            if next(calls) in (2, 5, 9):
                raise signals.Stopped(15)
            yield call

    monkeypatch.setattr(epoch.feeds, "calls", stopping)
    # Every step is saved, so that each start goes on within an epoch.
    made = config_of(volume, **{"checkpoint.every_minutes": 0.0})
    for _ in range(3):
        with pytest.raises(signals.Stopped):
            train.train(made, run, overwrite=False)
    train.train(config_of(volume), run, overwrite=False)
    assert next(calls) == 13
    assert outcome(run) == outcome(whole)


def test_patches_read_while_training_runs_give_the_same_run(
    whole, volume, tmp_path, monkeypatch
):
    monkeypatch.setattr(cutting, "MEMORY_SHARE", 0)
    train.train(config_of(volume), tmp_path / "run", overwrite=False)
    assert outcome(tmp_path / "run") == outcome(whole)


def test_amplitude_scaling_and_other_labels_are_other_data(whole, volume, tmp_path):
    made = config_of(volume, **{"predict.normalize": "minmax"})
    with pytest.raises(InputError, match=r"predict.normalize: 'clip' there, 'minmax'"):
        workdir.status(whole, made.to_dict())
    shutil.copy(volume / "volume.npy", tmp_path / "volume.npy")
    labels = np.load(volume / "labels.npy")
    labels[1, 0, 0] = 1
    np.save(tmp_path / "labels.npy", labels)
    run = shutil.copytree(whole, tmp_path / "run")
    with pytest.raises(InputError, match=r"the data have changed since the run"):
        train.train(config_of(tmp_path), run, overwrite=False)


def test_moved_volume_is_the_same(whole, volume, tmp_path):
    folder = shutil.copytree(volume, tmp_path / "moved")
    run = shutil.copytree(whole, tmp_path / "run")
    train.train(config_of(folder), run, overwrite=False)
    assert saved_config.read(run).data.volume == str(folder / "volume.npy")


def test_check_draws_the_volume(volume, tmp_path):
    done = forked.launch(
        "--mode=check",
        "--config=configs/quickstart.py",
        f"--config.data.volume={volume}/volume.npy",
        f"--config.data.labels={volume}/labels.npy",
        "--config.data.tile=8",
        "--config.data.patches=64",
        "--config.data.gap=2",
        f"--workdir={tmp_path}/run",
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "30 inlines, 20 crosslines, 24 samples",
        "20 of 30 inlines hold labels, for 95.0% of their samples; 20 of their 400 traces",
        "-1 (unlabelled) 33.33%",
        "Gap        2 inlines between two parts. Correlation of amplitudes:",
    ):
        assert words in done.stdout
    drawn = {path.name for path in (tmp_path / "run/check").iterdir()}
    assert {"split.png", "amplitudes.png", "lines.png"} < drawn


def test_network_file_of_a_run_segments_as_the_run_does(whole, volume, tmp_path):
    file = tmp_path / "salt.safetensors"
    export.export(whole, str(file))
    assert set(network_file.read(file).tiles.splits) == {"val", "test"}
    amplitudes = np.load(volume / "volume.npy")[:3]
    probs = [saltjax.load(path).predict(amplitudes) for path in (whole, file)]
    np.testing.assert_array_equal(*probs)
    assert (probs[0][:, 3] == 0).all()  # dead
