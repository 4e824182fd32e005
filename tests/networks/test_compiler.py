"""Faults of XLA that compute wrongly or crash, by the versions that pyproject.toml excludes.

A new version of jaxlib is admitted only when these tests and all the others pass with it.
"""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest


def test_reductions_of_products_are_compiled_correctly():
    """jax-ml/jax#39103: jaxlib 0.10.2 returns 1065369600 or 1071645696, by the number of cores."""
    rows = 32769
    x = jnp.zeros((rows, 3)).at[:, 0].set(jnp.arange(rows))
    matrix = jnp.eye(3)
    squares = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))
    assert float(squares(x)[-1]) == 2.0**30  # 32768²


@pytest.mark.parametrize(
    ("a", "b", "axis"),
    [
        # jax-ml/jax#39257: jaxlib 0.10.2 and 0.11.0, on some processors.
        ((10, 4, 6, 1, 1, 1, 1, 1), (10, 4, 6, 9, 9, 9, 9, 9), 2),
        # jax-ml/jax#40412: jaxlib 0.10.2.
        ((3, 1, 2, 2, 8, 8, 8), (3, 1, 2, 2, 8, 8, 8), 3),
    ],
    ids=["39257", "40412"],
)
def test_reductions_of_products_of_high_rank_end(a, b, axis):
    """They ended in a segmentation fault, or never."""
    code = (
        "import jax, jax.numpy as jnp\n"
        f"product_sum = jax.jit(lambda a, b: jnp.sum(a * b, axis={axis}))\n"
        f"total = product_sum(jnp.ones({a}), jnp.ones({b}))\n"
        "print(float(total.min()), float(total.max()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert [float(x) for x in done.stdout.split()] == [b[axis], b[axis]]
