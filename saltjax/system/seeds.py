"""Every source of randomness, derived from a config's seed by name.

Different uses of one seed must not share a stream, and a use must not change between versions: a
run that resumes repeats what it did.
"""

from __future__ import annotations

import typing

import numpy as np

if typing.TYPE_CHECKING:
    import jax


def split_rng(seed: int) -> np.random.Generator:
    """Of the split into training, validation and test tiles."""
    return np.random.default_rng(seed)


def synthetic_rng(seed: int, chunk: int) -> np.random.Generator:
    """Of a chunk of synthetic tiles."""
    return np.random.default_rng((seed, chunk, 1))


def order_rng(seed: int, epoch: int) -> np.random.Generator:
    """Of the order of the training tiles in an epoch, from 1."""
    return np.random.default_rng((seed, epoch))


def examples_rng(seed: int) -> np.random.Generator:
    """Of the tiles that figures show."""
    return np.random.default_rng((seed, 0, 2))


def bootstrap_rng(seed: int) -> np.random.Generator:
    """Of the bootstrap of scores; the stream of `split_rng`, kept for the same intervals."""
    return np.random.default_rng(seed)


def init_key(seed: int) -> jax.Array:
    """Of the initial weights."""
    import jax  # which the check of data does without

    return jax.random.key(seed)


def dropout_key(seed: np.int32 | jax.Array, step: jax.Array) -> jax.Array:
    """Of the dropout in a training step; seed and step int32[]."""
    import jax

    return jax.random.fold_in(jax.random.key(seed), step)
