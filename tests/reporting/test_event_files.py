"""Event files for TensorBoard, read back with TensorBoard's own reader."""

import csv
import io
import logging
import os
import pathlib
import resource
import signal
import sys

import forked
import numpy as np
import pytest
from PIL import Image
from program import TINY, assert_refused
from run_outcome import epochs_of

from saltjax.reporting import event_files
from saltjax.reporting.event_files import EventFile

pytest.importorskip("tensorboardX")
accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator"
)
loaders = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")

TAGS = {
    "loss/train": "train_loss",
    "accuracy/train": "train_accuracy",
    "loss/val": "val_loss",
    "accuracy/val": "val_accuracy",
    "epoch/learning_rate": "learning_rate",
    "epoch/seconds": "seconds",
}


def row(epoch):
    return {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 2 / epoch}


def picture(value):
    """Returns a function that returns an image of one value by its tag."""
    return lambda: {"tiles/1_a b": np.full((2, 3, 3), value, np.uint8)}


def open_board(workdir):
    """Returns TensorBoard's view of a run, all of it; to `Reload` when files have changed."""
    everything = dict.fromkeys((accumulators.SCALARS, accumulators.IMAGES), 0)
    board = accumulators.EventAccumulator(
        str(workdir / "tensorboard"), size_guidance=everything
    )
    return board.Reload()


def steps(board, tag):
    kind = board.Images if tag in board.Tags()["images"] else board.Scalars
    return [event.step for event in kind(tag)]


def assert_as_in_metrics(workdir, board):
    """Checks that each epoch's values of metrics.csv are there once, and images where they belong."""
    with (workdir / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for tag, column in TAGS.items():
        events = board.Scalars(tag)
        assert [event.step for event in events] == [int(r["epoch"]) for r in rows]
        values = [np.float32(r[column]) for r in rows]
        assert [np.float32(event.value) for event in events] == values
    assert set(board.Tags()["scalars"]) == TAGS.keys()
    tags = board.Tags()["images"]
    assert [tag.partition("_")[0] for tag in tags] == [f"tiles/{n}" for n in "1234"]
    for tag in tags:
        assert steps(board, tag) == [e for e in (1, 5) if e <= len(rows)]


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_without_lost_or_repeated_steps(plain, tmp_path):
    config = ("--config=quickstart", *TINY, "--config.train.epochs=5")
    run = tmp_path / "run"
    words = (*config, "--config.train.tensorboard=True", f"--workdir={run}")
    log = tmp_path / "log"
    for prepare in (kill_in_save_1, kill_in_save_5):
        child = forked.start(*words, stdout=log, prepare=prepare)
        assert forked.finish(child) == -signal.SIGKILL
    board = open_board(run)
    # The fifth epoch was written, and will be repeated.
    assert steps(board, "loss/val") == [1, 2, 3, 4, 5]
    assert len((run / "metrics.csv").read_text().splitlines()) == 1 + 4
    assert forked.finish(forked.start(*words, stdout=log)) == 0, log.read_text()
    assert_as_in_metrics(run, board.Reload())
    assert_as_in_metrics(run, open_board(run))
    # It changes no weights: the losses of the two epochs of a run without it are the same.
    assert not (plain / "tensorboard").exists()
    first, second = (epochs_of(folder) for folder in (plain, run))
    assert first == second[:2]


def kill_in_save_1():
    kill_in_save(1)


def kill_in_save_5():
    kill_in_save(5)


def kill_in_save(epochs):
    """Makes this process kill itself when it is to save the progress after so many epochs."""
    from saltjax.training import progress as progresses

    save = progresses.save

    def save_or_die(workdir, state, progress):
        if progress.epochs == epochs:
            os.kill(os.getpid(), signal.SIGKILL)
        save(workdir, state, progress)

    progresses.save = save_or_die


@pytest.mark.slow
def test_a_run_gets_its_earlier_epochs_when_the_setting_is_turned_on(run):
    words = ("--config=quickstart", *TINY, f"--workdir={run}")
    more = ("--config.train.epochs=3", "--config.train.tensorboard=True")
    done = forked.launch(*words, *more)
    assert done.returncode == 0, done.stderr
    assert steps(open_board(run), "loss/val") == [1, 2, 3]
    # A new run has none of it.
    done = forked.launch(*words, "--config.train.epochs=1", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert not (run / "tensorboard").exists()


@pytest.mark.slow
def test_a_failure_to_write_does_not_end_a_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "tensorboard").write_text("not a directory")
    words = ("--config=quickstart", *TINY, "--config.train.tensorboard=True")
    done = forked.launch(*words, f"--workdir={run}")
    assert done.returncode == 0, done.stderr
    told = "Events     not written for TensorBoard (FileExistsError"
    assert done.stdout.count(told) == 3  # at the start and after each epoch
    assert (run / "result.json").exists()


def test_without_the_package_training_does_not_begin(tmp_path):
    words = ("--config=quickstart", *TINY, f"--workdir={tmp_path / 'run'}")
    logs = [tmp_path / name for name in ("out", "err")]
    child = forked.start(
        *words,
        "--config.train.tensorboard=True",
        stdout=logs[0],
        stderr=logs[1],
        prepare=remove_tensorboardx,
    )
    assert forked.finish(child) == 2
    message = logs[1].read_text()
    assert "config.train.tensorboard=True needs tensorboardX" in message
    assert "pip install tensorboardX" in message
    assert "Device" not in logs[0].read_text()
    assert not (tmp_path / "run/config.json").exists()


def remove_tensorboardx():
    sys.modules["tensorboardX"] = None


def test_another_value_than_true_or_false_is_refused():
    done = forked.launch("--config=unet", "--config.train.tensorboard=runs")
    assert_refused(done, "--config.train.tensorboard=runs: expected True or False")


def test_a_disk_that_is_full_for_a_while_costs_no_value(tmp_path, caplog):
    events, history = EventFile(tmp_path, enabled=True), [row(1)]
    events.write(history, picture(10))
    caplog.set_level(logging.INFO, "saltjax")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    (path,) = (tmp_path / "tensorboard").iterdir()
    limit = path.stat().st_size + 20
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        for epoch in (2, 3, 4):
            history.append(row(epoch))
            events.write(history, picture(0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "not written for TensorBoard (OSError" in caplog.text
    history.append(row(5))
    events.write(history, picture(50))
    events.close()
    board = open_board(tmp_path)
    assert steps(board, "loss/train") == [1, 2, 3, 4, 5]
    assert steps(board, "tiles/1_a_b") == [1, 5]
    values = [event.value for event in board.Scalars("loss/train")]
    assert values == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])


def test_each_start_writes_from_the_first_epoch_that_is_another(tmp_path):
    for losses in ([0.5, 0.25, 0.125], [0.5, 0.375], [0.5, 0.375], [0.5]):
        events = EventFile(tmp_path, enabled=True)
        history = [{"epoch": n, "val_loss": x} for n, x in enumerate(losses, 1)]
        events.write(history)
        events.close()
        found = [(e.step, e.value) for e in open_board(tmp_path).Scalars("loss/val")]
        assert found == list(enumerate(losses, 1))
    paths = sorted((tmp_path / "tensorboard").iterdir())
    written = [
        [event.step for event in loaders.LegacyEventFileLoader(str(path)).Load()][2:]
        for path in paths
    ]
    assert written == [[1, 2, 3], [2], [], []]


def test_a_file_that_was_cut_off_gives_what_is_before(tmp_path):
    events = EventFile(tmp_path, enabled=True)
    events.write([row(1)], picture(10))
    events.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = event_files.read([path], 1)
        assert len(found) <= 2
        assert found.keys() <= {(1, tag) for tag in ("loss/train", "loss/val")}
    path.write_bytes(whole)
    assert len(event_files.read([path], 1)) == 3
    # A length that is none, and bytes that are no event.
    path.write_bytes(whole[:-1] + b"\xff" * 40)
    assert len(event_files.read([path], 1)) == 3
    assert event_files.read([path], 0) == {}


def test_images_are_there_as_they_were_given(tmp_path):
    events = EventFile(tmp_path, enabled=True)
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    events.write([row(1)], lambda: {"tiles/1_<script> ü": image})
    events.close()
    board = open_board(tmp_path)
    (tag,) = board.Tags()["images"]
    assert tag.startswith("tiles/1_")
    (event,) = board.Images(tag)
    shown = Image.open(io.BytesIO(event.encoded_image_string))
    np.testing.assert_array_equal(np.asarray(shown), image)


def test_only_some_epochs_ask_for_images(tmp_path):
    asked = []
    events, history = EventFile(tmp_path, enabled=True), []
    for epoch in range(1, 12):
        history.append(row(epoch))
        events.write(history, lambda: asked.append(epoch) or {})  # noqa: B023
    events.close()
    assert asked == [1, 5, 10]


def test_nothing_is_written_where_it_is_off(tmp_path):
    events = EventFile(tmp_path, enabled=False)
    events.write([row(1)], picture(1))
    events.close()
    assert list(pathlib.Path(tmp_path).iterdir()) == []


def test_examples_go_from_the_least_salt_to_the_most():
    labels = np.zeros((7, 2, 5, 1), np.uint8)
    for i, count in enumerate((3, 0, 10, 0, 7, 1, 5)):
        labels[i].reshape(-1)[:count] = 1
    # By coverage 1 3 5 0 6 4 2; of these the first, third, fifth and last.
    assert event_files.choose(labels).tolist() == [1, 5, 6, 2]
    assert event_files.choose(labels[:2]).tolist() == [1, 0]


def test_panels_are_side_by_side():
    image = np.full((2, 3, 3), (1, 2, 3), np.uint8)
    label = np.array([[0, 1, 0], [1, 1, 0]], np.uint8)
    prob = np.array([[0, 1, 0.5], [0.25, 0.2, 1]], np.float32)
    panel = event_files.side_by_side(image, label, prob)
    assert panel.dtype == np.uint8
    assert panel.shape == (2, 3 * 3 + 8, 3)
    assert (panel[:, :3] == (1, 2, 3)).all()
    assert (panel[:, [3, 6, 10, 13]] == 255).all()
    grey = panel[:, :, 1]
    assert grey[:, 7:10].tolist() == [[0, 255, 0], [255, 255, 0]]
    assert grey[:, 14:].tolist() == [[0, 255, 128], [64, 51, 255]]


def test_unlabelled_pixels_are_grey():
    label = np.array([[0, 255, 1]], np.uint8)
    panel = event_files.side_by_side(
        np.zeros((1, 3, 3), np.uint8), label, np.zeros((1, 3), np.float32)
    )
    assert panel[0, 7:10].tolist() == [[0] * 3, [128] * 3, [255] * 3]
