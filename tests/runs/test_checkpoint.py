import hashlib
import json
import os
import random
import shutil

import jax
import numpy as np
import pytest
from tile_files import flip_a_bit

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


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def write_manifest(path):
    """Writes sha256.json as documented: each file's relative path, and the SHA-256 of its bytes."""
    manifest = {
        file.relative_to(path).as_posix(): sha256(file.read_bytes())
        for file in path.rglob("*")
        if file.is_file() and file.name != "sha256.json"
    }
    (path / "sha256.json").write_text(json.dumps(manifest))
    return manifest


def test_restored_tree_is_bit_identical(tmp_path):
    checkpoint.save(tmp_path / "last", TREE, META)
    tree, meta = checkpoint.restore(
        tmp_path / "last", jax.tree.map(np.zeros_like, TREE)
    )
    assert meta == META
    assert jax.tree.structure(tree) == jax.tree.structure(TREE)
    for found, expected in zip(jax.tree.leaves(tree), jax.tree.leaves(TREE)):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_save_replaces_the_previous_checkpoint(tmp_path):
    checkpoint.save(tmp_path / "last", TREE, META)
    for epoch in (4, 5):
        checkpoint.save(tmp_path / "last", OLDER, META | {"epoch": epoch})
    tree, meta = checkpoint.restore(tmp_path / "last", TREE)
    assert meta["epoch"] == 5
    assert tree["step"] == 6


def test_metadata_may_hold_infinity(tmp_path):
    checkpoint.save(tmp_path / "last", TREE, {"best": float("inf")})
    assert checkpoint.restore(tmp_path / "last", TREE)[1] == {"best": float("inf")}


@pytest.fixture(scope="module")
def two_saves(tmp_path_factory):
    """A directory with a checkpoint `last` and the one before it."""
    folder = tmp_path_factory.mktemp("saves")
    checkpoint.save(folder / "last", OLDER, {"epoch": 1})
    checkpoint.save(folder / "last", TREE, {"epoch": 2})
    return folder


def test_manifest_holds_the_sha256_of_every_file(two_saves, tmp_path):
    shutil.copytree(two_saves / "last", tmp_path / "last")
    saved = json.loads((tmp_path / "last/sha256.json").read_text())
    assert saved == write_manifest(tmp_path / "last")
    assert len(saved) > 5


def test_metadata_hold_the_sha256_of_every_array(two_saves):
    document = json.loads((two_saves / "last/meta/metadata").read_text())
    assert document["meta"] == {"epoch": 2}
    # Of the text of dtype and shape, followed by the bytes.
    expected = {
        f"['params']['layer{i}']['kernel']": sha256(
            b"<f4(3, 50)" + TREE["params"][f"layer{i}"]["kernel"].tobytes()
        )
        for i in range(4)
    }
    expected["['step']"] = sha256(b"<i4()\x05\x00\x00\x00")
    expected["['opt_state'][0]"] = sha256(b"<f4(2,)" + 2 * b"\x00\x00\x80\x3f")
    assert document["checksums"] == expected


def test_checksum_depends_on_values_shape_and_dtype_but_not_on_memory_layout():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    (one,) = checkpoint.checksums([array]).values()
    assert one == sha256(b"<f4(2, 3)" + array.tobytes())
    assert checkpoint.checksums([np.asfortranarray(array)]) == {"[0]": one}
    for other in (array.reshape(3, 2), array.view(np.int32), array + 1, -array):
        assert checkpoint.checksums([other]) != {"[0]": one}


def truncate(path, rng):
    os.truncate(path, rng.randrange(path.stat().st_size))


def remove(path, _):
    path.unlink()


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, remove])
def test_damage_to_any_file_is_detected(two_saves, tmp_path, caplog, damage):
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
        caplog.clear()
        tree, meta = checkpoint.restore(folder / "last", TREE)
        assert meta == {"epoch": 1}
        assert same(tree, OLDER)
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert f"Checkpoint {folder}/last is damaged" in record.message
        # A flipped bit in the manifest makes another file look wrong.
        assert file.name in record.message or file.name == "sha256.json"
        assert (folder / "last.damaged-1").exists()
        assert not (folder / "last").exists()


def test_arrays_other_than_those_saved_are_detected(tmp_path, caplog):
    checkpoint.save(tmp_path / "last", TREE, {"epoch": 1})
    # The arrays of another checkpoint, under a correct manifest: only their checksums differ.
    checkpoint.save(tmp_path / "other", OLDER, {"epoch": 1})
    shutil.rmtree(tmp_path / "last/state")
    shutil.copytree(tmp_path / "other/state", tmp_path / "last/state")
    write_manifest(tmp_path / "last")
    with pytest.raises(InputError, match="no intact checkpoint is left"):
        checkpoint.restore(tmp_path / "last", TREE)
    assert "['opt_state'][0] differs from what was saved" in caplog.text
    # A second attempt finds nothing either: the renamed checkpoint is not used.
    with pytest.raises(InputError, match="no intact checkpoint is left"):
        checkpoint.restore(tmp_path / "last", TREE)


@pytest.mark.parametrize("text", ["[]", "null", "{", "3", "\xff"])
def test_manifest_without_checksums_is_damage(two_saves, tmp_path, caplog, text):
    shutil.copytree(two_saves, tmp_path / "run")
    (tmp_path / "run/last/sha256.json").write_bytes(text.encode("latin-1"))
    _, meta = checkpoint.restore(tmp_path / "run/last", TREE)
    assert meta == {"epoch": 1}
    assert "sha256.json" in caplog.text


def test_save_interrupted_between_its_renames_is_completed(two_saves, tmp_path, caplog):
    shutil.copytree(two_saves, tmp_path / "a")
    (tmp_path / "a/last").rename(tmp_path / "a/last.new")
    tree, meta = checkpoint.restore(tmp_path / "a/last", TREE)
    assert meta == {"epoch": 2}
    assert same(tree, TREE)
    assert not caplog.records
    shutil.copytree(two_saves, tmp_path / "b")
    shutil.rmtree(tmp_path / "b/last")
    tree, meta = checkpoint.restore(tmp_path / "b/last", TREE)
    assert meta == {"epoch": 1}
    assert same(tree, OLDER)
    assert "b/last is missing" in caplog.text


@pytest.mark.parametrize(
    "other",
    [
        {"params": TREE["params"]},
        TREE | {"more": np.zeros(3)},
        jax.tree.map(lambda x: np.zeros((*x.shape, 2)), TREE),
    ],
    ids=["fewer", "more", "shapes"],
)
def test_intact_checkpoint_of_another_model_is_renamed(other, tmp_path, caplog):
    checkpoint.save(tmp_path / "last", TREE, {"epoch": 1})
    checkpoint.save(tmp_path / "last", other, {"epoch": 2})
    tree, meta = checkpoint.restore(tmp_path / "last", TREE)
    assert meta == {"epoch": 1}
    assert same(tree, TREE)
    assert "last is damaged" in caplog.text
    assert (tmp_path / "last.damaged-1").exists()


def test_first_save_without_a_manifest_is_no_checkpoint(two_saves, tmp_path):
    # As after a kill when orbax had finished and the manifest had not: the run starts again.
    shutil.copytree(two_saves / "last", tmp_path / "last.new")
    manifest = tmp_path / "last.new/sha256.json"
    manifest.rename(manifest.with_name("sha256.json.part"))
    assert checkpoint.restore(tmp_path / "last", TREE) is None
    checkpoint.save(tmp_path / "last", TREE, {"epoch": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_restore_best_requires_a_checkpoint(tmp_path):
    with pytest.raises(InputError, match="checkpoints/best is missing"):
        checkpoint.restore_best(tmp_path, TREE)
    checkpoint.save(tmp_path / "checkpoints/best", TREE, {"epoch": 1})
    tree, meta = checkpoint.restore_best(tmp_path, OLDER)
    assert meta == {"epoch": 1}
    assert same(tree, TREE)
