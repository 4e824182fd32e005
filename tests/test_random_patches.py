"""Patches of a volume as a directory of tiles."""

import subprocess
import sys

import numpy as np
import pytest
import volume_files
from program import ROOT, assert_refused

from benchmarks import random_patches
from saltjax.data import folder, volumes
from saltjax.system.errors import InputError


def start(paths, output):
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.random_patches",
            "--config=configs/unet.py",
            f"--config.data.volume={paths[0]}",
            f"--config.data.labels={paths[1]}",
            "--config.data.tile=8",
            "--config.data.patches=20",
            f"--output={output}",
        ],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_patches_of_all_inlines_become_tiles(tmp_path):
    amplitudes, labels = volume_files.make()
    amplitudes[:, 3] = 1  # no dead trace
    paths = volume_files.write_npy(tmp_path, amplitudes, labels)
    done = start(paths, tmp_path / "tiles")
    assert done.returncode == 0, done.stderr
    tiles = folder.read_folder(str(tmp_path / "tiles"))
    assert tiles.images.shape == (20, 8, 8, 3)
    for name, label in zip(tiles.ids, tiles.labels):
        _, _, line, trace, row = name.split("_")
        at = int(line), slice(int(trace), int(trace) + 8), slice(int(row), int(row) + 8)
        np.testing.assert_array_equal(label[:, :, 0], labels[at].T)
    assert_refused(start(paths, tmp_path / "tiles"), "does not exist yet")


def test_unlabelled_samples_are_refused(tmp_path):
    config = volume_files.config(*volume_files.write_npy(tmp_path))
    patches = volumes.load(config).patches
    with pytest.raises(InputError, match="expected a volume that is labelled everywh"):
        random_patches.write(patches, tmp_path / "tiles")
