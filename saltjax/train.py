"""--mode=train: a run, from reading the data to testing the best checkpoint."""

import contextlib
import dataclasses
import functools
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from saltjax import epoch, final_test
from saltjax.data import feed as feeds
from saltjax.data import source
from saltjax.data.tiles import training_noun
from saltjax.epoch import Setup
from saltjax.networks import network as networks
from saltjax.reporting import (
    event_files,
    run_figures,
    run_report,
    tables,
    volume_figures,
)
from saltjax.runs import (
    checkpoint,
    environment,
    initial_weights,
    replacement,
    result,
    saved_config,
    settings,
)
from saltjax.runs import workdir as run_directory
from saltjax.runs.initial_weights import InitialWeights
from saltjax.runs.workdir import Status
from saltjax.system import console, devices, files, hosts, locks, signals
from saltjax.system.errors import InputError
from saltjax.training import optimizer, schedules, steps
from saltjax.training import progress as progresses
from saltjax.training.progress import Progress
from saltjax.training.steps import Recipe, TrainState


def train(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> None:
    """Trains and tests; resumes a run that was interrupted.

    Args:
      config: the complete config.
      workdir: the run directory; created if it does not exist.
      overwrite: delete the run that the directory holds, and start again.

    Raises:
      InputError: for a mistake in config, data or directory.
    """
    source.announce(config.data)
    facts = {"saltjax": environment.version(), "JAX": jax.__version__}
    facts |= {"--overwrite": overwrite} | settings.flatten(config.to_dict())
    hosts.check_same("settings or versions", facts)
    lock = locks.lock(workdir, "--workdir")
    with (
        lock if hosts.is_first() else contextlib.nullcontext(),
        signals.Pause(config.checkpoint.every_minutes, hosts.forward()) as pause,
    ):
        hosts.take_signals(pause.request)
        begun = hosts.from_first(lambda: begin(config, workdir, overwrite))
        config = saved_config.checked(begun["config"])
        status = Status[begun["status"]]
        if status is not Status.FINISHED:
            run_to_end(config, workdir, status, overwrite, begun["splits"], pause)
        elif hosts.is_first():
            keep_finished(config, workdir)
            show_finished(workdir)


def begin(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> dict[str, Any]:
    """Returns what the run directory means for a start, as JSON.

    These are `config` with the settings of the run that is there, see `saved_config.adopt_added`, the
    name of its `status`, and its `splits`, None where there are none.

    Raises:
      InputError: if the run is one of another config, or cannot be read.
    """
    status, splits = Status.NEW, None
    if not overwrite:
        config = saved_config.adopt_added(workdir, config)
        status = run_directory.status(workdir, config.to_dict())
        if status is not Status.FINISHED:
            splits = run_directory.earlier_splits(workdir)
    return {"config": config.to_dict(), "status": status.name, "splits": splits}


def keep_finished(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Writes the config of a finished run, whose data may have moved.

    Raises:
      InputError: if they lie elsewhere and are not the same.
    """
    before, now = saved_config.read_json(workdir), config.to_dict()
    if run_directory.elsewhere(before, now):
        data = source.load(config, run_directory.earlier_splits(workdir))
        facts = data.facts
        run_directory.check_data(workdir, facts)
        files.write_json(workdir / "data.json", facts)
    initial_weights.check_moved(workdir, config.train.init_from)
    replacement.recover(workdir)
    announce_moved(before, now)
    saved_config.write(workdir, config)
    console.say(f"{workdir} is complete.")


def announce_moved(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Prints the paths of a run that have changed; what they lead to is known to be the same."""
    for key, old, new in run_directory.moved(before, now):
        if old and new:
            console.say(f"Moved      config.{key} is now {new}, before {old}")


def show_finished(workdir: pathlib.Path) -> None:
    """Prints the result of a finished run; raises InputError if it is damaged."""
    finished = result.read(workdir)
    tables.show_result(finished)
    console.say(f"Data       {finished.data.label}")
    console.say(f"Figures    {workdir / 'plots'}")


def run_to_end(
    config: ConfigDict,
    workdir: pathlib.Path,
    status: Status,
    overwrite: bool,
    earlier: dict[str, list[str]] | None,
    pause: signals.Pause,
) -> None:
    """Prepares, restores, trains and tests the run in a directory that process 0 has locked."""
    if config.train.tensorboard:
        event_files.require()
    setup, first = prepare(config, workdir, pause, earlier), hosts.is_first()
    hosts.check_same("data", settings.flatten(setup.data.facts))
    if first:
        state, progress = start(setup, status, overwrite)
    else:  # in place of those of process 0
        state = steps.create_state(setup.recipe, config.seed)
        progress = progresses.begin(config.optim.learning_rate)
    events = event_files.EventFile(workdir, config.train.tensorboard and first)
    with pause.deferred(), contextlib.closing(events):
        events.write(progress.history)
        if first and progress.epochs == progress.step == 0:
            # A disk that is full or read-only is noticed now and not after an epoch.
            progresses.save(workdir, state, progress)
            pause.saved()
        # The others wait here, and not in a collective, which JAX allows half a minute to begin.
        progress = progresses.of_first_host(progress)
        state = devices.of_first_host(state, setup.feed.mesh)
        state = devices.replicate(state, setup.feed.mesh)
        feed = steps.timed_feed(setup.feed, state, setup.recipe)
        setup = dataclasses.replace(setup, feed=feed)
        while not finished(progress, config):
            state, progress = epoch.run_epoch(state, progress, setup)
            if first:
                record_epoch(state, progress, setup, events)

    def test() -> None:  # on the devices of process 0
        final_test.run(
            config, workdir, setup.data, setup.recipe.network, state, progress
        )
        run_report.refresh(workdir, setup.data.scored, running=False)

    hosts.from_first(test)


def start(setup: Setup, status: Status, overwrite: bool) -> tuple[TrainState, Progress]:
    """Returns the state and progress that the run goes on from, and records its start.

    Raises:
      InputError: if the run cannot go on, or its weights cannot be those of train.init_from.
    """
    config, workdir, data = setup.config, setup.workdir, setup.data
    shapes = jax.eval_shape(lambda: steps.create_state(setup.recipe, config.seed))
    weights = None
    if overwrite or not checkpoint.exists(workdir / "checkpoints/last"):
        weights = initial_weights.read(
            config.train.init_from,
            config.train.init_partial,
            shapes.trained,
            config,
            workdir,
        )
    else:
        initial_weights.check_moved(workdir, config.train.init_from)
    if overwrite:
        run_directory.delete(workdir)
    show_banner(setup, networks.count_parameters(shapes.params))
    if weights:
        weights.announce(data.facts)
    if data.volume:
        volume_figures.show(data.volume)
    tables.show_statistics(data.statistics, training_noun(data.tiles.source))
    run_directory.check_data(workdir, data.facts, tested=False)
    console.say("Compiling; this takes some seconds …")
    state = steps.create_state(setup.recipe, config.seed)
    if weights:
        state = steps.with_trained(state, weights.variables(state.trained))
    state, progress = progresses.restore(
        workdir,
        state,
        config.optim.learning_rate,
        config.train.epochs,
    )
    if status is Status.OUTDATED:
        if progress.epochs == progress.step == 0:
            raise InputError(
                f"{workdir} has a result but no checkpoints to go on with; restore them, or start "
                "again with --overwrite"
            )
        console.say(
            "Result     of fewer epochs, or under other settings of the test: it is kept until the "
            "new one is complete"
        )
    record_start(setup, status, progress, weights)
    return state, progress


def record_epoch(
    state: TrainState,
    progress: Progress,
    setup: Setup,
    events: event_files.EventFile,
) -> None:
    """Saves what an epoch has changed, and shows it; raises Stopped after a signal."""
    config, workdir = setup.config, setup.workdir
    images = functools.partial(epoch.example_images, state, setup)
    events.write(progress.history, images)
    progresses.save(workdir, state, progress)
    best = 0 if config.checkpoint.select == "last" else progress.best_epoch
    tables.show_epoch(progress.history[-1], best, config.train.epochs)
    run_report.refresh(workdir, setup.data.scored, running=True)
    setup.pause.saved()


def prepare(
    config: ConfigDict,
    workdir: pathlib.Path,
    pause: signals.Pause,
    earlier: dict[str, list[str]] | None = None,
) -> Setup:
    """Returns the run's devices, data, network and optimizer; `earlier`: see `source.load`."""
    train = config.train
    devices.configure(train.cpu_devices, train.batch_size, train.compile_cache)
    data = source.load(config, earlier)
    source.check_trainable(data, config.train.batch_size)
    network = networks.create_network(config)
    mesh = devices.data_mesh()
    resident = not devices.is_cpu(mesh)
    feed = feeds.create(data.tiles, mesh, train.batch_size, resident)
    recipe = create_recipe(config, network, feeds.step_count(feed, data.split["train"]))
    recipe = dataclasses.replace(recipe, unlabelled=data.tiles.has_unlabelled)
    return Setup(workdir, pause, config, data, feed, recipe)


def create_recipe(
    config: ConfigDict, network: networks.Network, steps_per_epoch: int
) -> Recipe:
    """Returns what the config says of the training steps."""
    optim, schedule = config.optim, None
    if optim.schedule == "cosine":
        schedule = schedules.cosine(
            optim.learning_rate,
            optim.warmup_epochs * steps_per_epoch,
            config.train.epochs * steps_per_epoch,
        )
    return Recipe(
        network,
        optimizer.adam(optim.weight_decay, optim.decoupled),
        np.int32(config.seed),
        augment=config.data.augment,
        lovasz=config.loss.lovasz,
        ema=config.train.ema,
        schedule=schedule,
    )


def show_banner(setup: Setup, parameters: int) -> None:
    """Prints devices, model, run directory and data."""
    model, mesh = setup.config.model, setup.feed.mesh
    traits = "" if model.name == "fcn" else f", {model.downsample}, skip={model.skip}"
    several = ""
    if hosts.count() > 1:
        several = f", of {console.counted(hosts.count(), 'process')}"
    console.say(f"Device     {mesh.size} × {mesh.devices.flat[0].device_kind}{several}")
    console.say(
        f"Model      {model.name} {tuple(model.features)}{traits}, {parameters:,} parameters"
    )
    console.say(f"Run        {setup.workdir}")
    console.say(
        f"Source     {setup.data.tiles.description}: {setup.data.split_description}"
    )


def record_start(
    setup: Setup, status: Status, progress: Progress, weights: InitialWeights | None
) -> None:
    """Writes what a start changes in the run directory, apart from checkpoints.

    To be called when nothing can refuse the start any more. A run with a result keeps it, with the
    config that it belongs to, until the new one takes its place.
    """
    config, workdir, data = setup.config, setup.workdir, setup.data
    environment.read(workdir)  # refuses a damaged file before anything is written
    replacement.recover(workdir)
    if status is not Status.NEW:
        announce_moved(saved_config.read_json(workdir), config.to_dict())
    if status is not Status.OUTDATED:
        saved_config.write(workdir, config)
        files.write_json(workdir / "data.json", data.facts)
    start = environment.describe(list(setup.feed.mesh.devices.flat))
    if weights:
        start[environment.INITIAL] = weights.record(data.facts)
    environment.record(workdir, start)
    run_directory.write_metrics(workdir, progress.history)
    run_figures.draw_data(data.tiles, workdir / "plots", config.data.seed)
    if data.volume:
        volume_figures.draw(data.volume, workdir / "plots")


def finished(progress: Progress, config: ConfigDict) -> bool:
    """Returns whether the last epoch is done or training has stopped early."""
    return progress.epochs >= config.train.epochs or progress.stopped_early(
        config.early_stopping.patience
    )
