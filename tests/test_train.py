import dataclasses
import json
import shutil

import jax
import numpy as np
import optax
import pytest
import sklearn.metrics
import volume_files
from jax.sharding import Mesh
from tiny import make_setup, section_model, tiny_config

from configs import quickstart
from saltjax import train
from saltjax.data import feed as feeds
from saltjax.data import synthetic
from saltjax.data.tiles import Tiles
from saltjax.epoch import run_epoch, validate
from saltjax.inference import evaluation
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.runs import checkpoint
from saltjax.system import devices
from saltjax.system.errors import InputError
from saltjax.training import optimizer, schedules, steps
from saltjax.training import progress as progresses
from saltjax.training.steps import Recipe


def first_state(setup):
    """The state before the first step, on the devices."""
    state = steps.create_state(setup.recipe, setup.config.seed)
    return devices.replicate(state, setup.feed.mesh)


def run_epochs(config, count):
    setup = make_setup(config)
    state, progress = first_state(setup), progresses.begin(config.optim.learning_rate)
    for _ in range(count):
        state, progress = run_epoch(state, progress, setup)
    return setup, state, progress


def test_recipe_is_that_of_the_config():
    network = Network(UNet(features=(4, 8)), 16, "nearest")
    plain = train.create_recipe(tiny_config(), network, 7)
    rate = quickstart.get_config().optim
    tx = optimizer.adam(rate.weight_decay, rate.decoupled)
    assert plain == Recipe(network, tx, np.int32(0))
    config = tiny_config(
        **{
            "seed": 3,
            "data.augment": "flip",
            "loss.lovasz": 0.5,
            "train.ema": 0.75,
            "train.epochs": 5,
            "optim.learning_rate": 0.25,
            "optim.schedule": "cosine",
            "optim.warmup_epochs": 2,
            "optim.weight_decay": 0.125,
            "optim.decoupled": False,
        }
    )
    assert train.create_recipe(config, network, 7) == Recipe(
        network,
        optimizer.adam(0.125, False),
        np.int32(3),
        augment="flip",
        lovasz=0.5,
        ema=0.75,
        schedule=schedules.cosine(0.25, 2 * 7, 5 * 7),
    )


def test_only_data_with_unlabelled_pixels_have_another_recipe(monkeypatch):
    assert not make_setup(tiny_config()).recipe.unlabelled
    monkeypatch.setattr(Tiles, "has_unlabelled", True)
    assert make_setup(tiny_config()).recipe.unlabelled


def test_a_volume_is_validated_on_whole_lines(tmp_path):
    made = volume_files.config(*volume_files.write_npy(tmp_path), context=2)
    changes = {f"data.{key}": value for key, value in made.data.items()}
    setup = make_setup(tiny_config(**changes))
    state, val = first_state(setup), setup.data.split["val"]
    model = section_model(setup, jax.device_get(state.variables))
    found = evaluation.predict_tiles(setup.data.scored, val, model)
    assert found.prob_native.shape == (len(val), 24, 20)
    assert setup.recipe.network.channels == setup.data.tiles.images.shape[3] == 5
    expected = {"loss": found.loss, "accuracy": found.accuracy}
    assert validate(state, setup) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "counts", "options"),
    [
        ("none", (2, 4), {}),
        ("batch", (3,), {"lovasz": 1.0, "augment": "affine", "ema": 0.9}),
    ],
)
def test_a_step_does_not_depend_on_the_number_of_devices(norm, counts, options):
    network = Network(UNet(features=(4, 8), norm=norm), 16, "nearest")
    # With SGD at rate 1 the change of the parameters is the gradient.
    recipe = Recipe(network, optax.sgd(1.0), np.int32(0), **options)
    tiles = synthetic.make_tiles(5, seed=0)
    outcomes = []
    for n in (1, *counts):
        mesh = Mesh(np.array(jax.devices()[:n]), ("data",))
        # Five tiles: on more than one device some hold only padding.
        feed = feeds.create(tiles, mesh, batch_size=5, resident=False)
        ((batch, valid),) = feeds.calls(feed, np.arange(5))
        state = devices.replicate(steps.create_state(recipe, seed=0), mesh)
        state, means = steps.train_call(feed, state, batch, valid, recipe)
        outcomes.append((jax.device_get(state), feeds.valid_means(means, valid)))
    assert outcomes[0][1]["loss"].shape == (5,)
    for outcome in outcomes[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
            outcome,
            outcomes[0],
        )


def reopen(finished, workdir):
    """Returns a copy of a run as it was before its test, and its (state, progress)."""
    shutil.copytree(finished, workdir)
    (workdir / "result.json").unlink()
    state = steps.create_state(make_setup(tiny_config()).recipe, seed=0)
    return workdir, *progresses.restore(workdir, state, 1e-3, epochs=9)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_before_it_is_saved(finished_run, tmp_path):
    # A finished run, set back to its second epoch, with infinite weights.
    workdir, state, progress = reopen(finished_run, tmp_path / "run")
    bad = state.replace(
        params=jax.tree.map(lambda x: np.full_like(x, np.inf), state.params)
    )
    two = dataclasses.replace(progress, history=progress.history[:2], best_epoch=1)
    with pytest.raises(InputError, match="epoch 3, step 0: weights are not finite"):
        progresses.save(workdir, bad, two)
    # A checkpoint that holds such weights nevertheless.
    arrays = vars(jax.device_get(bad))
    arrays = arrays | {"opt_state": arrays["opt_state"].inner_state}
    del arrays["averages"]  # of which there are none
    checkpoint.save(workdir / "checkpoints/last", arrays, dataclasses.asdict(two))
    before = sorted(
        (p, p.stat().st_mtime_ns) for p in (workdir / "checkpoints").rglob("*")
    )
    with pytest.raises(InputError, match="epoch 3, step 1: the training loss is nan"):
        train.train(tiny_config(), workdir, overwrite=False)
    after = sorted(
        (p, p.stat().st_mtime_ns) for p in (workdir / "checkpoints").rglob("*")
    )
    assert after == before


@pytest.mark.slow
def test_the_best_checkpoint_is_tested_not_the_last(finished_run, tmp_path):
    workdir, state, progress = reopen(finished_run, tmp_path / "run")
    zero = state.replace(params=jax.tree.map(np.zeros_like, state.params))
    # The last checkpoint holds zeros; best_epoch=1 keeps `save` from replacing the best one.
    progresses.save(workdir, zero, dataclasses.replace(progress, best_epoch=1))
    train.train(tiny_config(), workdir, overwrite=False)
    expected, found = (
        json.loads((path / "result.json").read_text())["test"]
        for path in (finished_run, workdir)
    )
    assert found == expected


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (9, 5), (0, 5)])
def test_early_stopping_ends_the_run(patience, epochs):
    config = tiny_config(**{"train.epochs": 5, "early_stopping.patience": patience})
    progress = progresses.begin(1e-3)
    for epoch, loss in enumerate([0.5, 0.4, 0.6, 0.5, 0.45], 1):
        assert not train.finished(progress, config)
        progress = progresses.after_epoch(
            progress, {"epoch": epoch, "val_loss": loss}, 0.1, 5, "val_loss"
        )
        if epoch == epochs:
            break
    assert train.finished(progress, config)
    assert progress.stopped_early(patience) == (patience in (1, 2))


@pytest.mark.slow
def test_an_epoch_takes_the_learning_rate_of_the_plateau():
    setup, state, progress = run_epochs(tiny_config(), 1)
    before = jax.device_get(state.params)
    progress = dataclasses.replace(progress, plateau=schedules.Plateau(0.0))
    state, progress = run_epoch(state, progress, setup)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), before)
    assert progress.history[1]["learning_rate"] == 0
    progress = dataclasses.replace(progress, plateau=schedules.Plateau(1e-3))
    state, _ = run_epoch(state, progress, setup)
    assert not np.array_equal(state.params["head"]["kernel"], before["head"]["kernel"])


def test_best_epoch_and_schedules_after_each_epoch():
    progress = progresses.begin(1e-3)
    seen = []
    for epoch, loss in enumerate([0.5, 0.4, 0.4, 0.6, 0.39995, 0.3], 1):
        progress = progresses.after_epoch(
            progress, {"epoch": epoch, "val_loss": loss}, 0.1, 1, "val_loss"
        )
        seen.append(
            (
                progress.best_epoch,
                progress.early_stopping.bad_epochs,
                progress.plateau.learning_rate,
            )
        )
    # By hand. Equal to the best is no new best and resets early stopping; 0.39995 is a new best
    # for the checkpoint, yet no improvement for the plateau, whose patience of 1 ends at epoch 4.
    expected = [
        (1, 0, 1e-3),
        (2, 0, 1e-3),
        (2, 0, 1e-3),
        (2, 1, 1e-4),
        (5, 0, 1e-4),
        (6, 0, 1e-4),
    ]
    assert seen == [(e, b, pytest.approx(r)) for e, b, r in expected]


@pytest.mark.slow
def test_an_epoch_validates_the_averaged_weights():
    setup, state, progress = run_epochs(tiny_config(**{"train.ema": 0.9}), 1)
    losses = [
        evaluation.predict_tiles(
            setup.data.tiles,
            setup.data.split["val"],
            section_model(setup, jax.device_get(variables)),
        ).loss
        for variables in (state.averages, state.trained)
    ]
    (row,) = progress.history
    assert row["val_loss"] == pytest.approx(losses[0], rel=1e-5)
    assert row["val_loss"] != pytest.approx(losses[1], rel=1e-3)


@pytest.mark.slow
def test_a_small_unet_finds_the_salt_of_synthetic_sections():
    config = quickstart.get_config()
    config.data.synthetic_count = 300
    config.data.image_size = 48
    config.model.features = (8, 16, 32)
    config.train.batch_size = 8
    config.train.cpu_devices = 4
    setup, state, _ = run_epochs(config, 5)
    model = section_model(setup, jax.device_get(state.variables))
    test = evaluation.predict_tiles(setup.data.tiles, setup.data.split["test"], model)
    # Brightness or local variance stay under 0.8: see test_synthetic.py.
    assert sklearn.metrics.roc_auc_score(test.label.ravel(), test.prob.ravel()) > 0.83


@pytest.mark.slow
def test_an_epoch_with_resident_tiles_gives_the_same(monkeypatch):
    """As on a GPU, three steps to a call."""
    rows = []
    for resident in (False, True):
        monkeypatch.setattr(devices, "is_cpu", lambda mesh, r=resident: not r)
        monkeypatch.setattr(feeds, "MAX_STEPS_PER_CALL", 3)
        setup = make_setup(tiny_config())
        assert (setup.feed.resident is not None) == resident
        state, progress = first_state(setup), progresses.begin(1e-3)
        state, progress = run_epoch(state, progress, setup)
        rows.append([x for key, x in progress.history[0].items() if key != "seconds"])
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-4)


@pytest.mark.slow
def test_mixed_precision_learns_about_the_same():
    losses = {}
    for dtype in ("float32", "bfloat16"):
        _, state, progress = run_epochs(tiny_config(**{"train.dtype": dtype}), 1)
        losses[dtype] = progress.history[0]["train_loss"]
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((state.params, state.opt_state))}
    assert dtypes <= {np.dtype("float32"), np.dtype("int32")}


def test_a_result_is_kept_until_the_run_can_be_tested_again(tmp_path):
    # A finished run of tiles that are no longer there.
    gone = {"data.dir": str(tmp_path / "gone")}
    files = {"config.json": tiny_config(**gone).to_json(), "result.json": "{}"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    other = tiny_config(**gone, **{"eval.min_area": 9})
    with pytest.raises(InputError, match=r"cannot list .*gone/images"):
        train.train(other, tmp_path, overwrite=False)
    assert {name: (tmp_path / name).read_text() for name in files} == files


def test_a_result_is_kept_where_checkpoints_are_missing_or_damaged(
    finished_run, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(finished_run, workdir)
    files = {n: (workdir / n).read_text() for n in ("result.json", "config.json")}
    other = tiny_config(**{"eval.min_area": 9})
    for path in (workdir / "checkpoints").glob("best*"):
        (path / "sha256.json").write_text("{}")
    with pytest.raises(InputError, match="no intact checkpoint is left"):
        train.train(other, workdir, overwrite=False)
    assert {name: (workdir / name).read_text() for name in files} == files
    shutil.rmtree(workdir / "checkpoints")
    with pytest.raises(InputError, match="has a result but no checkpoints"):
        train.train(other, workdir, overwrite=False)
    assert {name: (workdir / name).read_text() for name in files} == files
