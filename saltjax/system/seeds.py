"""All random generators and keys, one function for each use, derived from `seed` or `data.seed`.

Different uses of one seed must not share a stream, and the stream of a use must not change between
versions: a run that resumes repeats the same random numbers.
"""

from __future__ import annotations

import typing

import numpy as np

if typing.TYPE_CHECKING:
    import jax


def split_rng(seed: int) -> np.random.Generator:
    """Returns the generator for the split into training, validation and test tiles."""
    return np.random.default_rng(seed)


def synthetic_rng(seed: int, chunk: int) -> np.random.Generator:
    """Returns the generator for a chunk of synthetic tiles, numbered from 0."""
    return np.random.default_rng((seed, chunk, 1))


def volume_rng(seed: int, part: int) -> np.random.Generator:
    """Returns the generator for a part of a synthetic volume: 0 its structure, others noise."""
    return np.random.default_rng((seed, part, 4))


def order_rng(seed: int, epoch: int) -> np.random.Generator:
    """Returns the generator for the order of the training tiles in an epoch, numbered from 1."""
    return np.random.default_rng((seed, epoch))


def examples_rng(seed: int) -> np.random.Generator:
    """Returns the generator for the choice of tiles that figures show."""
    return np.random.default_rng((seed, 0, 2))


def bootstrap_rng(seed: int) -> np.random.Generator:
    """Returns the generator for the bootstrap of scores.

    Its stream is that of `split_rng`; another one would change the intervals of earlier runs.
    """
    return np.random.default_rng(seed)


def patches_rng(seed: int) -> np.random.Generator:
    """Returns the generator for the choice of patches from a volume."""
    return np.random.default_rng((seed, 0, 3))


def init_key(seed: int) -> jax.Array:
    """Returns the key for the initial weights."""
    import jax  # not imported above: --mode=check needs no JAX

    return jax.random.key(seed)


def augment_key(seed: np.int32 | jax.Array, step: jax.Array) -> jax.Array:
    """Returns the key for the augmentation of a training step; seed and step int32[]."""
    import jax

    # A number that no step has: another stream than that of dropout.
    key = jax.random.fold_in(jax.random.key(seed), 2**31)
    return jax.random.fold_in(key, step)


def dropout_key(seed: np.int32 | jax.Array, step: jax.Array) -> jax.Array:
    """Returns the key for the dropout of a training step; seed and step int32[]."""
    import jax

    return jax.random.fold_in(jax.random.key(seed), step)
