"""Schedules: the learning rate on a plateau of the validation loss or by a cosine; early stopping."""

import dataclasses
import functools
import math

import optax

# PyTorch's defaults of ReduceLROnPlateau: `threshold`, relative, and `eps`, the minimum change.
PLATEAU_THRESHOLD = 1e-4
PLATEAU_EPS = 1e-8


@dataclasses.dataclass(frozen=True)
class Plateau:
    """State of PyTorch's ReduceLROnPlateau with `factor`, `patience` and otherwise its defaults.

    Attributes:
      learning_rate: of the next epoch.
      best: the lowest validation loss, as far as it fell by more than the relative threshold.
      bad_epochs: epochs since then.
    """

    learning_rate: float
    best: float = math.inf
    bad_epochs: int = 0

    def update(self, val_loss: float, factor: float, patience: int) -> "Plateau":
        """Returns the state after an epoch.

        Args:
          val_loss: of the epoch.
          factor: what the rate is multiplied by.
          patience: bad epochs that are tolerated; one more reduces the rate.
        """
        if val_loss < self.best * (1 - PLATEAU_THRESHOLD):
            return Plateau(self.learning_rate, best=val_loss)
        if self.bad_epochs < patience:
            return dataclasses.replace(self, bad_epochs=self.bad_epochs + 1)
        reduced = self.learning_rate * factor
        if self.learning_rate - reduced <= PLATEAU_EPS:
            reduced = self.learning_rate
        return Plateau(reduced, self.best)


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """State of early stopping: counts epochs in a row with a validation loss above the best."""

    best: float = math.inf
    bad_epochs: int = 0

    def update(self, val_loss: float) -> "EarlyStopping":
        """Returns the state after an epoch; a loss equal to the best resets the count."""
        if val_loss > self.best:
            return EarlyStopping(self.best, self.bad_epochs + 1)
        return EarlyStopping(val_loss)


@functools.cache
def cosine(learning_rate: float, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Returns the learning rate of each step, from 0: linear warm-up, then half a cosine to 0.

    The warm-up is that of Goyal et al. 2017, the cosine that of Loshchilov & Hutter 2017 without
    restarts. The rate is `learning_rate` at step `warmup_steps`, and would be 0 at step `total_steps`.
    The same arguments return the same object, so that jitted steps, to which it is static, are
    compiled once.
    """
    return optax.schedules.warmup_cosine_decay_schedule(
        # Not 0, with which the first step would change nothing.
        learning_rate / max(warmup_steps, 1),
        learning_rate,
        warmup_steps,
        total_steps,
    )
