"""A training run, from the data to the tested best checkpoint."""

import dataclasses
import functools
import math
import pathlib
import time

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from saltjax import (
    checkpoint,
    console,
    data,
    devices,
    evaluate,
    explore,
    models,
    optimizer,
    report,
    run,
    settings,
    steps,
)
from saltjax.errors import InputError


@dataclasses.dataclass
class Progress:
    """What a run knows besides the arrays of `steps.TrainState`; lives in the checkpoint as JSON.

    Attributes:
      plateau: the learning rate and when it is cut.
      early_stopping: when the run ends.
      best_loss, best_epoch: of the best checkpoint.
      history: a row of metrics.csv for each epoch.
    """

    plateau: optimizer.Plateau
    early_stopping: optimizer.EarlyStopping
    best_loss: float = math.inf
    best_epoch: int = 0
    history: list[dict] = dataclasses.field(default_factory=list)

    @classmethod
    def from_json(cls, meta: dict) -> "Progress":
        return cls(
            optimizer.Plateau(**meta["plateau"]),
            optimizer.EarlyStopping(**meta["early_stopping"]),
            meta["best_loss"],
            meta["best_epoch"],
            meta["history"],
        )


@dataclasses.dataclass(frozen=True)
class Setup:
    """What stays the same throughout a run."""

    config: ConfigDict
    tiles: data.Tiles
    split: dict[str, np.ndarray]
    network: steps.Network
    tx: optax.GradientTransformation
    mesh: Mesh

    @property
    def padded_size(self) -> int:
        """Examples in a batch on the devices."""
        return devices.padded_batch_size(self.config.train.batch_size, self.mesh)


def train(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> None:
    """Trains, tests and reports; goes on where the same run was cut off.

    Args:
      config: the complete config.
      workdir: the run's folder; made if need be.
      overwrite: start anew, whatever the folder holds.

    Raises:
      InputError: for a mistake in config, data or folder.
    """
    settings.check(config)
    explore.announce(config)
    with run.lock(workdir):
        if not overwrite:
            run.check_config(workdir, config.to_dict())
        if (workdir / "result.json").exists() and not overwrite:
            console.say(f"{workdir} is complete.")
            report.show(run.read_json(workdir / "result.json"))
        else:
            run_to_end(config, workdir, overwrite)


def run_to_end(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> None:
    """Prepares, restores, trains and finishes the run of a locked folder."""
    devices.configure_cpu(config.train.cpu_devices, config.train.batch_size)
    setup = prepare(config)
    if overwrite:
        run.delete(workdir)
    facts = data_facts(setup)
    run.check_data(workdir, facts)
    create = functools.partial(steps.create_state, setup.network, setup.tx, config.seed)
    parameters = models.count_parameters(jax.eval_shape(create).params)
    show_banner(setup, workdir, parameters)
    explore.describe(setup.tiles, workdir / "plots", config.seed)
    run.write_json(workdir / "config.json", config.to_dict())
    run.write_json(workdir / "data.json", facts)
    environment = run.environment(list(setup.mesh.devices.flat))
    run.write_json(workdir / "env.json", environment)
    console.say("Compiling; this takes some seconds …")
    state, progress = restore(workdir, create(), config.optim.learning_rate)
    state = devices.replicate(state, setup.mesh)
    while not finished(progress, config):
        state, progress = run_epoch(state, progress, setup)
        save(workdir, state, progress)
        console.say(epoch_line(progress, config.train.epochs))
    finish(setup, workdir, progress, state)


def prepare(config: ConfigDict) -> Setup:
    """Returns the run's data, network, optimizer and devices."""
    tiles, split = explore.load(config)
    model = models.create_model(**config.model)
    network = steps.Network(model, config.data.image_size, config.data.resize)
    tx = optimizer.adamw(config.optim.weight_decay)
    return Setup(config, tiles, split, network, tx, devices.data_mesh())


def show_banner(setup: Setup, workdir: pathlib.Path, parameters: int) -> None:
    """Prints what is about to run, on what."""
    model, mesh = setup.config.model, setup.mesh
    traits = "" if model.name == "fcn" else f", {model.downsample}, skip={model.skip}"
    split = ", ".join(f"{len(ids)} {name}" for name, ids in setup.split.items())
    console.say(f"Device     {mesh.size} × {mesh.devices.flat[0].device_kind}")
    console.say(
        f"Model      {model.name} {tuple(model.features)}{traits}, {parameters:,} parameters"
    )
    console.say(f"Run        {workdir}")
    console.say(f"Source     {setup.tiles.description}: {split}")


def data_facts(setup: Setup) -> dict:
    """Returns the contents of data.json."""
    tiles = setup.tiles
    splits = {name: [tiles.ids[i] for i in part] for name, part in setup.split.items()}
    return {
        "source": tiles.source,
        "dir": tiles.directory,
        "content_sha256": tiles.content_hash(),
        **data.statistics(tiles),
        "splits": splits,
    }


def finished(progress: Progress, config: ConfigDict) -> bool:
    """Returns whether the last epoch is done or early stopping has come."""
    return len(progress.history) >= config.train.epochs or stopped_early(
        progress, config
    )


def stopped_early(progress: Progress, config: ConfigDict) -> bool:
    """Returns whether the validation loss has been too high for too many epochs in a row."""
    return progress.early_stopping.bad_epochs >= config.early_stopping.patience


def run_epoch(
    state: steps.TrainState, progress: Progress, setup: Setup
) -> tuple[steps.TrainState, Progress]:
    """Returns state and progress after an epoch of training and its validation."""
    start = time.monotonic()
    config, epoch = setup.config, len(progress.history) + 1
    state, train_means = train_epoch(state, progress, setup)
    eval_step = evaluate.eval_function(setup.network, state.variables, setup.mesh)
    val = evaluate.mean_scores(
        eval_step, setup.tiles, setup.split["val"], setup.padded_size
    )
    check_finite(val["loss"], f"epoch {epoch}: the validation loss")
    row = {
        "epoch": epoch,
        **{f"train_{name}": value for name, value in train_means.items()},
        **{f"val_{name}": value for name, value in val.items()},
        "learning_rate": progress.plateau.learning_rate,
        "seconds": round(time.monotonic() - start, 3),
    }
    return state, after_epoch(
        progress, row, config.plateau.factor, config.plateau.patience
    )


def train_epoch(
    state: steps.TrainState, progress: Progress, setup: Setup
) -> tuple[steps.TrainState, dict[str, float]]:
    """Returns the state after every training tile was seen once, and mean loss and accuracy."""
    config, epoch = setup.config, len(progress.history) + 1
    order = data.epoch_order(setup.split["train"], config.seed, epoch)
    learning_rate = np.float32(progress.plateau.learning_rate)
    totals, pending = dict.fromkeys(("loss", "correct", "count"), 0.0), None
    batches = data.batches(
        setup.tiles, order, config.train.batch_size, setup.padded_size
    )
    with console.Bar(f"Epoch {epoch}", len(order), "images") as bar:
        for step, batch in enumerate(batches, 1):
            state, sums = steps.train_step(
                state,
                devices.shard(batch, setup.mesh),
                learning_rate,
                np.int32(config.seed),
                network=setup.network,
                tx=setup.tx,
            )
            # Read one step late, so that the device never waits for the host.
            note = add_sums(totals, pending, epoch, step - 1)
            pending = sums
            bar.advance(int(batch["valid"].sum()), note)
        add_sums(totals, pending, epoch, step)
    count = totals["count"]
    return state, {
        "loss": totals["loss"] / count,
        "accuracy": totals["correct"] / count,
    }


def add_sums(totals: dict[str, float], sums: dict | None, epoch: int, step: int) -> str:
    """Adds a step's sums to the epoch's totals; returns the mean loss so far, to be shown."""
    if sums is None:
        return ""
    sums = jax.device_get(sums)
    check_finite(float(sums["loss"]), f"epoch {epoch}, step {step}: the training loss")
    for key in totals:
        totals[key] += float(sums[key])
    return f"loss {totals['loss'] / totals['count']:.4f}"


def check_finite(loss: float, what: str) -> None:
    """Raises InputError if the loss is not finite: the run must stop before it saves that."""
    if not math.isfinite(loss):
        raise InputError(
            f"{what} is {loss}; lower config.optim.learning_rate. Nothing of this epoch is saved."
        )


def after_epoch(
    progress: Progress, row: dict, factor: float, patience: int
) -> Progress:
    """Returns the progress with the epoch's row, its schedules moved on."""
    loss = row["val_loss"]
    better = loss < progress.best_loss
    return Progress(
        progress.plateau.update(loss, factor, patience),
        progress.early_stopping.update(loss),
        loss if better else progress.best_loss,
        row["epoch"] if better else progress.best_epoch,
        [*progress.history, row],
    )


def save(workdir: pathlib.Path, state: steps.TrainState, progress: Progress) -> None:
    """Saves `checkpoints/last`, before it `best` if this epoch is the best, and metrics.csv."""
    arrays = jax.device_get({"state": state})["state"]
    epoch = len(progress.history)
    if progress.best_epoch == epoch:
        checkpoint.save(
            workdir / "checkpoints/best",
            arrays.variables,
            {"epoch": epoch, "val_loss": progress.best_loss},
        )
    checkpoint.save(
        workdir / "checkpoints/last", vars(arrays), dataclasses.asdict(progress)
    )
    run.write_metrics(workdir, progress.history)


def new_progress(learning_rate: float) -> Progress:
    """Returns the progress before the first epoch."""
    return Progress(optimizer.Plateau(learning_rate), optimizer.EarlyStopping())


def restore(
    workdir: pathlib.Path, state: steps.TrainState, learning_rate: float
) -> tuple[steps.TrainState, Progress]:
    """Returns (state, progress) of the last checkpoint, or of a new run where there is none."""
    path = workdir / "checkpoints/last"
    if not path.exists():
        return state, new_progress(learning_rate)
    arrays, meta = checkpoint.restore(path, vars(jax.device_get(state)))
    progress = Progress.from_json(meta)
    run.write_metrics(workdir, progress.history)
    console.say(f"Resuming after epoch {len(progress.history)}")
    return steps.TrainState(**arrays), progress


def finish(
    setup: Setup, workdir: pathlib.Path, progress: Progress, state: steps.TrainState
) -> None:
    """Tests the best checkpoint, draws the figures and writes result.json."""
    config, tiles = setup.config, setup.tiles
    best = workdir / "checkpoints/best"
    variables, _ = checkpoint.restore(best, jax.device_get(state.variables))
    eval_step = evaluate.eval_function(setup.network, variables, setup.mesh)
    test = evaluate.test_network(
        eval_step, tiles, setup.split, setup.padded_size, config.seed
    )
    result = {
        "status": "completed",
        "parameters": models.count_parameters(state.params),
        "epochs": len(progress.history),
        "best_epoch": progress.best_epoch,
        "stopped_early": stopped_early(progress, config),
        "train_seconds": round(sum(row["seconds"] for row in progress.history), 3),
        "data": {
            "source": tiles.source,
            "dir": tiles.directory,
            **{name: len(part) for name, part in setup.split.items()},
        },
        **test.scores,
    }
    report.draw_training(
        progress.history, progress.best_epoch, tiles.description, workdir / "plots"
    )
    report.draw_test(test, tiles, config.seed, workdir / "plots")
    run.write_json(workdir / "result.json", result)
    report.show(result)
    console.say(f"Figures    {workdir / 'plots'}")


def epoch_line(progress: Progress, epochs: int) -> str:
    """Returns the line that the screen shows for the epoch just done."""
    row = progress.history[-1]
    mark = "  best" if progress.best_epoch == row["epoch"] else ""
    return (
        f"epoch {row['epoch']:3d}/{epochs}  train loss {row['train_loss']:.4f} accuracy "
        f"{row['train_accuracy']:.4f}  val loss {row['val_loss']:.4f} accuracy "
        f"{row['val_accuracy']:.4f}  lr {row['learning_rate']:.3g}  {row['seconds']:.1f} s{mark}"
    )
