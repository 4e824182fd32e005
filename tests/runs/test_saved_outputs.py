import random

import numpy as np
import pytest
from tile_files import flip_a_bit

from saltjax.data.tiles import UNLABELLED
from saltjax.runs import saved_outputs
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.system.errors import InputError


def make():
    rng = np.random.default_rng(0)
    return SavedOutputs(
        ids=["a", "tile b", "ç"],
        # Every value of 16 bits.
        prob=np.arange(65536).astype(np.uint16).reshape(1, 256, 256).repeat(3, 0),
        labels=rng.integers(0, 2, (3, 256, 256), dtype=np.uint8),
        units=np.array([4, 4, 9]),
    )


def test_outputs_are_read_as_they_were_written(tmp_path):
    outputs = make()
    saved_outputs.write(tmp_path, outputs)
    found = saved_outputs.read(tmp_path)
    assert found.ids == outputs.ids
    for name in ("prob", "labels", "units"):
        array = getattr(found, name)
        assert array.dtype == getattr(outputs, name).dtype
        np.testing.assert_array_equal(array, getattr(outputs, name))
    # The documented arrays, for other programs.
    with np.load(tmp_path / "test_outputs.npz") as file:
        assert set(file) == {"ids", "probabilities", "labels", "units"}
        assert file["probabilities"].dtype == np.uint16
        assert file["probabilities"][0].ravel().tolist() == list(range(65536))


def test_run_without_outputs(tmp_path):
    assert saved_outputs.read(tmp_path) is None


def test_damaged_outputs_are_refused(tmp_path):
    saved_outputs.write(tmp_path, make())
    path = tmp_path / "test_outputs.npz"
    intact = path.read_bytes()
    errors = []
    for seed in range(40):
        path.write_bytes(intact)
        flip_a_bit(path, random.Random(seed))
        try:
            saved_outputs.read(tmp_path)
        except InputError as error:
            errors.append(str(error))
    # Nearly all bits are in compressed arrays, which have checksums.
    assert len(errors) > 30
    assert all(error.startswith(f"{path}: damaged") for error in errors)
    assert all("delete it and result.json" in error for error in errors)
    path.write_bytes(intact[: len(intact) // 2])
    with pytest.raises(InputError, match="damaged"):
        saved_outputs.read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"ids": np.array(["a", "b"])},
        {"ids": np.arange(3)},
        {"probabilities": np.zeros((3, 4, 4), np.float32)},
        {"probabilities": np.zeros((3, 4, 5), np.uint16)},
        {"labels": np.zeros((2, 4, 4), np.uint8)},
        {"units": np.zeros(2, int)},
        {"labels": np.full((3, 4, 4), 2, np.uint8)},
        {
            "probabilities": np.zeros((3, 0, 4), np.uint16),
            "labels": np.zeros((3, 0, 4), np.uint8),
        },
        {
            "ids": np.array([], np.str_),
            "probabilities": np.zeros((0, 4, 4), np.uint16),
            "labels": np.zeros((0, 4, 4), np.uint8),
            "units": np.arange(0),
        },
    ],
    ids=str,
)
def test_other_arrays_are_refused(tmp_path, change):
    arrays = {
        "ids": np.array(["a", "b", "c"]),
        "probabilities": np.zeros((3, 4, 4), np.uint16),
        "labels": np.zeros((3, 4, 4), np.uint8),
        "units": np.arange(3),
    }
    np.savez(tmp_path / "test_outputs.npz", **arrays)
    assert saved_outputs.read(tmp_path).ids == ["a", "b", "c"]
    np.savez(tmp_path / "test_outputs.npz", **arrays | change)
    with pytest.raises(InputError, match="damaged"):
        saved_outputs.read(tmp_path)


def test_labels_may_be_unlabelled(tmp_path):
    outputs = make()
    outputs.labels[1, :7] = UNLABELLED
    saved_outputs.write(tmp_path, outputs)
    np.testing.assert_array_equal(saved_outputs.read(tmp_path).labels, outputs.labels)
    outputs.labels[1, 0, 0] = 254
    saved_outputs.write(tmp_path, outputs)
    with pytest.raises(InputError, match="label 254; expected 0, 1 and 255"):
        saved_outputs.read(tmp_path)
