"""Adam with decoupled weight decay, the plateau schedule and early stopping."""

import dataclasses
import math

import jax
import optax

# PyTorch's defaults of ReduceLROnPlateau: `threshold`, relative, and `eps`, the least change.
PLATEAU_THRESHOLD = 1e-4
PLATEAU_EPS = 1e-8


def adamw(weight_decay: float) -> optax.GradientTransformation:
    """Returns AdamW (Loshchilov & Hutter 2019) for a learning rate of 1, on kernels only.

    The step multiplies the updates by the learning rate, which changes between epochs.
    """
    return optax.adamw(1.0, weight_decay=weight_decay, mask=decay_mask)


def decay_mask(params):
    """Returns a pytree of bools: true for kernels, false for biases and norm scales."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


@dataclasses.dataclass(frozen=True)
class Plateau:
    """State of PyTorch's ReduceLROnPlateau(mode="min", factor, patience), other defaults."""

    learning_rate: float
    best: float = math.inf
    bad_epochs: int = 0

    def update(self, val_loss: float, factor: float, patience: int) -> "Plateau":
        """Returns the state after an epoch; the rate is cut when bad epochs exceed `patience`."""
        if val_loss < self.best * (1 - PLATEAU_THRESHOLD):
            return Plateau(self.learning_rate, best=val_loss)
        if self.bad_epochs < patience:
            return dataclasses.replace(self, bad_epochs=self.bad_epochs + 1)
        cut = self.learning_rate * factor
        if self.learning_rate - cut <= PLATEAU_EPS:
            cut = self.learning_rate
        return Plateau(cut, self.best)


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """State of the study's early stopping: counts epochs whose loss is greater than the best."""

    best: float = math.inf
    bad_epochs: int = 0

    def update(self, val_loss: float) -> "EarlyStopping":
        """Returns the state after an epoch; a loss equal to the best resets the count."""
        if val_loss > self.best:
            return EarlyStopping(self.best, self.bad_epochs + 1)
        return EarlyStopping(val_loss)
