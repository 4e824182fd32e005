"""Faults of XLA that compute wrongly or crash, by the versions that pyproject.toml excludes.

A new version of jaxlib is admitted only when these tests and all the others pass with it.
"""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp


def test_reductions_of_products_are_compiled_correctly():
    """jax-ml/jax#39103: jaxlib 0.10.2 returns 1065369600 or 1071645696, by the number of cores."""
    rows = 32769
    x = jnp.zeros((rows, 3)).at[:, 0].set(jnp.arange(rows))
    matrix = jnp.eye(3)
    squares = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))
    assert float(squares(x)[-1]) == 2.0**30  # 32768²


def test_reductions_of_high_rank_do_not_crash():
    """jax-ml/jax#39257 and #40412: a segmentation fault in jaxlib 0.10.2 and 0.11.0."""
    code = (
        "import jax, jax.numpy as jnp\n"
        "ones = jnp.ones((3, 1, 2, 2, 8, 8, 8))\n"
        "total = jax.jit(lambda a, b: jnp.sum(a * b, axis=3))\n"
        "print(float(total(ones, ones).sum()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == 3 * 2 * 2 * 8**3
