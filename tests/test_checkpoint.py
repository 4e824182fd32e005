import jax
import numpy as np

from saltjax import checkpoint

TREE = {
    "params": {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
    "batch_stats": {},
    "step": np.array(7, np.int32),
    "opt_state": (np.ones(2, np.float32), ()),
}
META = {"epoch": 3, "best_loss": 0.25, "history": [{"epoch": 1}]}


def test_what_is_saved_comes_back_to_the_last_bit(tmp_path):
    checkpoint.save(tmp_path / "last", TREE, META)
    tree, meta = checkpoint.restore(
        tmp_path / "last", jax.tree.map(np.zeros_like, TREE)
    )
    assert meta == META
    assert jax.tree.structure(tree) == jax.tree.structure(TREE)
    for found, expected in zip(jax.tree.leaves(tree), jax.tree.leaves(TREE)):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_saving_again_replaces(tmp_path):
    checkpoint.save(tmp_path / "last", TREE, META)
    newer = jax.tree.map(lambda x: np.asarray(x + 1), TREE)
    for epoch in (4, 5):
        checkpoint.save(tmp_path / "last", newer, META | {"epoch": epoch})
    tree, meta = checkpoint.restore(tmp_path / "last", TREE)
    assert meta["epoch"] == 5
    assert tree["step"] == 8


def test_infinity_survives_the_metadata(tmp_path):
    checkpoint.save(tmp_path / "last", TREE, {"best": float("inf")})
    assert checkpoint.restore(tmp_path / "last", TREE)[1] == {"best": float("inf")}
