"""The page of a run without a browser: what it says of runs in every state."""

import errno
import json
import pathlib
import shutil

import numpy as np
import pytest
import tested_run
import written_run
from page_text import data_of, page_of
from report_pages import begin

from saltjax import report
from saltjax.data import synthetic
from saltjax.reporting import run_contents, run_report, tile_images
from saltjax.runs import saved_config, saved_outputs, settings, workdir
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.system import locks
from saltjax.system.errors import InputError


@pytest.fixture
def finished(tmp_path):
    run = tmp_path / "run"
    saved = tested_run.outputs(0.1, 1)
    tested_run.write(run, saved, {"data.dir": str(tmp_path / "moved")})
    return run


def test_the_summary_of_a_finished_run(finished):
    report.report(finished)
    page = page_of(finished)
    result = json.loads((finished / "result.json").read_text())
    native = result["test_native"]
    for part in (
        "A U-Net with 16-32-64-128-256 channels, max-pooling and skip connections "
        "(2,137,185 parameters), trained on 40 tiles of",
        "5 others validate and 5 test it",
        "It took 2 epochs, until early stopping and 12 s; the network of epoch 2 is tested",
        "The threshold 0.500 was chosen on the validation tiles by F1",
        f"IoU {native['iou']['value']:.3f} ({native['iou']['low']:.3f}–"
        f"{native['iou']['high']:.3f})",
        "Predicting no salt anywhere has Kaggle mAP 0.400 and accuracy 0.750",
        "The expected calibration error is 0.0625",
    ):
        assert part in page.text, part
    assert "refresh" not in dict(page.attributes).values()
    assert data_of(finished)["bestEpoch"] == 2


def test_the_summary_of_a_run_on_a_volume(tmp_path):
    run, files = tmp_path / "run", {"data.volume": "salt.sgy", "data.labels": "l.sgy"}
    tested_run.write(run, tested_run.outputs(0.1, 1), files)
    result = json.loads((run / "result.json").read_text())
    result["data"] |= {"source": "volume", "dir": "/data/f3/salt.sgy"}
    (run / "result.json").write_text(json.dumps(result | {"test_units": 1}))
    report.report(run)
    page = page_of(run)
    iou = result["test_native"]["iou"]["value"]
    for part in (
        "trained on 40 patches of f3/salt.sgy",
        "5 lines of it validate and 5 test it",
        f"IoU {iou:.3f} and",
        "without intervals, since the test lines are of one group",
        "Threshold and lines",
    ):
        assert part in page.text, part
    assert "synthetic tiles" not in page.text
    assert data_of(run)["noun"] == "line"
    assert data_of(run)["result"]["units"] == 1


def test_what_identifies_the_run_is_told(finished):
    import hashlib

    start = {"command": ["launch.py", "--config=a b"], "git_commit": "c0ffee"}
    (finished / "env.json").write_text(json.dumps([{}, start]))
    report.report(finished)
    page = page_of(finished)
    digest = hashlib.sha256((finished / "test_outputs.npz").read_bytes()).hexdigest()
    for part in (digest, "c0ffee", "python launch.py '--config=a b'", "started again"):
        assert part in page.text, part


def test_settings_that_differ_from_the_baseline_are_listed(tmp_path):
    overrides = {"model.features": (4, 8), "model.norm": "batch"}
    run = begin(tmp_path / "run", 1, overrides)
    config = saved_config.read(run).to_dict()
    differing = run_report.differing_settings(settings.flatten(config))
    assert sorted(differing) == [
        ("model.features", "4,8", "16,32,64,128,256"),
        ("model.norm", "batch", "none"),
        ("train.epochs", "30", "100"),
    ]


@pytest.mark.parametrize("epochs", [0, 1, 4])
def test_an_interrupted_run_shows_what_there_is(tmp_path, epochs):
    run = begin(tmp_path / "run", epochs)
    report.report(run)
    page = page_of(run)
    done = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    assert f"Training was interrupted after {done} of at most 30" in page.text
    assert "Scores and test tiles follow" in page.text
    assert [row["epoch"] for row in data_of(run)["history"]] == [*range(1, epochs + 1)]
    assert data_of(run)["bestEpoch"] == (None, 1, 2, 2, 2)[epochs]
    assert data_of(run)["result"] is None


def test_a_run_in_training_says_so(tmp_path):
    run = begin(tmp_path / "run", 3)
    with locks.lock(run, "--workdir"):
        report.report(run)
        assert "Training is under way: 3 epochs of at most 30" in page_of(run).text
        assert ("http-equiv", "refresh") not in page_of(run).attributes
    assert not locks.is_locked(run)
    run_report.refresh(run, synthetic.make_tiles(1, 0), running=True)
    assert "Training is under way" in page_of(run).text
    assert ("http-equiv", "refresh") in page_of(run).attributes


@pytest.mark.parametrize(
    ("select", "column", "best"),
    [("val_loss", {}, 2), ("last", {}, 3), ("kaggle_map", {"val_kaggle_map": 0.5}, 1)],
)
def test_the_best_epoch_so_far_is_the_one_that_would_be_tested(
    tmp_path, select, column, best
):
    run = begin(tmp_path / "run", 3, {"checkpoint.select": select})
    rows = workdir.read_metrics(run)
    workdir.write_metrics(
        run,
        [
            row | {k: v - 0.1 * i for k, v in column.items()}
            for i, row in enumerate(rows)
        ],
    )
    report.report(run)
    assert data_of(run)["bestEpoch"] == best
    name = "last" if select == "last" else "best"
    assert f"Epoch {best} is the {name} so far, of 3 complete" in page_of(run).text


def test_the_origin_of_initial_weights_is_told(tmp_path):
    run = begin(tmp_path / "run", 1)
    init = {
        "from": "runs/a",
        "taken": ["a", "b"],
        "left": ["c"],
        "weights_sha256": "12",
    }
    (run / "env.json").write_text(json.dumps([{"init": init}, {}]))
    report.report(run)
    expected = "2 arrays of runs/a, 1 not taken over; SHA-256 of its weights 12"
    assert page_of(run).text.count(expected) == 1


def test_a_run_that_goes_on_says_what_its_result_is_of(finished):
    rows = workdir.read_metrics(finished)
    workdir.write_metrics(finished, [*rows, rows[-1] | {"epoch": 3.0}])
    report.report(finished)
    text = page_of(finished).text
    assert "Training was interrupted after 3 epochs" in text
    assert "The result below is that of the first 2." in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"schema": 99}'),
        ("data.json", "[]"),
        ("data.json", '{"height": "tall"}'),
        ("data.json", '{"splits": {"train": 3}}'),
        ("env.json", "[3]"),
        ("env.json", '[{"devices": 3}]'),
        ("metrics.csv", "epoch\n1\n"),
        ("metrics.csv", "no csv \x00"),
        ("result.json", "{}"),
        ("test_outputs.npz", "no archive"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(finished, caplog, name, content):
    caplog.set_level("INFO", "saltjax")
    report.report(finished)
    before = page_of(finished)
    (finished / name).write_text(content)
    report.report(finished)
    page = page_of(finished)
    assert f"Left out: {finished / name}" in page.text
    assert f"Left out   {finished / name}" in caplog.text
    assert "Left out" not in before.text
    assert "Training" in page.text
    if name not in ("result.json", "test_outputs.npz"):
        assert data_of(finished)["tiles"]["ids"] == [f"t{i:02d}" for i in range(40)]


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_shown(
    finished, caplog, monkeypatch
):
    caplog.set_level("INFO", "saltjax")
    open_path = pathlib.Path.open

    def open_others(path, *args, **kwargs):
        if path == finished / saved_outputs.NAME:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_path(path, *args, **kwargs)

    monkeypatch.setattr(pathlib.Path, "open", open_others)
    report.report(finished)
    reason = f"{saved_outputs.NAME}: Permission denied; change its permissions"
    assert reason in caplog.text
    assert reason in page_of(finished).text


def test_values_of_metrics_that_are_not_finite_are_damage(finished):
    text = (finished / "metrics.csv").read_text()
    (finished / "metrics.csv").write_text(text.replace("0.25", "nan", 1))
    report.report(finished)
    assert "not finite" in page_of(finished).text
    assert data_of(finished)["history"] == []


def test_outputs_of_another_test_are_told(finished):
    saved_outputs.write(finished, tested_run.outputs(0.4, 2))
    report.report(finished)
    assert "it is of another test" in page_of(finished).text


def test_a_run_without_outputs_says_how_to_make_them(finished):
    (finished / "test_outputs.npz").unlink()
    report.report(finished)
    assert f"--mode=evaluate --workdir={finished}" in page_of(finished).text
    assert data_of(finished)["tiles"] is None


def test_of_many_tiles_a_sample_is_shown(finished, monkeypatch):
    monkeypatch.setattr(run_report, "MAX_PIXELS", 5 * 8 * 8)
    report.report(finished)
    assert (
        "Of 40 test tiles this file holds an even sample of 5" in page_of(finished).text
    )
    assert data_of(finished)["tiles"]["ids"] == ["t00", "t10", "t20", "t29", "t39"]


@pytest.mark.slow
def test_the_images_of_synthetic_tiles_are_made_again(tmp_path):
    tiles = synthetic.make_tiles(12, 5)
    rows, labels = np.array([3, 4, 9]), tiles.labels[..., 0]
    ids = [tiles.ids[i] for i in rows]
    prob = np.full((3, 101, 101), 30000, np.uint16)
    overrides = {"data.synthetic_count": 12, "data.seed": 5}
    saved = SavedOutputs(ids, prob, labels[rows], rows)
    tested_run.write(tmp_path / "run", saved, overrides)
    run = run_contents.read(tmp_path / "run")
    images = tile_images.find(ids, labels[rows], run.config)
    assert np.array_equal(images, tiles.images[rows])


@pytest.mark.parametrize("change", ["mask", "image"])
def test_images_of_other_tiles_are_not_shown(tile_folder, tmp_path, change):
    saved = SavedOutputs(
        ["t01", "t05"],
        np.full((2, 12, 10), 9, np.uint16),
        np.zeros((2, 12, 10), np.uint8),
        np.arange(2),
    )
    saved.labels[:, :1] = 1
    run = tmp_path / "run"
    tested_run.write(run, saved, {"data.dir": str(tile_folder)})
    report.report(run)
    assert "Without the images" not in page_of(run).text
    if change == "mask":
        shutil.copy(tile_folder / "masks/t02.png", tile_folder / "masks/t05.png")
    else:
        (tile_folder / "images/t05.png").unlink()
    report.report(run)
    assert "Without the images of the tiles" in page_of(run).text
    assert str(tile_folder) in page_of(run).text


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run in it"):
        report.report(tmp_path)
    with pytest.raises(InputError, match="no run in it"):
        report.report(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_of_a_run_that_has_written_nothing_yet_it_says_so(tmp_path):
    with (
        locks.lock(tmp_path / "run", "--workdir"),
        pytest.raises(InputError, match="still starting"),
    ):
        report.report(tmp_path / "run")


def test_a_report_that_fails_ends_no_run(finished, monkeypatch, caplog):
    caplog.set_level("INFO", "saltjax")

    def fail(*_, **__):
        raise MemoryError("no memory")

    monkeypatch.setattr(run_report.html, "render", fail)
    run_report.refresh(finished, synthetic.make_tiles(1, 0), running=True)
    assert "not written (MemoryError: no memory)" in caplog.text
    assert not (finished / "report.html").exists()


def test_a_running_report_is_written_without_the_tiles_of_an_earlier_result(finished):
    run_report.refresh(finished, synthetic.make_tiles(1, 0), running=True)
    assert data_of(finished)["tiles"] is None
    assert (finished / "report.html").stat().st_size < 100_000


def test_names_are_escaped_everywhere(tmp_path):
    name = "<script>alert(1)<∕script>&\"'"
    run = begin(tmp_path / name, 2, {"data.dir": name, "data.groups": "</script><b>"})
    (run / "env.json").write_text(
        json.dumps([{"command": [name], "platform": name, "versions": {name: name}}])
    )
    report.report(run)
    page = page_of(run)
    assert page.text.count(name) >= 5
    assert page.tags.count("script") == 5
    assert "b" not in page.tags


def test_text_that_is_not_unicode_is_shown_with_question_marks(tmp_path):
    run = begin(tmp_path / "run", 1, {"data.dir": "/tiles\udcff"})
    start = {"command": ["launch.py", "--config.data.dir=/tiles\udcff"]}
    (run / "env.json").write_text(json.dumps([start]))
    report.report(run)
    assert "--config.data.dir=/tiles?" in page_of(run).text


@pytest.mark.parametrize("link", [False, True])
def test_a_file_of_somebody_else_is_not_replaced(finished, caplog, link):
    caplog.set_level("INFO", "saltjax")
    page = finished / "report.html"
    report.report(finished)
    report.report(finished)  # its own is replaced
    page.unlink()
    mine = finished.parent / "mine.html" if link else page
    mine.write_bytes(b"<title>mine</title>\xff")
    if link:
        page.symlink_to(mine)
    with pytest.raises(InputError, match=r"report\.html: not written by saltjax"):
        report.report(finished)
    assert mine.read_bytes() == page.read_bytes() == b"<title>mine</title>\xff"
    run_report.refresh(finished, synthetic.make_tiles(1, 0), running=True)
    assert "not written by saltjax" in caplog.text


def test_an_interrupted_run_that_began_with_overwrite_is_resumed_without(tmp_path):
    run = begin(tmp_path / "run", 2)
    (run / "env.json").write_text(json.dumps([{"command": ["saltjax", "--overwrite"]}]))
    report.report(run)
    assert "The command that trained the run, without --overwrite, resumes it" in (
        page_of(run).text
    )


def test_the_fcn_is_described(tmp_path):
    written_run.write(tmp_path / "run", {"model.name": "fcn"})
    report.report(tmp_path / "run")
    text = page_of(tmp_path / "run").text
    assert "Convolutions at constant resolution with 2-4 channels" in text
    assert "Left out" not in text
