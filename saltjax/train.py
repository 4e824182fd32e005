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
    metrics,
    models,
    optimizer,
    plots,
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
    with run.lock(workdir):
        run.claim(workdir, config.to_dict(), overwrite)
        if (workdir / "result.json").exists():
            console.say(f"{workdir} is complete.")
            show_result(run.read_json(workdir / "result.json"))
        else:
            run_to_end(config, workdir)


def run_to_end(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Prepares, restores, trains and finishes the run of a locked folder."""
    devices.configure_cpu(config.train.cpu_devices, config.train.batch_size)
    if not config.data.dir:
        console.say("Training on built-in synthetic sections: this is no real data.")
    setup = prepare(config)
    create = functools.partial(steps.create_state, setup.network, setup.tx, config.seed)
    parameters = models.count_parameters(jax.eval_shape(create).params)
    show_banner(setup, workdir, parameters)
    explore.describe(setup.tiles, workdir / "plots", config.seed)
    write_facts(setup, workdir)
    console.say("Compiling; this takes some seconds …")
    state, progress = restore(workdir, create(), config.optim.learning_rate)
    state = devices.replicate(state, setup.mesh)
    while not finished(progress, config):
        state, progress = run_epoch(state, progress, setup)
        save(workdir, state, progress)
        console.say(epoch_line(progress, config.train.epochs))
    finish(setup, workdir, progress, state, parameters)


def prepare(config: ConfigDict) -> Setup:
    """Returns the run's data, network, optimizer and devices."""
    tiles = explore.load_tiles(config)
    split = explore.split_tiles(tiles, config)
    size, height, width = config.data.image_size, *tiles.images.shape[1:3]
    if config.data.resize == "pad" and max(height, width) > size:
        raise InputError(
            f"config.data.resize=pad cannot shrink tiles of {width}×{height} pixels to "
            f"data.image_size={size}; give a larger image_size, or resize=bilinear"
        )
    network = steps.Network(
        models.create_model(**config.model), size, config.data.resize
    )
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
    console.say(f"Source     {explore.source_line(setup.tiles)}: {split}")


def write_facts(setup: Setup, workdir: pathlib.Path) -> None:
    """Writes env.json and data.json."""
    run.write_json(workdir / "env.json", run.environment(list(setup.mesh.devices.flat)))
    tiles = setup.tiles
    splits = {name: [tiles.ids[i] for i in part] for name, part in setup.split.items()}
    facts = {
        "source": tiles.source,
        "dir": tiles.directory,
        "content_sha256": tiles.content_hash(),
        **data.statistics(tiles),
        "splits": splits,
    }
    run.write_json(workdir / "data.json", facts)


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
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    eval_step = evaluate.eval_function(setup.network, variables, setup.mesh)
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
            f"{what} is {loss}; lower config.optim.learning_rate. The last checkpoint stays."
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


def new_progress(learning_rate: float) -> Progress:
    """Returns the progress before the first epoch."""
    return Progress(optimizer.Plateau(learning_rate), optimizer.EarlyStopping())


def restore(workdir, state: steps.TrainState, learning_rate: float):
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
    setup: Setup,
    workdir: pathlib.Path,
    progress: Progress,
    state: steps.TrainState,
    parameters: int,
) -> None:
    """Tests the best checkpoint, draws the figures and writes result.json."""
    config, tiles = setup.config, setup.tiles
    like = jax.device_get({"params": state.params, "batch_stats": state.batch_stats})
    variables, _ = checkpoint.restore(workdir / "checkpoints/best", like)
    console.say("Testing the best checkpoint …")
    report = evaluate.test_network(
        evaluate.eval_function(setup.network, variables, setup.mesh),
        tiles,
        setup.split,
        setup.padded_size,
        config.seed,
    )
    result = {
        "status": "completed",
        "parameters": parameters,
        "epochs": len(progress.history),
        "best_epoch": progress.best_epoch,
        "stopped_early": stopped_early(progress, config),
        "train_seconds": round(sum(row["seconds"] for row in progress.history), 3),
        "data": {
            "source": tiles.source,
            "dir": tiles.directory,
            **{name: len(part) for name, part in setup.split.items()},
        },
        **report.scores,
    }
    draw(setup, workdir, progress, report)
    run.write_json(workdir / "result.json", result)
    show_result(result)
    console.say(f"Figures    {workdir / 'plots'}")


def draw(
    setup: Setup, workdir: pathlib.Path, progress: Progress, report: evaluate.Report
) -> None:
    """Draws the figures of a finished run into its plots folder."""
    source, scores = explore.source_line(setup.tiles), report.scores
    threshold = scores["threshold"]["value"]
    figures = {
        "curves": plots.curves(progress.history, progress.best_epoch, source),
        "precision_recall": plots.precision_recall(report.curve, source),
        "thresholds": plots.thresholds(scores["thresholds"], threshold, source),
    }
    labels = setup.tiles.labels[report.test.indices, :, :, 0]
    counts = metrics.confusion(report.test.prob_native, labels, threshold)
    iou = metrics.tile_scores(counts)["iou"]
    salt = np.flatnonzero(labels.any(axis=(1, 2)))
    chosen = np.random.default_rng(setup.config.seed).permutation(salt)[
        : plots.EXAMPLES
    ]
    # Of tiles with the same IoU, often 0, the ones with more wrong pixels are worse.
    wrong = counts[:, 1] + counts[:, 2]
    worst = np.lexsort((-wrong, iou))[: plots.EXAMPLES]
    for name, rows in (("predictions", chosen), ("worst", worst)):
        indices = report.test.indices[rows]
        figures[name] = plots.predictions(
            setup.tiles.images[indices],
            labels[rows],
            report.test.prob_native[rows],
            threshold,
            [
                f"{setup.tiles.ids[i]}\nIoU {iou[row]:.2f}"
                for i, row in zip(indices, rows)
            ],
            source,
        )
    for name, figure in figures.items():
        figure.savefig(workdir / "plots" / f"{name}.png")


def show_result(result: dict) -> None:
    """Prints the outcome of a run."""
    test, native = result["test"], result["test_native"]
    ended = "stopped early" if result["stopped_early"] else "last epoch reached"
    console.say(
        f"Trained    {result['epochs']} epochs ({ended}), best {result['best_epoch']}, "
        f"{result['train_seconds']:.0f} s"
    )
    console.say(
        f"Test       loss {test['loss']:.4f}  accuracy {test['accuracy']:.4f}  "
        f"average precision {test['average_precision']:.4f}"
    )
    console.say(
        f"at {result['threshold']['value']:.2f}    accuracy {test['accuracy_at_threshold']:.4f}  "
        f"precision {test['precision']:.4f}  recall {test['recall']:.4f}  F1 {test['f1']:.4f}"
    )
    for name in ("iou", "kaggle_map"):
        score = native[name]
        console.say(
            f"           {name} {score['value']:.4f} ({score['low']:.4f}–{score['high']:.4f}, "
            "95 % interval over tiles, at their own resolution)"
        )
    if result["data"]["source"] == "synthetic":
        console.say("           on built-in synthetic sections, no real data")


def epoch_line(progress: Progress, epochs: int) -> str:
    """Returns the line that the screen shows for the epoch just done."""
    row = progress.history[-1]
    mark = "  best" if progress.best_epoch == row["epoch"] else ""
    return (
        f"epoch {row['epoch']:3d}/{epochs}  train loss {row['train_loss']:.4f} accuracy "
        f"{row['train_accuracy']:.4f}  val loss {row['val_loss']:.4f} accuracy "
        f"{row['val_accuracy']:.4f}  lr {row['learning_rate']:.0e}  {row['seconds']:.1f} s{mark}"
    )
