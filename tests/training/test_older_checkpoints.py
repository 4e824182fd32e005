"""Checkpoints that earlier versions saved, and those that another version did."""

import json

import jax
import numpy as np
import optax
import pytest
from training_states import RECIPE, after, assert_same, make_state, row

from saltjax.runs import checkpoint
from saltjax.system.errors import InputError
from saltjax.training import progress, schedules, steps
from saltjax.training.progress import Progress

# What versions wrote in whose state the optimizer was optax.adamw at the rate 1; Adam's step was
# multiplied by the learning rate outside.
OLDER_META = {
    "plateau": {"learning_rate": 0.0001, "best": 0.5, "bad_epochs": 1},
    "early_stopping": {"best": 0.5, "bad_epochs": 1},
    "best_loss": 0.5,
    "best_epoch": 1,
    "history": [row(1, 0.5), row(2, 0.75)],
    "step": 4,
    "totals": {"loss": 2.5, "accuracy": 3.0, "tiles": 4.0},
    "seconds": 0.5,
}


def older_arrays(state):
    """Returns what versions without averaged weights saved of a state."""
    return {
        "step": state.step,
        "params": state.params,
        "batch_stats": state.batch_stats,
        "opt_state": state.opt_state.inner_state,
    }


def decays(params):
    return jax.tree.map(lambda x: x.ndim > 1, params)


@pytest.mark.slow
def test_checkpoint_of_an_older_version_resumes(tmp_path):
    older = optax.adamw(1.0, weight_decay=0.1, mask=decays)
    params, grads, other = (make_state(seed).params for seed in (3, 4, 5))
    _, opt_state = older.update(grads, older.init(params), params)
    arrays = {
        "step": np.int32(12),
        "params": params,
        "batch_stats": {},
        "opt_state": opt_state,
    }
    checkpoint.save(tmp_path / "checkpoints/last", jax.device_get(arrays), OLDER_META)
    best = {"params": other, "batch_stats": {}}
    checkpoint.save(tmp_path / "checkpoints/best", best, {"epoch": 1, "val_loss": 0.5})
    state, found = progress.restore(tmp_path, make_state(), learning_rate=9.0, epochs=9)
    assert found == Progress(
        schedules.Plateau(0.0001, 0.5, 1),
        schedules.EarlyStopping(0.5, 1),
        1,
        (row(1, 0.5), row(2, 0.75)),
        4,
        {"loss": 2.5, "accuracy": 3.0, "tiles": 4.0},
        0.5,
    )
    assert int(state.step) == 12
    assert_same(state.params, params)
    assert_same(state.opt_state.inner_state, jax.device_get(opt_state))
    # The next step is that of the older version.
    rate = found.plateau.learning_rate
    state = steps.with_learning_rate(state, rate)
    new, _ = RECIPE.tx.update(other, state.opt_state, state.params)
    old, _ = older.update(other, opt_state, params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, rate * b, rtol=1e-6), new, old
    )


def test_checkpoint_is_saved_as_older_versions_did(tmp_path):
    """Paths, shapes and dtypes of arrays, and the metadata."""
    progress.save(tmp_path, make_state(1), after(0.5))
    document = json.loads((tmp_path / "checkpoints/last/meta/metadata").read_text())
    params = make_state().params
    older = {
        "step": np.int32(1),
        "params": params,
        "batch_stats": {},
        "opt_state": optax.adamw(1.0, weight_decay=0.1, mask=decays).init(params),
    }
    assert document["meta"].keys() == OLDER_META.keys() - {"best_loss"}
    tree, _ = checkpoint.restore(tmp_path / "checkpoints/last", jax.device_get(older))
    assert_same(tree["params"], make_state(1).params)


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta.pop("plateau"),
        lambda meta: meta["early_stopping"].pop("best"),
        lambda meta: meta.update(plateau=3),
        lambda meta: meta.update(best_epoch="1"),
        lambda meta: meta.update(history={}),
        lambda meta: meta.pop("history"),
        lambda meta: meta.update(ema=0.999),
        lambda meta: meta["plateau"].update(cooldown=3),
    ],
    ids=[
        "no plateau",
        "no best",
        "plateau",
        "best epoch",
        "history",
        "no history",
        "newer",
        "newer plateau",
    ],
)
def test_progress_of_another_version_is_refused(tmp_path, change):
    meta = json.loads(json.dumps(OLDER_META))
    change(meta)
    state = make_state()
    checkpoint.save(tmp_path / "checkpoints/last", older_arrays(state), meta)
    best = {"epoch": 1, "val_loss": 0.5}
    checkpoint.save(tmp_path / "checkpoints/best", state.variables, best)
    with pytest.raises(InputError, match="last was saved by another version"):
        progress.restore(tmp_path, make_state(), learning_rate=1e-3, epochs=9)


def test_a_value_added_later_is_that_of_its_default(tmp_path, monkeypatch):
    meta = json.loads(json.dumps(OLDER_META))
    del meta["seconds"], meta["plateau"]["bad_epochs"]
    state = make_state()
    checkpoint.save(tmp_path / "checkpoints/last", older_arrays(state), meta)
    best = {"epoch": 1, "val_loss": 0.5}
    checkpoint.save(tmp_path / "checkpoints/best", state.variables, best)
    with pytest.raises(InputError, match=r"it lacks plateau\.bad_epochs, seconds"):
        progress.restore(tmp_path, make_state(), learning_rate=1e-3, epochs=9)
    added = frozenset({"plateau.bad_epochs", "seconds"})
    monkeypatch.setattr(progress, "ADDED", added)
    _, found = progress.restore(tmp_path, make_state(), learning_rate=1e-3, epochs=9)
    assert (found.seconds, found.plateau.bad_epochs) == (0.0, 0)
    assert found.step == 4
