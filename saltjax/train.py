"""A training run, from the data to the tested best checkpoint."""

import dataclasses
import functools
import math
import pathlib
import time

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from saltjax import check as explore
from saltjax.data import feed as pipeline
from saltjax.data import tiles as data
from saltjax.inference import predictor as trained
from saltjax.networks import unet as models
from saltjax.reporting import tables as report
from saltjax.runs import workdir as run
from saltjax.scoring import scores as scoring
from saltjax.system import console, devices, files, signals
from saltjax.system.errors import InputError, writing
from saltjax.training import optimizer, steps
from saltjax.training import progress as journal


@dataclasses.dataclass(frozen=True)
class Setup:
    """What stays the same throughout a run."""

    workdir: pathlib.Path
    pause: signals.Pause
    config: ConfigDict
    feed: pipeline.Feed
    split: dict[str, np.ndarray]
    network: steps.Network
    tx: optax.GradientTransformation


def train(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> None:
    """Trains, tests and reports; goes on where the same run was cut off.

    Args:
      config: the complete config.
      workdir: the run's folder; made if need be.
      overwrite: start anew, whatever the folder holds.

    Raises:
      InputError: for a mistake in config, data or folder.
    """
    explore.announce(config)
    with run.lock(workdir), signals.Pause(config.checkpoint.every_minutes) as pause:
        if not overwrite:
            run.check_config(workdir, config.to_dict())
        anew = overwrite or run.tests_otherwise(workdir, config.to_dict())
        if (workdir / "result.json").exists() and not anew:
            files.write_json(workdir / "config.json", config.to_dict())
            console.say(f"{workdir} is complete.")
            report.show_finished(workdir)
        else:
            run_to_end(config, workdir, overwrite, pause)


def run_to_end(
    config: ConfigDict, workdir: pathlib.Path, overwrite: bool, pause: signals.Pause
) -> None:
    """Prepares, restores, trains and finishes the run of a locked folder."""
    devices.keep_freed_memory()
    devices.configure(config.train)
    setup = prepare(config, workdir, pause)
    if overwrite:
        run.delete(workdir)
    create = functools.partial(steps.create_state, setup.network, setup.tx, config.seed)
    show_banner(setup, models.count_parameters(jax.eval_shape(create).params))
    explore.describe(setup.feed.tiles, workdir / "plots", config.seed)
    claim(setup)
    console.say("Compiling; this takes some seconds …")
    state, progress = journal.restore(workdir, create(), config.optim.learning_rate)
    if progress.epochs == progress.step == 0:
        # A disk that is full or read-only is noticed now and not after an epoch.
        journal.save(workdir, state, progress)
    state = devices.replicate(state, setup.feed.mesh)
    with pause.deferred():
        while not finished(progress, config):
            state, progress = run_epoch(state, progress, setup)
            journal.save(workdir, state, progress)
            console.say(epoch_line(progress, config.train.epochs))
            pause.saved()
    finish(setup, state, progress)


def prepare(config: ConfigDict, workdir: pathlib.Path, pause: signals.Pause) -> Setup:
    """Returns the run's data, network, optimizer and devices."""
    tiles, split = explore.load(config)
    network = trained.create_network(config)
    tx = optimizer.adamw(config.optim.weight_decay)
    mesh = devices.data_mesh()
    feed = pipeline.create(
        tiles, mesh, config.train.batch_size, resident=not devices.is_cpu(mesh)
    )
    return Setup(workdir, pause, config, feed, split, network, tx)


def show_banner(setup: Setup, parameters: int) -> None:
    """Prints what is about to run, on what."""
    model, mesh = setup.config.model, setup.feed.mesh
    traits = "" if model.name == "fcn" else f", {model.downsample}, skip={model.skip}"
    split = explore.split_text(setup.config.data, setup.split)
    console.say(f"Device     {mesh.size} × {mesh.devices.flat[0].device_kind}")
    console.say(
        f"Model      {model.name} {tuple(model.features)}{traits}, {parameters:,} parameters"
    )
    console.say(f"Run        {setup.workdir}")
    console.say(f"Source     {setup.feed.tiles.description}: {split}")


def claim(setup: Setup) -> None:
    """Makes the folder this run's: writes config.json, data.json and env.json.

    Raises:
      InputError: if a run was begun there with other data.
    """
    workdir, tiles = setup.workdir, setup.feed.tiles
    facts = explore.facts(tiles, setup.split)
    run.check_data(workdir, facts)
    environment = run.environment(list(setup.feed.mesh.devices.flat))
    run.tell_device_change(workdir, environment)
    if run.tests_otherwise(workdir, setup.config.to_dict()):
        # Only now: without its tiles a run cannot be tested anew, and keeps the result it has.
        (workdir / "result.json").unlink(missing_ok=True)
    files.write_json(workdir / "config.json", setup.config.to_dict())
    files.write_json(workdir / "data.json", facts)
    files.write_json(workdir / "env.json", environment)


def finished(progress: journal.Progress, config: ConfigDict) -> bool:
    """Returns whether the last epoch is done or early stopping has come."""
    return progress.epochs >= config.train.epochs or journal.stopped_early(
        progress, config.early_stopping.patience
    )


def run_epoch(
    state: steps.TrainState, progress: journal.Progress, setup: Setup
) -> tuple[steps.TrainState, journal.Progress]:
    """Returns state and progress after the rest of an epoch of training and its validation."""
    start, config, epoch = time.monotonic(), setup.config, progress.epochs + 1
    state, trained = train_epoch(state, progress, setup)
    try:
        val = scoring.mean_scores(
            setup.feed,
            state.variables,
            setup.split["val"],
            setup.network,
            setup.pause.check,
        )
    except signals.Stopped:
        journal.save(setup.workdir, state, trained)
        raise
    check_finite(val["loss"], f"epoch {epoch}: the validation loss")
    totals = trained.totals
    row = {
        "epoch": epoch,
        "train_loss": totals["loss"] / totals["tiles"],
        "train_accuracy": totals["accuracy"] / totals["tiles"],
        "val_loss": val["loss"],
        "val_accuracy": val["accuracy"],
        "learning_rate": progress.plateau.learning_rate,
        "seconds": round(progress.seconds + time.monotonic() - start, 3),
    }
    factor, patience = config.plateau.factor, config.plateau.patience
    return state, journal.after_epoch(progress, row, factor, patience)


def train_epoch(
    state: steps.TrainState, progress: journal.Progress, setup: Setup
) -> tuple[steps.TrainState, journal.Progress]:
    """Returns state and progress after the rest of an epoch's steps; saves when it is time."""
    start, config, epoch = time.monotonic(), setup.config, progress.epochs + 1
    order = data.epoch_order(setup.split["train"], config.seed, epoch)
    totals = dict.fromkeys(("loss", "accuracy", "tiles"), 0.0) | progress.totals
    step, pending = progress.step, None

    def so_far() -> journal.Progress:
        add_means(totals, pending, epoch, step)
        seconds = progress.seconds + time.monotonic() - start
        return dataclasses.replace(
            progress, step=step, totals=dict(totals), seconds=seconds
        )

    left = len(order) - step * config.train.batch_size
    with console.Bar(f"Epoch {epoch}", left, "images") as bar:
        for rows, valid in pipeline.calls(setup.feed, order, step):
            state, means = pipeline.train_call(
                setup.feed,
                state,
                rows,
                valid,
                progress.plateau.learning_rate,
                config.seed,
                network=setup.network,
                tx=setup.tx,
            )
            # Read one call late, so that the devices never wait for the host.
            note = add_means(totals, pending, epoch, step)
            step, pending = step + len(rows), (means, valid)
            bar.advance(int(valid.sum()), note)
            if setup.pause.due():
                journal.save(setup.workdir, state, so_far())
                pending = None
                setup.pause.saved()
        return state, so_far()


def add_means(
    totals: dict[str, float], pending: tuple | None, epoch: int, step: int
) -> str:
    """Adds the means of a call, whose last step was `step`, to the epoch's totals over tiles.

    Returns the mean loss so far, to be shown.
    """
    if pending is None:
        return ""
    means, valid = pending
    means = pipeline.valid_means(means, valid)
    steps_of = np.nonzero(valid)[0] + step + 1 - len(valid)
    for i, loss in zip(steps_of, means["loss"]):
        check_finite(loss, f"epoch {epoch}, step {i}: the training loss")
    for key, values in means.items():
        totals[key] += float(values.sum())
    totals["tiles"] += len(means["loss"])
    return f"loss {totals['loss'] / totals['tiles']:.4f}"


def check_finite(loss: float, what: str) -> None:
    """Raises InputError if the loss is not finite: the run must stop before it saves that."""
    if not math.isfinite(loss):
        raise InputError(
            f"{what} is {loss}; lower config.optim.learning_rate. What was saved before stays."
        )


def finish(setup: Setup, state: steps.TrainState, progress: journal.Progress) -> None:
    """Tests the best checkpoint, draws the figures and writes result.json."""
    config, tiles = setup.config, setup.feed.tiles
    plots_dir = setup.workdir / "plots"
    like = jax.device_get(state.variables)
    variables, best = journal.restore_best(setup.workdir, like)
    variables = devices.replicate(variables, setup.feed.mesh)
    rule, val_curve, test = scoring.test_network(
        setup.feed, variables, setup.split, setup.network, config.eval, config.seed
    )
    result = {
        "status": "completed",
        "parameters": models.count_parameters(state.params),
        "epochs": progress.epochs,
        "best_epoch": best["epoch"],
        "stopped_early": journal.stopped_early(
            progress, config.early_stopping.patience
        ),
        "train_seconds": round(sum(row["seconds"] for row in progress.history), 3),
        "data": {
            "source": tiles.source,
            "dir": tiles.directory,
            **{name: len(part) for name, part in setup.split.items()},
        },
        **test.scores,
    }
    with writing(plots_dir):
        report.draw_training(
            progress.history, best["epoch"], tiles.description, plots_dir
        )
        report.draw_thresholds(test.scores, val_curve, tiles.description, plots_dir)
        curves = {"validation": val_curve, "test": test.curve}
        report.draw_scores(
            curves, test, rule, tiles, tiles.description, config.seed, plots_dir
        )
    files.write_json(setup.workdir / "result.json", result)
    report.show(result)
    console.say(f"Figures    {plots_dir}")


def epoch_line(progress: journal.Progress, epochs: int) -> str:
    """Returns the line that the screen shows for the epoch just done."""
    row = progress.history[-1]
    mark = "  best" if progress.best_epoch == row["epoch"] else ""
    return (
        f"epoch {row['epoch']:3d}/{epochs}  train loss {row['train_loss']:.4f} accuracy "
        f"{row['train_accuracy']:.4f}  val loss {row['val_loss']:.4f} accuracy "
        f"{row['val_accuracy']:.4f}  lr {row['learning_rate']:.3g}  {row['seconds']:.1f} s{mark}"
    )
