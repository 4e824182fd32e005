"""The progress of a run: schedules and history, saved and restored with the training state."""

import dataclasses
import math
import pathlib
from typing import Any

import jax
import msgspec
import numpy as np

from saltjax.runs import checkpoint
from saltjax.runs import workdir as run_directory
from saltjax.system import console, files, hosts
from saltjax.system.errors import InputError
from saltjax.training import schedules
from saltjax.training.steps import TrainState

# Dotted keys that were added after version 0.1: a checkpoint of before lacks them, and their
# defaults say what it means.
ADDED: frozenset[str] = frozenset()
# Keys that checkpoints had until version 0.2, and that follow from others.
REMOVED = frozenset({"best_loss"})


@dataclasses.dataclass(frozen=True)
class Progress:
    """The state of a run besides the arrays of `steps.TrainState`; JSON in the checkpoint.

    Attributes:
      plateau: the learning rate and its schedule.
      early_stopping: the count of epochs for early stopping.
      best_epoch: of the best checkpoint, from 1; 0 if there is none.
      history: a row of metrics.csv for each completed epoch.
      step: steps done in the current epoch, 0 between epochs.
      totals: sums of the means of `steps.train_step` over the tiles of those steps.
      seconds: duration of those steps, in seconds.
    """

    plateau: schedules.Plateau
    early_stopping: schedules.EarlyStopping
    best_epoch: int = 0
    history: tuple[dict, ...] = ()
    step: int = 0
    totals: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """Completed epochs."""
        return len(self.history)

    def stopped_early(self, patience: int) -> bool:
        """Returns whether the validation loss was above the best for `patience` epochs in a row.

        A patience of 0 never stops.
        """
        return 0 < patience <= self.early_stopping.bad_epochs


def begin(learning_rate: float) -> Progress:
    """Returns the progress before the first epoch."""
    return Progress(schedules.Plateau(learning_rate), schedules.EarlyStopping())


def of_first_host(progress: Progress) -> Progress:
    """Returns the progress that process 0 of a training has; see `hosts`."""
    tree = hosts.from_first(lambda: dataclasses.asdict(progress))
    return msgspec.convert(tree, Progress)


def after_epoch(
    progress: Progress, row: dict[str, Any], factor: float, patience: int, select: str
) -> Progress:
    """Returns the progress after an epoch.

    Args:
      progress: the one before it.
      row: the epoch's row of metrics.csv.
      factor, patience: see `schedules.Plateau`.
      select: what makes an epoch the best, see `is_better`.
    """
    loss, best = row["val_loss"], None
    if progress.best_epoch > 0:
        best = progress.history[progress.best_epoch - 1]
    return Progress(
        progress.plateau.update(loss, factor, patience),
        progress.early_stopping.update(loss),
        row["epoch"] if is_better(row, best, select) else progress.best_epoch,
        (*progress.history, row),
    )


def is_better(row: dict[str, Any], best: dict[str, Any] | None, select: str) -> bool:
    """Returns whether an epoch is better than the best one before, which may be none.

    Args:
      row, best: rows of metrics.csv.
      select: "val_loss", the lowest; "kaggle_map", the highest; "last", every epoch.
    """
    if select == "last":
        return True
    if select == "kaggle_map":
        return best is None or row["val_kaggle_map"] > best["val_kaggle_map"]
    return row["val_loss"] < (math.inf if best is None else best["val_loss"])


def save(workdir: pathlib.Path, state: TrainState, progress: Progress) -> None:
    """Saves `checkpoints/best` if the epoch is the best, then `checkpoints/last` and metrics.csv.

    With this order a run that is killed in between repeats the epoch and saves the same again.

    Raises:
      InputError: if weights are not finite or a file cannot be written; the previous checkpoint is
        kept then.
    """
    state = jax.device_get(state)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
        raise InputError(
            f"epoch {progress.epochs + 1}, step {progress.step}: weights are not finite; lower "
            "config.optim.learning_rate. What was saved before is kept."
        )
    if progress.step == 0 and 0 < progress.best_epoch == progress.epochs:
        _save_best(workdir, state, progress)
    last = workdir / "checkpoints/last"
    checkpoint.save(last, _saved(state), dataclasses.asdict(progress))
    run_directory.write_metrics(workdir, progress.history)


def _save_best(workdir: pathlib.Path, state: TrainState, progress: Progress) -> None:
    """Saves `checkpoints/best`: the weights after the last completed epoch."""
    val_loss = progress.history[-1]["val_loss"]
    meta = {"epoch": progress.best_epoch, "val_loss": val_loss}
    checkpoint.save(workdir / "checkpoints/best", state.variables, meta)


def _saved(state: TrainState) -> dict[str, Any]:
    """Returns what is saved of a state: all but the learning rate, and no averages if none are kept.

    The rate follows from Progress or the step; without averages checkpoints are as they were before
    there were any.
    """
    saved = vars(state) | {"opt_state": state.opt_state.inner_state}
    if not state.averages:
        del saved["averages"]
    return saved


def restore(
    workdir: pathlib.Path, state: TrainState, learning_rate: float, epochs: int
) -> tuple[TrainState, Progress]:
    """Returns the (state, progress) to resume from, those of a new run if none was saved.

    A damaged checkpoint is set aside. If it is the best, it is saved again where the last one holds
    the same weights; elsewhere the previous best one takes its place in the progress.

    Args:
      workdir: the run directory.
      state: the initial state of the run.
      learning_rate: of a new run.
      epochs: after which the run is to end, see `check_epochs`.

    Raises:
      InputError: if no checkpoint is intact, the best one is missing, another version saved it, or
        more epochs are done.
    """
    state = jax.device_get(state)
    last = checkpoint.restore(workdir / "checkpoints/last", _saved(state), repair=True)
    if last is None:
        return state, begin(learning_rate)
    arrays, meta = last
    progress = _from_json(workdir / "checkpoints/last", meta)
    begun = progress.epochs + (progress.step > 0)
    inner, count = arrays.pop("opt_state"), np.asarray(arrays["step"])
    opt_state = state.opt_state._replace(inner_state=inner, count=count)
    restored = dataclasses.replace(state, opt_state=opt_state, **arrays)
    if progress.best_epoch > 0:
        _, best = checkpoint.restore_best(workdir, state.variables, repair=True)
        if best["epoch"] < progress.best_epoch == progress.epochs and not progress.step:
            console.say(
                f"           epoch {progress.epochs}, the best one, is also the last: saved again"
            )
            _save_best(workdir, restored, progress)
        elif best["epoch"] < progress.best_epoch:
            console.say(
                f"           the best epoch was {progress.best_epoch}; of the remaining "
                f"checkpoints it is {best['epoch']}"
            )
            progress = dataclasses.replace(progress, best_epoch=best["epoch"])
        begun = max(begun, best["epoch"])  # which is saved before the last
    check_epochs(begun, epochs)
    if progress.epochs or progress.step:
        place = f"epoch {progress.epochs}"
        if progress.step:
            place = f"step {progress.step} of epoch {progress.epochs + 1}"
        console.say(f"Resuming after {place}")
    return restored, progress


def _from_json(path: pathlib.Path, meta: Any) -> Progress:
    """Returns the progress of a checkpoint's metadata; see `restore`."""
    try:
        progress = msgspec.convert(meta, Progress)
        known = dataclasses.asdict(progress)
        lacking = set(files.unknown_keys(known, meta)) - ADDED
        if lacking:
            raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
        unknown = set(files.unknown_keys(meta, known)) - REMOVED
        if unknown:
            raise ValueError(f"a newer one, it has {', '.join(sorted(unknown))}")
    except ValueError as error:
        raise InputError(
            f"{path} was saved by another version ({error}); continue with that version, or start "
            "again with --overwrite"
        ) from None
    return progress


def check_epochs(begun: int, epochs: int) -> None:
    """Checks that a run of which so many epochs have begun may end after `epochs`.

    Nothing in an epoch depends on how many follow, so that a run may end after any number of epochs
    that it has not exceeded, and equals a run of that number from the start; but for the schedule
    "cosine", whose runs keep their number of epochs.

    Raises:
      InputError: if more have begun.
    """
    if epochs < begun:
        raise InputError(
            f"epoch {begun} of the run has begun; expected at least as many, not "
            f"config.train.epochs={epochs}: choose another --workdir, or start again with "
            "--overwrite"
        )


def add_means(
    totals: dict[str, float],
    means: dict[str, np.ndarray],
    valid: np.ndarray,
    epoch: int,
    step: int,
) -> None:
    """Adds the means of a call to the epoch's totals over tiles.

    Args:
      totals: sums of `loss`, `accuracy` and others, and the number of `tiles`; changed.
      means: float64[n] of the valid tiles.
      valid: bool[K, B], of the K steps of the call.
      epoch, step: of the last of these steps.

    Raises:
      InputError: if a loss is not finite.
    """
    steps_of = np.nonzero(valid)[0] + step + 1 - len(valid)
    for i, loss in zip(steps_of, means["loss"]):
        check_finite(loss, f"epoch {epoch}, step {i}: the training loss")
    for key, values in means.items():
        totals[key] = totals.get(key, 0.0) + float(values.sum())
    totals["tiles"] += len(means["loss"])


def check_finite(loss: float, what: str) -> None:
    """Raises InputError if the loss is not finite, before such a state is saved."""
    if not math.isfinite(loss):
        raise InputError(
            f"{what} is {loss}; lower config.optim.learning_rate. What was saved before is kept."
        )
