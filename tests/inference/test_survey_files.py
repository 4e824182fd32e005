"""Predictions of Zarr volumes: in tasks, of which a restarted command does those that are missing."""

import json
import shutil

import numpy as np
import pytest
import segy_writer
import xarray
import zarr_files
from prediction import random_traces

import saltjax
from saltjax import predict
from saltjax.inference import survey_files
from saltjax.inference.survey import Survey
from saltjax.seismic import array_files, zarr_output
from saltjax.system.errors import InputError

SHAPE = (7, 9, 40)
THRESHOLD = 0.5


@pytest.fixture
def volume(tmp_path):
    """Returns a volume with a dead trace, and the Zarr group in.zarr of it, one of whose traces is missing."""
    values, mask = random_traces(*SHAPE), np.ones(SHAPE[:2], bool)
    values[5, 3] = 0
    mask[2, 4] = False
    return values, zarr_files.write_volume(tmp_path / "in.zarr", values, mask=mask)


def run(network, path, out, **flags):
    flags = {"threshold": THRESHOLD} | flags
    predict.predict([network], str(path), str(out), predict.Flags(**flags))


def read(path, name="probability"):
    found = array_files.read(path / name)
    return found.read(np.arange(found.count)).reshape(found.shape)


def counted(monkeypatch):
    """Returns a list that the tasks are added to which are done from now on."""
    done = []
    for name in ("segment", "average", "write_mask"):

        def do(self, task, name=name, before=getattr(Survey, name)):
            done.append((name, task.start))
            before(self, task)

        monkeypatch.setattr(Survey, name, do)
    return done


@pytest.mark.parametrize("direction", ["inline", "crossline", "both"])
def test_probabilities_and_mask(plain, volume, tmp_path, direction):
    values, path = volume
    values[2, 4] = 0
    expected = saltjax.load(plain).predict(values, direction=direction)
    expected[2, 4] = np.nan
    run(plain, path, tmp_path / "out", direction=direction)
    prob = read(tmp_path / "out/in_prob.zarr")
    np.testing.assert_allclose(prob, expected, atol=1e-6)
    assert not prob[5, 3].any()
    mask = read(tmp_path / "out/in_mask.zarr", "mask")
    np.testing.assert_array_equal(mask, prob >= THRESHOLD)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        ".saltjax-files.jsonl",
        "in_prob.zarr",
        "in_mask.zarr",
    }
