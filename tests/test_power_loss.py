"""A loss of power, in a model of a disk, at any moment of a write."""

import io
import json

import jax
import numpy as np
import power
import pytest
import written_run
from PIL import Image

from saltjax import predict
from saltjax.runs import checkpoint
from saltjax.system import files, output_directory


def multiple(number):
    """Returns a tree of arrays, another one for each number."""
    kernel = np.arange(12, dtype=np.float32) * np.float32(number)
    return {"params": {"kernel": kernel}, "step": np.array(number, np.int32)}


def test_model_loses_what_was_not_synced(tmp_path, monkeypatch):
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "a").write_text("old")
    with power.Disk(folder, monkeypatch) as disk:
        (folder / ".part").write_text("new")
        (folder / ".part").rename(folder / "a")
        disk.lose_power()
        files.sync(folder / "a")
        files.sync(folder)
    trees = [tree for tree, _ in disk.losses]
    assert trees == [
        {"a": b"old"},  # no name is on the disk
        {"a": b"old", ".part": b""},  # a name is, the content is not
        {"a": b""},  # the new name of the file without content
        {"a": b"new"},
    ]


@pytest.mark.parametrize("name", ["a.json", "new/deep/a.json"])
def test_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch, name):
    (tmp_path / "disk").mkdir()
    path = tmp_path / "disk" / name
    with power.Disk(tmp_path / "disk", monkeypatch) as disk:
        for number in (1, 2):
            files.write_json(path, {"number": number})
            disk.done = number
    assert len(disk.losses) > 6
    for i, (tree, done) in enumerate(disk.losses):
        folder = power.write(tree, tmp_path / str(i))
        found = 0
        if (folder / name).exists():
            found = files.read_json(folder / name)["number"]
        assert (done or 0) <= found <= (done or 0) + 1


@pytest.mark.slow
def test_checkpoint_is_the_old_one_or_the_new_one(tmp_path, monkeypatch, caplog):
    (tmp_path / "disk").mkdir()
    path = tmp_path / "disk/run/checkpoints/last"
    with power.Disk(tmp_path / "disk", monkeypatch) as disk:
        for epoch in (1, 2, 3):
            checkpoint.save(path, multiple(epoch), {"epoch": epoch})
            disk.done = epoch
    assert len(disk.losses) > 20
    found = []
    for i, (tree, done) in enumerate(disk.losses):
        folder = power.write(tree, tmp_path / str(i))
        restored = checkpoint.restore(
            folder / "run/checkpoints/last", multiple(0), repair=True
        )
        epoch = 0
        if restored is not None:
            epoch = restored[1]["epoch"]
            jax.tree.map(np.testing.assert_array_equal, restored[0], multiple(epoch))
        assert (done or 0) <= epoch <= (done or 0) + 1
        found.append((done or 0, epoch))
    # Nothing looked like damage, and both outcomes of a save occurred.
    assert not caplog.records
    assert {(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)} == set(found)


def recorded(folder):
    """Returns the files in the record of a directory."""
    if not (folder / output_directory.RECORD).exists():
        return set()
    lines = (folder / output_directory.RECORD).read_text().splitlines()
    return {json.loads(line)["file"] for line in lines}


@pytest.mark.slow
def test_predictions_with_their_names_are_complete(tmp_path, monkeypatch):
    written_run.write(tmp_path / "run", {"train.cpu_devices": 4})
    (tmp_path / "disk").mkdir()
    (tmp_path / "in").mkdir()
    section = np.random.default_rng(0).normal(size=(12, 10)).astype(np.float32)
    np.save(tmp_path / "in/s.npy", section)
    for name in ("a", "b"):
        Image.new("L", (10, 12), 100).save(tmp_path / f"in/{name}.png")
    out = tmp_path / "disk/out"
    with power.Disk(tmp_path / "disk", monkeypatch) as disk:
        for source, done in (("in/s.npy", "array"), ("in", "images")):
            predict.predict([tmp_path / "run"], str(tmp_path / source), str(out))
            disk.done = done
    final = {
        p.relative_to(out).as_posix(): p.read_bytes()
        for p in out.rglob("*")
        if p.is_file() and p.name != output_directory.RECORD
    }
    images = {f"{kind}/{name}.png" for kind in ("probs", "masks") for name in "ab"}
    assert final.keys() == {"s_prob.npy", "s_mask.npy", "submission.csv", *images}
    assert np.load(io.BytesIO(final["s_prob.npy"])).shape == (12, 10)
    for i, (tree, done) in enumerate(disk.losses):
        folder = power.write(tree, tmp_path / str(i)) / "out"
        there = {name for name in final if (folder / name).exists()}
        assert all((folder / name).read_bytes() == final[name] for name in there)
        if done is not None:
            assert {"s_prob.npy", "s_mask.npy"} <= there
        if "submission.csv" in there:
            assert images <= there
        # The record of images is synced when all of them are written.
        incomplete = set() if "submission.csv" in there else images
        assert there - incomplete <= recorded(folder)
    assert "submission.csv" in there
