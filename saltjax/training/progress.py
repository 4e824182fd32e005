"""How far a run has come: its schedules and history, saved and restored with the state."""

import dataclasses
import math
import pathlib

import jax
import numpy as np

from saltjax.runs import checkpoint
from saltjax.runs import workdir as run
from saltjax.system import console
from saltjax.system.errors import InputError
from saltjax.training import optimizer, steps


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run knows besides the arrays of `steps.TrainState`; lives in the checkpoint as JSON.

    Attributes:
      plateau: the learning rate and when it is cut.
      early_stopping: when the run ends.
      best_loss, best_epoch: of the best checkpoint.
      history: a row of metrics.csv for each epoch that is done.
      step: steps done of the epoch that is running, 0 between epochs.
      totals: sums of `losses.tile_means` over the tiles of those steps.
      seconds: time that they took.
    """

    plateau: optimizer.Plateau
    early_stopping: optimizer.EarlyStopping
    best_loss: float = math.inf
    best_epoch: int = 0
    history: tuple[dict, ...] = ()
    step: int = 0
    totals: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return len(self.history)


def begin(learning_rate: float) -> Progress:
    """Returns the progress before the first epoch."""
    return Progress(optimizer.Plateau(learning_rate), optimizer.EarlyStopping())


def after_epoch(
    progress: Progress, row: dict, factor: float, patience: int
) -> Progress:
    """Returns the progress with the epoch's row of metrics.csv, its schedules moved on."""
    loss = row["val_loss"]
    better = loss < progress.best_loss
    return Progress(
        progress.plateau.update(loss, factor, patience),
        progress.early_stopping.update(loss),
        loss if better else progress.best_loss,
        row["epoch"] if better else progress.best_epoch,
        (*progress.history, row),
    )


def stopped_early(progress: Progress, patience: int) -> bool:
    """Returns whether the validation loss has been too high for `patience` epochs in a row."""
    return progress.early_stopping.bad_epochs >= patience


def save(workdir: pathlib.Path, state: steps.TrainState, progress: Progress) -> None:
    """Saves `checkpoints/last`, before it `best` if the epoch just done is it, and metrics.csv.

    In that order, a run that is killed in between repeats the epoch and saves the same again.

    Raises:
      InputError: if weights are not finite, or nothing can be written; nothing is replaced then.
    """
    state = jax.device_get(state)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
        raise InputError(
            f"epoch {progress.epochs + 1}, step {progress.step}: weights are not finite; lower "
            "config.optim.learning_rate. What was saved before stays."
        )
    if progress.step == 0 and 0 < progress.best_epoch == progress.epochs:
        meta = {"epoch": progress.best_epoch, "val_loss": progress.best_loss}
        checkpoint.save(workdir / "checkpoints/best", state.variables, meta)
    checkpoint.save(
        workdir / "checkpoints/last", vars(state), dataclasses.asdict(progress)
    )
    run.write_metrics(workdir, progress.history)


def restore(
    workdir: pathlib.Path, state: steps.TrainState, learning_rate: float
) -> tuple[steps.TrainState, Progress]:
    """Returns the (state, progress) to go on from, those of a new run where none was saved.

    If the best checkpoint is damaged, an earlier best one takes its place in the progress.

    Raises:
      InputError: if all checkpoints are damaged, or the best one is missing.
    """
    state = jax.device_get(state)
    last = checkpoint.restore(workdir / "checkpoints/last", vars(state))
    if last is None:
        return state, begin(learning_rate)
    arrays, meta = last
    try:
        progress = Progress(
            **meta
            | {
                "plateau": optimizer.Plateau(**meta["plateau"]),
                "early_stopping": optimizer.EarlyStopping(**meta["early_stopping"]),
                "history": tuple(meta["history"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{workdir / 'checkpoints/last'} was saved by another version ({error}); go on with "
            "that one, or start anew with --overwrite"
        ) from None
    if progress.best_epoch > 0:
        _, best = restore_best(workdir, state.variables)
        if best["epoch"] < progress.best_epoch:
            console.say(
                f"           the best epoch was {progress.best_epoch}; of those left it is "
                f"{best['epoch']}"
            )
            progress = dataclasses.replace(
                progress, best_epoch=best["epoch"], best_loss=best["val_loss"]
            )
    run.write_metrics(workdir, progress.history)
    if progress.epochs or progress.step:
        place = f"epoch {progress.epochs}"
        if progress.step:
            place = f"step {progress.step} of epoch {progress.epochs + 1}"
        console.say(f"Resuming after {place}")
    return steps.TrainState(**arrays), progress


def restore_best(workdir: pathlib.Path, like: dict) -> tuple[dict, dict]:
    """Returns (variables, {"epoch", "val_loss"}) of the best checkpoint.

    `like` are arrays of the variables' structure, shapes and dtypes.

    Raises:
      InputError: if there is none, or no good one.
    """
    path = workdir / "checkpoints/best"
    best = checkpoint.restore(path, like)
    if best is None:
        raise InputError(
            f"the checkpoint {path} is missing; start anew with --overwrite"
        )
    return best
