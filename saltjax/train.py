"""A training run, from the data to the tested best checkpoint."""

import dataclasses
import math
import pathlib
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from saltjax import (
    checkpoint,
    console,
    data,
    devices,
    evaluate,
    models,
    optimizer,
    run,
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
    early_stopping: optimizer.EarlyStopping = optimizer.EarlyStopping()
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


def train(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains until the last epoch or early stopping, going on where a cut-off run stopped."""
    tiles = evaluate.load_tiles(config)
    split = data.split_indices(len(tiles), config.data.split, config.seed)
    mesh = devices.data_mesh()
    model = models.create_model(**config.model)
    tx = optimizer.adamw(config.optim.weight_decay)
    state = steps.create_state(model, tx, config.data.image_size, config.seed)
    parameters = models.count_parameters(state.params)
    state, progress = restore(workdir, state, config.optim.learning_rate)
    state = devices.replicate(state, mesh)

    patience = config.early_stopping.patience
    while (
        len(progress.history) < config.train.epochs
        and progress.early_stopping.bad_epochs < patience
    ):
        state, progress = run_epoch(
            state, progress, tiles, split, config, model, tx, mesh
        )
        save(workdir, state, progress)
        console.say(
            epoch_line(progress.history[-1], config.train.epochs, progress.best_epoch)
        )
    return parameters


def run_epoch(state, progress, tiles, split, config, model, tx, mesh):
    """Returns (state, progress) after an epoch of training and its validation."""
    start = time.monotonic()
    epoch = len(progress.history) + 1
    order = data.epoch_order(split["train"], config.seed, epoch)
    sizes = {"image_size": config.data.image_size, "method": config.data.resize}
    batch_size = devices.padded_batch_size(config.train.batch_size, mesh)
    learning_rate = np.float32(progress.plateau.learning_rate)
    totals, pending = {"loss": 0.0, "correct": 0.0, "count": 0.0}, None

    with console.Bar(f"Epoch {epoch}", len(order), "images") as bar:
        for step, batch in enumerate(
            data.batches(tiles, order, config.train.batch_size, batch_size), 1
        ):
            state, sums = steps.train_step(
                state,
                devices.shard(batch, mesh),
                learning_rate,
                np.int32(config.seed),
                model=model,
                tx=tx,
                **sizes,
            )
            # Read one step late: the device never waits for the host.
            if pending is not None:
                add_sums(totals, pending, epoch, step - 1)
            pending = sums
            note = (
                f"loss {totals['loss'] / totals['count']:.4f}"
                if totals["count"]
                else ""
            )
            bar.advance(int(batch["valid"].sum()), note)
        add_sums(totals, pending, epoch, step)

    variables = {"params": state.params, "batch_stats": state.batch_stats}
    val = evaluate.loss_and_accuracy(
        variables, tiles, split["val"], batch_size, mesh, model, **sizes
    )
    if not math.isfinite(val["loss"]):
        raise InputError(
            f"epoch {epoch}: the validation loss is {val['loss']}; lower optim.learning_rate"
        )
    row = {
        "epoch": epoch,
        "train_loss": totals["loss"] / totals["count"],
        "train_accuracy": totals["correct"] / totals["count"],
        "val_loss": val["loss"],
        "val_accuracy": val["accuracy"],
        "learning_rate": progress.plateau.learning_rate,
        "seconds": round(time.monotonic() - start, 3),
    }
    return state, after_epoch(
        progress, row, config.plateau.factor, config.plateau.patience
    )


def add_sums(
    totals: dict[str, float], sums: dict[str, jax.Array], epoch: int, step: int
) -> None:
    """Adds a step's sums to the epoch's, or stops the run if its loss is not finite."""
    loss = float(sums["loss"])
    if not math.isfinite(loss):
        raise InputError(
            f"epoch {epoch}, step {step}: the training loss is {loss}; lower optim.learning_rate. "
            "The last good checkpoint stays."
        )
    for key in totals:
        totals[key] += float(sums[key])


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
        best = {"params": arrays.params, "batch_stats": arrays.batch_stats}
        checkpoint.save(
            workdir / "checkpoints/best",
            best,
            {"epoch": epoch, "val_loss": progress.best_loss},
        )
    checkpoint.save(
        workdir / "checkpoints/last", vars(arrays), dataclasses.asdict(progress)
    )
    run.write_metrics(workdir, progress.history)


def restore(workdir, state: steps.TrainState, learning_rate: float):
    """Returns (state, progress) of the last checkpoint, or of a new run where there is none."""
    path = workdir / "checkpoints/last"
    if not path.exists():
        return state, Progress(optimizer.Plateau(learning_rate))
    arrays, meta = checkpoint.restore(path, vars(jax.device_get(state)))
    progress = Progress.from_json(meta)
    run.write_metrics(workdir, progress.history)
    console.say(f"Resuming after epoch {len(progress.history)}")
    return steps.TrainState(**arrays), progress


def epoch_line(row: dict, epochs: int, best_epoch: int) -> str:
    """Returns the line that the screen shows for an epoch."""
    mark = "  best" if best_epoch == row["epoch"] else ""
    return (
        f"epoch {row['epoch']:3d}/{epochs}  train loss {row['train_loss']:.4f} accuracy "
        f"{row['train_accuracy']:.4f}  val loss {row['val_loss']:.4f} accuracy "
        f"{row['val_accuracy']:.4f}  lr {row['learning_rate']:.0e}  {row['seconds']:.1f} s{mark}"
    )
