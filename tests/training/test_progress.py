import csv
import dataclasses
import math
import shutil

import numpy as np
import pytest
from training_states import after, assert_same, make_state, row

from saltjax.runs import checkpoint
from saltjax.system.errors import InputError
from saltjax.training import progress, schedules
from saltjax.training.progress import Progress


def test_new_run_begins_with_its_own_state(tmp_path, caplog):
    caplog.set_level("INFO", "saltjax")
    state, found = progress.restore(
        tmp_path, make_state(), learning_rate=0.25, epochs=9
    )
    assert_same(state, make_state())
    assert found == Progress(schedules.Plateau(0.25), schedules.EarlyStopping())
    assert (found.epochs, found.best_epoch) == (0, 0)
    assert not caplog.records
    assert list(tmp_path.iterdir()) == []
    progress.save(tmp_path, state, found)
    state, again = progress.restore(
        tmp_path, make_state(3), learning_rate=9.0, epochs=9
    )
    assert again == found
    assert_same(state.variables, make_state().variables)
    assert not caplog.records


def test_state_and_progress_are_restored(tmp_path, caplog):
    caplog.set_level("INFO", "saltjax")
    saved = dataclasses.replace(
        after(0.5, 0.4),
        step=3,
        totals={"loss": 2.5, "accuracy": 3.0, "tiles": 4.0},
        seconds=0.5,
    )
    progress.save(tmp_path, make_state(1), after(0.5, 0.4))
    progress.save(tmp_path, make_state(7), saved)
    with open(tmp_path / "metrics.csv", newline="") as file:
        assert [r["val_loss"] for r in csv.DictReader(file)] == ["0.5", "0.4"]
    (tmp_path / "metrics.csv").unlink()
    state, found = progress.restore(tmp_path, make_state(), learning_rate=9.0, epochs=9)
    assert found == saved
    # Whether this start is refused is not known yet.
    assert not (tmp_path / "metrics.csv").exists()
    assert_same(state.variables, make_state(7).variables)
    assert_same(state.opt_state.inner_state, make_state(7).opt_state.inner_state)
    assert int(state.step) == int(state.opt_state.count) == 7
    assert "Resuming after step 3 of epoch 3" in caplog.text


def test_best_is_saved_after_the_best_epoch_only(tmp_path):
    progress.save(tmp_path, make_state(), progress.begin(1e-3))
    assert not (tmp_path / "checkpoints/best").exists()
    progress.save(tmp_path, make_state(1), after(0.5))
    progress.save(tmp_path, make_state(2), after(0.5, 0.6))
    within = dataclasses.replace(after(0.5, 0.6, 0.4), step=1)
    progress.save(tmp_path, make_state(3), within)
    variables, best = checkpoint.restore_best(tmp_path, make_state().variables)
    assert best == {"epoch": 1, "val_loss": 0.5}
    assert_same(variables, make_state(1).variables)


def test_averages_are_restored_and_are_the_best_weights(tmp_path):
    saved = make_state(5, averages=True)
    progress.save(tmp_path, saved, after(0.5))
    state, _ = progress.restore(
        tmp_path, make_state(averages=True), learning_rate=9.0, epochs=9
    )
    for name in ("params", "averages", "batch_stats", "step"):
        assert_same(getattr(state, name), getattr(saved, name))
    best, _ = checkpoint.restore_best(tmp_path, make_state().variables)
    assert_same(best, saved.averages)
    assert not np.array_equal(
        best["params"]["head"]["bias"], saved.params["head"]["bias"]
    )


@pytest.mark.parametrize(("step", "least"), [(0, 2), (3, 3)])
def test_a_run_ends_after_no_fewer_epochs_than_have_begun(tmp_path, step, least):
    found = dataclasses.replace(after(0.5, 0.4), step=step)
    progress.save(tmp_path, make_state(1), after(0.5, 0.4))
    progress.save(tmp_path, make_state(1), found)
    for epochs in (least, least + 1, 1000):
        assert progress.restore(tmp_path, make_state(), 1e-3, epochs)[1] == found
    with pytest.raises(InputError, match=f"epoch {least} of the run has begun"):
        progress.restore(tmp_path, make_state(), 1e-3, least - 1)


def test_an_epoch_of_which_only_the_best_was_saved_has_begun(tmp_path, monkeypatch):
    """Otherwise a run that ends before it is tested with the weights of after its end."""
    progress.save(tmp_path, make_state(1), after(0.5))
    save = checkpoint.save

    def save_best_only(path, *args):
        if path.name == "last":
            raise InputError("the disk is full")
        save(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save_best_only)
        with pytest.raises(InputError, match="the disk is full"):
            progress.save(tmp_path, make_state(2), after(0.5, 0.4))
    with pytest.raises(InputError, match="epoch 2 of the run has begun"):
        progress.restore(tmp_path, make_state(), 1e-3, epochs=1)
    _, found = progress.restore(tmp_path, make_state(), 1e-3, epochs=2)
    assert found == after(0.5)


def test_previous_best_replaces_a_damaged_one(tmp_path, caplog):
    caplog.set_level("INFO", "saltjax")
    progress.save(tmp_path, make_state(1), after(0.5))
    progress.save(tmp_path, make_state(2), after(0.5, 0.4))
    progress.save(tmp_path, make_state(3), after(0.5, 0.4, 0.6))
    (tmp_path / "checkpoints/best/sha256.json").write_text("{}")
    _, found = progress.restore(tmp_path, make_state(), learning_rate=1e-3, epochs=9)
    assert found.best_epoch == 1
    assert found.history == after(0.5, 0.4, 0.6).history
    assert "the best epoch was 2; of the remaining checkpoints it is 1" in caplog.text


@pytest.mark.parametrize("averages", [False, True])
def test_a_damaged_best_one_that_is_the_last_is_saved_again(tmp_path, caplog, averages):
    caplog.set_level("INFO", "saltjax")
    progress.save(tmp_path, make_state(1, averages), after(0.5))
    progress.save(tmp_path, make_state(2, averages), after(0.5, 0.4))
    (tmp_path / "checkpoints/best/sha256.json").write_text("{}")
    initial = make_state(averages=averages)
    _, found = progress.restore(tmp_path, initial, learning_rate=1e-3, epochs=2)
    assert found == after(0.5, 0.4)
    variables, best = checkpoint.restore_best(tmp_path, initial.variables)
    assert best == {"epoch": 2, "val_loss": 0.4}
    assert_same(variables, make_state(2, averages).variables)
    assert "epoch 2, the best one, is also the last: saved again" in caplog.text


def test_epochs_after_a_damaged_best_are_compared_with_the_one_that_replaced_it(
    tmp_path,
):
    maps = {1: 0.3, 2: 0.6, 3: 0.5, 4: 0.7}
    epochs = [row(epoch, 0.5) | {"val_kaggle_map": x} for epoch, x in maps.items()]
    found = progress.begin(1e-3)
    for i, each in enumerate(epochs[:2], 1):
        found = progress.after_epoch(found, each, 0.1, 5, "kaggle_map")
        progress.save(tmp_path, make_state(i), found)
    assert found.best_epoch == 2
    progress.save(tmp_path, make_state(3), dataclasses.replace(found, step=1))
    (tmp_path / "checkpoints/best/sha256.json").write_text("{}")
    _, found = progress.restore(tmp_path, make_state(), learning_rate=1e-3, epochs=9)
    assert found.best_epoch == 1
    found = progress.after_epoch(found, epochs[2], 0.1, 5, "kaggle_map")
    assert found.best_epoch == 3  # 0.5 is more than 0.3


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("val_loss", [1, 2, 2, 2, 5]),
        ("kaggle_map", [1, 1, 3, 3, 3]),
        ("last", [1, 2, 3, 4, 5]),
    ],
)
def test_best_epoch_is_the_one_that_is_selected(select, expected):
    found, best = progress.begin(1e-3), []
    # Of equal ones the first.
    for epoch, (loss, score) in enumerate(
        [(0.5, 0.3), (0.4, 0.3), (0.6, 0.6), (0.4, 0.6), (0.3, 0.1)], 1
    ):
        each = row(epoch, loss) | {"val_kaggle_map": score}
        found = progress.after_epoch(found, each, 0.1, 5, select)
        best.append(found.best_epoch)
    assert best == expected


def test_missing_best_is_refused(tmp_path):
    progress.save(tmp_path, make_state(1), after(0.5))
    shutil.rmtree(tmp_path / "checkpoints/best")
    with pytest.raises(InputError, match="best is missing; start again"):
        progress.restore(tmp_path, make_state(), learning_rate=1e-3, epochs=9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value):
    progress.save(tmp_path, make_state(1), after(0.5))
    state = make_state(2)
    state.params["head"]["bias"] = np.array([value], np.float32)
    within = dataclasses.replace(after(0.5), step=3)
    with pytest.raises(InputError, match="epoch 2, step 3: weights are not finite"):
        progress.save(tmp_path, state, within)
    found, saved = progress.restore(
        tmp_path, make_state(), learning_rate=1e-3, epochs=9
    )
    assert_same(found.params, make_state(1).params)
    assert saved == after(0.5)


def test_patience_counts_epochs_above_the_best():
    found = after(0.5, 0.6, 0.7)
    patiences = {1: True, 2: True, 3: False, 0: False}  # 0 never stops
    assert {p: found.stopped_early(p) for p in patiences} == patiences
    assert not progress.begin(1e-3).stopped_early(0)


def test_means_are_added_to_the_totals_of_the_epoch():
    totals = {"loss": 1.0, "accuracy": 2.0, "tiles": 3.0}
    valid = np.array([[True, True], [True, False]])
    means = {"loss": np.array([0.5, 0.25, 4.0]), "accuracy": np.array([1.0, 0.5, 0.0])}
    progress.add_means(totals, means, valid, epoch=1, step=2)
    assert totals == {"loss": 5.75, "accuracy": 3.5, "tiles": 6.0}
    # Another mean, of the first call of an epoch and of a later one.
    for expected in (1.5, 3.0):
        means["lovasz"] = np.array([0.25, 0.25, 1.0])
        progress.add_means(totals, means, valid, epoch=1, step=2)
        assert totals["lovasz"] == expected


@pytest.mark.parametrize(
    ("tile", "step"), [(0, 11), (1, 11), (2, 12), (3, 13), (4, 13), (5, 13)]
)
def test_step_of_a_loss_that_is_not_finite_is_named(tile, step):
    """A call of the steps 11, 12 and 13 with two, one and three valid tiles."""
    valid = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]], bool)
    losses = np.ones(6)
    losses[tile] = np.inf
    totals = {"loss": 1.0, "accuracy": 2.0, "tiles": 3.0}
    means = {"loss": losses, "accuracy": np.ones(6)}
    message = f"epoch 4, step {step}: the training loss is inf; lower config.optim"
    with pytest.raises(InputError, match=message):
        progress.add_means(totals, means, valid, epoch=4, step=13)
    assert totals == {"loss": 1.0, "accuracy": 2.0, "tiles": 3.0}


def test_loss_that_is_not_finite_is_refused():
    progress.check_finite(0.5, "the validation loss")
    with pytest.raises(InputError, match="the validation loss is nan; lower"):
        progress.check_finite(math.nan, "the validation loss")
