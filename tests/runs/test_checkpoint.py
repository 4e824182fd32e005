import hashlib
import json
import os
import random
import resource
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


def test_checkpoint_of_version_0_1_is_restored(two_saves, tmp_path):
    """Its metadata hold a checksum of every array too."""
    shutil.copytree(two_saves / "last", tmp_path / "last")
    metadata = tmp_path / "last/meta/metadata"
    document = json.loads(metadata.read_text())
    assert document == {"meta": {"epoch": 2}}
    checksums = {"['step']": sha256(b"<i4()\x05\x00\x00\x00")}
    metadata.write_text(json.dumps(document | {"checksums": checksums}))
    write_manifest(tmp_path / "last")
    tree, meta = checkpoint.restore(tmp_path / "last", TREE)
    assert meta == {"epoch": 2}
    assert same(tree, TREE)


def content(folder):
    """Returns everything in a directory: files with their content, directories, links."""
    return {
        path.relative_to(folder): os.readlink(path)
        if path.is_symlink()
        else path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


def truncate(path, rng):
    os.truncate(path, rng.randrange(path.stat().st_size))


def remove(path, _):
    path.unlink()


@pytest.mark.parametrize("repair", [True, False])
@pytest.mark.parametrize("damage", [flip_a_bit, truncate, remove])
def test_damage_to_any_file_is_detected(two_saves, tmp_path, caplog, damage, repair):
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
        before = content(folder)
        caplog.clear()
        tree, meta = checkpoint.restore(folder / "last", TREE, repair)
        assert meta == {"epoch": 1}
        assert same(tree, OLDER)
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert f"Checkpoint {folder}/last is damaged" in record.message
        # A flipped bit in the manifest makes another file look wrong.
        assert file.name in record.message or file.name == "sha256.json"
        if repair:
            assert "renamed to" in record.message
            assert (folder / "last.damaged-1").exists()
            assert not (folder / "last").exists()
        else:
            assert content(folder) == before


def make_a_directory(path):
    path.unlink()
    path.mkdir()


def make_a_loop(path):
    path.unlink()
    path.symlink_to(path)


def forbid(path):
    path.chmod(0)


@pytest.mark.parametrize("repair", [True, False])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (make_a_directory, "Is a directory"),
        (make_a_loop, "Too many levels of symbolic links"),
        pytest.param(
            forbid,
            "Permission denied",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read it"),
        ),
    ],
)
@pytest.mark.parametrize("name", ["sha256.json", "meta/metadata"])
def test_file_that_cannot_be_read_is_no_damage(
    two_saves, tmp_path, caplog, name, fault, reason, repair
):
    shutil.copytree(two_saves, tmp_path / "run")
    last = tmp_path / "run/last"
    kept = (last / name).read_bytes()
    fault(last / name)
    with pytest.raises(InputError, match=f"cannot read {last / name}: {reason}"):
        checkpoint.restore(last, TREE, repair)
    assert not caplog.records
    assert {path.name for path in last.parent.iterdir()} == {"last", "last.old"}
    # When the fault is over, all is well.
    (last / name).rmdir() if (last / name).is_dir() else (last / name).unlink()
    (last / name).write_bytes(kept)
    assert checkpoint.restore(last, TREE, repair)[1] == {"epoch": 2}


@pytest.mark.parametrize("repair", [True, False])
def test_too_many_open_files_are_no_damage(two_saves, tmp_path, caplog, repair):
    shutil.copytree(two_saves, tmp_path / "run")
    before = content(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(InputError, match=r"cannot read .*: Too many open files"):
            checkpoint.restore(tmp_path / "run/last", TREE, repair)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not caplog.records
    assert content(tmp_path) == before


def test_error_of_tensorstore_that_the_system_caused_is_no_damage(
    two_saves, tmp_path, monkeypatch
):
    shutil.copytree(two_saves, tmp_path / "run")
    before = content(tmp_path)

    def restore(*_):
        raise ValueError("NOT_FOUND: Error reading 'd/1': ... [os_error_code='116']")

    monkeypatch.setattr(checkpoint.ocp.Checkpointer, "restore", restore)
    for repair in (True, False):
        with pytest.raises(InputError, match=r"cannot read .*: Stale file handle"):
            checkpoint.restore(tmp_path / "run/last", TREE, repair)
    assert content(tmp_path) == before


def test_files_that_others_add_do_not_matter(two_saves, tmp_path, caplog):
    shutil.copytree(two_saves, tmp_path / "run")
    (tmp_path / "run/last/.DS_Store").write_text("")
    (tmp_path / "run/last/state/Thumbs.db").write_text("")
    _, meta = checkpoint.restore(tmp_path / "run/last", TREE)
    assert meta == {"epoch": 2}
    assert not caplog.records


def test_array_file_of_another_checkpoint_is_damage_for_good(tmp_path, caplog):
    checkpoint.save(tmp_path / "last", TREE, {"epoch": 1})
    checkpoint.save(tmp_path / "other", OLDER, {"epoch": 1})
    shutil.rmtree(tmp_path / "last/state")
    shutil.copytree(tmp_path / "other/state", tmp_path / "last/state")
    with pytest.raises(InputError, match=r"no intact checkpoint is left .*last "):
        checkpoint.restore(tmp_path / "last", TREE)
    assert (tmp_path / "last").exists()
    # A second attempt of the trainer finds nothing either: the renamed one is not used.
    for _ in range(2):
        with pytest.raises(InputError, match="no intact checkpoint is left"):
            checkpoint.restore(tmp_path / "last", TREE, repair=True)
    assert (tmp_path / "last.damaged-1").exists()


@pytest.mark.parametrize("text", ["[]", "null", "{", "3", "\xff"])
def test_manifest_without_checksums_is_damage(two_saves, tmp_path, caplog, text):
    shutil.copytree(two_saves, tmp_path / "run")
    (tmp_path / "run/last/sha256.json").write_bytes(text.encode("latin-1"))
    _, meta = checkpoint.restore(tmp_path / "run/last", TREE)
    assert meta == {"epoch": 1}
    assert "sha256.json" in caplog.text


@pytest.mark.parametrize("repair", [True, False])
def test_save_interrupted_between_its_renames_is_complete(
    two_saves, tmp_path, caplog, repair
):
    shutil.copytree(two_saves, tmp_path / "a")
    (tmp_path / "a/last").rename(tmp_path / "a/last.new")
    tree, meta = checkpoint.restore(tmp_path / "a/last", TREE, repair)
    assert meta == {"epoch": 2}
    assert same(tree, TREE)
    assert not caplog.records
    # Readers leave it to the trainer to complete the save.
    assert (tmp_path / "a/last").exists() == repair
    assert (tmp_path / "a/last.new").exists() != repair
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
@pytest.mark.parametrize("repair", [True, False])
def test_intact_checkpoint_of_another_model_is_kept(other, repair, tmp_path, caplog):
    checkpoint.save(tmp_path / "last", TREE, {"epoch": 1})
    checkpoint.save(tmp_path / "last", other, {"epoch": 2})
    before = content(tmp_path)
    with pytest.raises(InputError, match="last is intact, but its arrays are not"):
        checkpoint.restore(tmp_path / "last", TREE, repair)
    assert not caplog.records
    assert content(tmp_path) == before


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
