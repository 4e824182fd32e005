import json
import os
import random
import shutil

import jax
import numpy as np
import pytest
from conftest import flip_a_bit

from saltjax.runs import checkpoint
from saltjax.system.errors import InputError

TREE = {
    "params": {
        f"layer{i}": {"kernel": np.random.default_rng(i).random((3, 50), np.float32)}
        for i in range(4)
    },
    "batch_stats": {},
    "step": np.array(5, np.int32),
    "opt_state": (np.ones(2, np.float32), ()),
}
OLDER = jax.tree.map(lambda x: np.asarray(x + 1), TREE)
META = {"epoch": 3, "best_loss": 0.25, "history": [{"epoch": 1}]}


def same(tree, other):
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), tree, other))


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
    for epoch in (4, 5):
        checkpoint.save(tmp_path / "last", OLDER, META | {"epoch": epoch})
    tree, meta = checkpoint.restore(tmp_path / "last", TREE)
    assert meta["epoch"] == 5
    assert tree["step"] == 6


def test_infinity_survives_the_metadata(tmp_path):
    checkpoint.save(tmp_path / "last", TREE, {"best": float("inf")})
    assert checkpoint.restore(tmp_path / "last", TREE)[1] == {"best": float("inf")}


@pytest.fixture(scope="module")
def two_saves(tmp_path_factory):
    """A folder with a checkpoint `last` and the one before it."""
    folder = tmp_path_factory.mktemp("saves")
    checkpoint.save(folder / "last", OLDER, {"epoch": 1})
    checkpoint.save(folder / "last", TREE, {"epoch": 2})
    return folder


def truncate(path, rng):
    os.truncate(path, rng.randrange(path.stat().st_size))


def remove(path, _):
    path.unlink()


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, remove])
def test_damage_to_any_file_is_noticed(two_saves, tmp_path, capsys, damage):
    rng = random.Random(1)
    files = [
        p.relative_to(two_saves) for p in (two_saves / "last").rglob("*") if p.is_file()
    ]
    assert len(files) > 5
    for i, file in enumerate(files * 3 if damage is flip_a_bit else files):
        if (two_saves / file).stat().st_size == 0 and damage is not remove:
            continue
        folder = tmp_path / str(i)
        shutil.copytree(two_saves, folder)
        damage(folder / file, rng)
        tree, meta = checkpoint.restore(folder / "last", TREE)
        assert meta == {"epoch": 1}
        assert same(tree, OLDER)
        said = capsys.readouterr().out
        assert f"Checkpoint {folder}/last is damaged" in said
        # A flipped bit in the manifest makes another file look wrong.
        assert file.name in said or file.name == checkpoint.MANIFEST
        assert (folder / "last.damaged-1").exists()
        assert not (folder / "last").exists()


def test_leaves_other_than_those_saved_are_noticed(tmp_path, capsys):
    checkpoint.save(tmp_path / "last", TREE, {"epoch": 1})
    # The state of another checkpoint, with the manifest put right: the leaves' checksums tell.
    checkpoint.save(tmp_path / "other", OLDER, {"epoch": 1})
    shutil.rmtree(tmp_path / "last/state")
    shutil.copytree(tmp_path / "other/state", tmp_path / "last/state")
    manifest = checkpoint._file_checksums(tmp_path / "last")
    (tmp_path / "last" / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="no good checkpoint is left"):
        checkpoint.restore(tmp_path / "last", TREE)
    assert "['opt_state'][0] is not as it was saved" in capsys.readouterr().out
    # Nor does a second try take what was set aside, or random weights.
    with pytest.raises(InputError, match="no good checkpoint is left"):
        checkpoint.restore(tmp_path / "last", TREE)


def test_a_save_cut_off_between_its_renames_is_completed(two_saves, tmp_path, capsys):
    shutil.copytree(two_saves, tmp_path / "a")
    (tmp_path / "a/last").rename(tmp_path / "a/last.new")
    tree, meta = checkpoint.restore(tmp_path / "a/last", TREE)
    assert meta == {"epoch": 2}
    assert same(tree, TREE)
    shutil.copytree(two_saves, tmp_path / "b")
    shutil.rmtree(tmp_path / "b/last")
    tree, meta = checkpoint.restore(tmp_path / "b/last", TREE)
    assert meta == {"epoch": 1}
    assert same(tree, OLDER)
    assert "b/last is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "other",
    [
        {"params": TREE["params"]},
        TREE | {"more": np.zeros(3)},
        jax.tree.map(lambda x: np.zeros((*x.shape, 2)), TREE),
    ],
    ids=["fewer", "more", "shapes"],
)
def test_a_whole_checkpoint_of_another_model_is_set_aside(other, tmp_path, capsys):
    checkpoint.save(tmp_path / "last", TREE, {"epoch": 1})
    checkpoint.save(tmp_path / "last", other, {"epoch": 2})
    tree, meta = checkpoint.restore(tmp_path / "last", TREE)
    assert meta == {"epoch": 1}
    assert same(tree, TREE)
    assert "last is damaged" in capsys.readouterr().out


def test_a_first_save_cut_off_before_its_end_is_no_checkpoint(two_saves, tmp_path):
    # As after a kill when orbax was done and the manifest was not: the run begins anew.
    shutil.copytree(two_saves / "last", tmp_path / "last.new")
    manifest = tmp_path / "last.new" / checkpoint.MANIFEST
    manifest.rename(manifest.with_name(f"{checkpoint.MANIFEST}.part"))
    assert checkpoint.restore(tmp_path / "last", TREE) is None
    checkpoint.save(tmp_path / "last", TREE, {"epoch": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
