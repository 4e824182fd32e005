"""An epoch of training: its steps, its validation, and its row of metrics.csv."""

import dataclasses
import pathlib
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from saltjax.data import feed as feeds
from saltjax.data import source
from saltjax.inference import evaluation
from saltjax.inference.windows import SectionModel
from saltjax.reporting import event_files
from saltjax.scoring import metrics, scores
from saltjax.system import console, devices, hosts, signals
from saltjax.training import progress as progresses
from saltjax.training import steps
from saltjax.training.progress import Progress
from saltjax.training.steps import Recipe, TrainState


@dataclasses.dataclass(frozen=True)
class Setup:
    """The parts of a run that do not change."""

    workdir: pathlib.Path
    pause: signals.Pause
    config: ConfigDict
    data: source.Data
    feed: feeds.Feed
    recipe: Recipe


def run_epoch(
    state: TrainState, progress: Progress, setup: Setup
) -> tuple[TrainState, Progress]:
    """Returns state and progress after the rest of an epoch of training and its validation."""
    start, config, epoch = time.monotonic(), setup.config, progress.epochs + 1
    state = steps.with_learning_rate(state, progress.plateau.learning_rate)
    state, trained = train_epoch(state, progress, setup)
    try:
        val = validate(state, setup)
    except signals.Stopped:
        progresses.save(setup.workdir, state, trained)
        raise
    progresses.check_finite(val["loss"], f"epoch {epoch}: the validation loss")
    totals = trained.totals
    row = {
        "epoch": epoch,
        "train_loss": totals["loss"] / totals["tiles"],
        "train_accuracy": totals["accuracy"] / totals["tiles"],
        "val_loss": val["loss"],
        "val_accuracy": val["accuracy"],
        "learning_rate": learning_rate(setup.recipe, state, progress),
        "seconds": round(progress.seconds + time.monotonic() - start, 3),
    }
    if "lovasz" in totals:
        row["train_lovasz"] = totals["lovasz"] / totals["tiles"]
    if "kaggle_map" in val:
        row["val_kaggle_map"] = val["kaggle_map"]
    row = hosts.from_first(lambda: row)  # whose clock is another
    factor, patience = config.plateau.factor, config.plateau.patience
    select = config.checkpoint.select
    return state, progresses.after_epoch(progress, row, factor, patience, select)


def validate(state: TrainState, setup: Setup) -> dict[str, float]:
    """Returns the means of `scores.mean_scores` for the validation tiles, or the lines of a volume.

    Raises:
      signals.Stopped: if a signal asks for it.
    """
    data, val = setup.data, setup.data.split["val"]
    kaggle_map = setup.config.checkpoint.select != "val_loss"
    if data.scored is not data.tiles:
        return hosts.from_first(lambda: validate_lines(state, setup, kaggle_map))
    return scores.mean_scores(
        setup.feed,
        state.variables,
        val,
        setup.recipe.network,
        setup.pause.check,
        kaggle_map,
    )


def validate_lines(
    state: TrainState, setup: Setup, kaggle_map: bool
) -> dict[str, float]:
    """Returns what `validate` does for the lines of a volume, computed on the devices of this host."""
    data, val = setup.data, setup.data.split["val"]
    outputs = evaluation.predict_tiles(
        data.scored, val, section_model(state, setup), setup.pause.check, "Validating"
    )
    means = {"loss": outputs.loss, "accuracy": outputs.accuracy}
    if kaggle_map:
        labels = data.scored.labels[val, :, :, 0]
        counts = metrics.confusion(outputs.prob_native >= 0.5, labels)
        means["kaggle_map"] = metrics.mean_score(counts, "kaggle_map")
    return means


def section_model(state: TrainState, setup: Setup) -> SectionModel:
    """Returns the network of a state, to be applied to tiles and lines as it is now."""
    return SectionModel(
        setup.recipe.network,
        jax.device_get(state.variables),
        setup.data.tiles.size,
        setup.config.train.batch_size,
        tta=False,
    )


def example_images(state: TrainState, setup: Setup) -> dict[str, np.ndarray]:
    """Returns image, label and probability of some validation tiles, see `event_files`."""
    tiles, val = setup.data.scored, setup.data.split["val"]
    chosen = val[event_files.choose(tiles.labels[val])]
    outputs = evaluation.predict_tiles(tiles, chosen, section_model(state, setup))
    return {
        f"tiles/{n}_{tiles.ids[i]}": event_files.side_by_side(
            image, tiles.labels[i, :, :, 0], prob
        )
        for n, (i, image, prob) in enumerate(
            zip(chosen, tiles.shown(chosen), outputs.prob_native), start=1
        )
    }


def learning_rate(recipe: Recipe, state: TrainState, progress: Progress) -> float:
    """Returns the learning rate of an epoch: of its last step, if it changes with the step."""
    if recipe.schedule is None:
        return progress.plateau.learning_rate
    return float(recipe.schedule(jax.device_get(state.step) - 1))


def train_epoch(
    state: TrainState, progress: Progress, setup: Setup
) -> tuple[TrainState, Progress]:
    """Returns state and progress after the rest of an epoch's steps; saves at intervals."""
    start, config, epoch = time.monotonic(), setup.config, progress.epochs + 1
    order = feeds.epoch_order(setup.data.split["train"], config.seed, epoch)
    totals = dict.fromkeys(("loss", "accuracy", "tiles"), 0.0) | progress.totals
    step = progress.step

    def add(means: dict[str, jax.Array], valid: np.ndarray, step: int) -> None:
        progresses.add_means(
            totals, feeds.valid_means(means, valid), valid, epoch, step
        )

    delayed = devices.Delayed(add)

    def so_far() -> Progress:
        delayed.flush()
        seconds = progress.seconds + time.monotonic() - start
        return dataclasses.replace(
            progress, step=step, totals=dict(totals), seconds=seconds
        )

    remaining = len(order) - step * config.train.batch_size
    with console.Bar(f"Epoch {epoch}", remaining, "images") as bar:
        for batch, valid in feeds.calls(setup.feed, order, step):
            state, means = steps.train_call(
                setup.feed, state, batch, valid, setup.recipe
            )
            step += len(valid)
            delayed.put(means, valid, step)
            tiles = totals["tiles"]
            note = f"loss {totals['loss'] / tiles:.4f}" if tiles else ""
            bar.advance(int(valid.sum()), note)
            if setup.pause.due():
                progresses.save(setup.workdir, state, so_far())
                setup.pause.saved()
        return state, so_far()
