import subprocess
import sys

import numpy as np
import pytest
import segyio
from program import ROOT, assert_refused

from saltjax.data import synthetic_files, synthetic_volume
from saltjax.runs import settings
from saltjax.seismic import grid
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError

SHAPE = (9, 10, 12)


def read(path):
    """Returns all samples of a file, and the grid that reads it."""
    opened = grid.open_grid(path, (189, 193), "path")
    i, x = (index.ravel() for index in np.indices(SHAPE[:2]))
    return opened.read(i, x).reshape(SHAPE), opened


@pytest.mark.parametrize("suffix", [".sgy", ".segy", ".npy", ".zarr"])
def test_every_format_holds_the_same(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(synthetic_volume, "BLOCK_SAMPLES", 1)  # four inlines at a time
    volume, labels = tmp_path / f"new/volume{suffix}", tmp_path / f"labels{suffix}"
    share = synthetic_files.write(volume, labels, SHAPE, seed=3)
    expected = synthetic_volume.make_lines(SHAPE, 3, 0, SHAPE[0])
    assert share == expected[1].mean()
    for path, array in zip((volume, labels), expected):
        found, opened = read(path)
        np.testing.assert_array_equal(found, array)
        if suffix != ".npy":
            assert opened.inlines.tolist() == list(range(1000, 1009))
            assert opened.crosslines.tolist() == list(range(2000, 2010))
            assert opened.axis == SampleAxis("ms", 0.0, 4.0)
    assert {path.name for path in tmp_path.iterdir()} == {"new", labels.name}


def test_segy_has_headers_that_other_programs_read(tmp_path):
    volume, labels = tmp_path / "volume.sgy", tmp_path / "labels.sgy"
    synthetic_files.write(volume, labels, SHAPE, seed=0)
    for path, code in ((volume, 5), (labels, 8)):
        with segyio.open(path) as file:  # strict: it finds the geometry
            assert int(file.format) == code
            assert (len(file.ilines), len(file.xlines)) == SHAPE[:2]
            assert file.samples.tolist() == [4.0 * i for i in range(12)]
            assert file.bin[segyio.BinField.Interval] == 4000
            assert (file.attributes(117)[:] == 4000).all()
            assert file.bin[segyio.BinField.SEGYRevision] == 1
            text = segyio.tools.wrap(file.text[0]).splitlines()
            assert len(text) == 40
            assert text[1].startswith("C 2 INLINE NUMBERS IN BYTES 189-192")
            x, y = (file.attributes(byte)[:].reshape(SHAPE[:2]) for byte in (181, 185))
            assert (file.attributes(71)[:] == -10).all()
    place = (x + 1j * y) / 10
    inline, crossline = (np.diff(place, axis=axis).ravel() for axis in (1, 0))
    np.testing.assert_allclose(np.abs(inline), 25, atol=0.15)
    np.testing.assert_allclose(np.abs(crossline), 25, atol=0.15)
    # At right angles.
    np.testing.assert_allclose((inline.mean() / crossline.mean()).real, 0, atol=0.01)


def test_files_that_are_there_are_not_replaced(tmp_path):
    (tmp_path / "a.npy").write_text("mine")
    for names, words in (
        (("a.npy", "b.npy"), r"--volume=.*a\.npy: there is such a file"),
        (("b.npy", "a.npy"), r"--labels=.*a\.npy: there is such a file"),
        (("b.npy", "b.npy"), "are both"),
        (("b.png", "c.npy"), r"--volume=.*b\.png: expected .*\.sgy"),
        (("b.npy", "c"), r"--labels=.*c: expected .*\.zarr"),
    ):
        with pytest.raises(InputError, match=words):
            synthetic_files.write(*(tmp_path / name for name in names), SHAPE, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert (tmp_path / "a.npy").read_text() == "mine"


@pytest.mark.parametrize("suffix", [".sgy", ".npy", ".zarr"])
def test_no_file_is_left_incomplete(tmp_path, suffix, monkeypatch):
    def blocks(shape, seed):
        yield synthetic_volume.make_lines(shape, seed, 0, 4)
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic_volume, "blocks", blocks)
    paths = (tmp_path / f"{name}{suffix}" for name in ("volume", "labels"))
    with pytest.raises(KeyboardInterrupt):
        synthetic_files.write(*paths, SHAPE, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "8,8", "8,8,8,8", "7,8,8", "8,8,a", "8,-8,8"])
def test_other_shapes_are_refused(text):
    with pytest.raises(
        InputError, match=f"--shape={text}: expected .*three whole numbers"
    ):
        synthetic_files.parse_shape(text)


def test_tiles_are_those_of_the_settings():
    assert settings.defaults()["data.tile"] == synthetic_files.TILE
    assert settings.RANGES["data.tile"][0] == synthetic_files.SMALLEST_TILE


def start(*args, cwd):
    command = [sys.executable, "-m", "saltjax.data.synthetic", *args]
    return subprocess.run(
        command, check=False, cwd=cwd, capture_output=True, text=True, timeout=240
    )


@pytest.mark.slow
def test_the_command_writes_a_volume_and_says_how_to_look_at_it(tmp_path):
    args = "--volume=salt.sgy", "--labels=labels.npy", "--shape=9,10,12", "--seed=3"
    done = start(*args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "salt.sgy: 9 × 10 × 12" in done.stdout
    next_line = done.stdout.splitlines()[-1]
    names = "--config.data.volume=salt.sgy --config.data.labels=labels.npy"
    assert f"{names} --config.data.tile=8 --mode=check" in next_line
    expected = synthetic_volume.make_lines(SHAPE, 3, 0, SHAPE[0])
    np.testing.assert_array_equal(read(tmp_path / "salt.sgy")[0], expected[0])
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), expected[1])
    assert_refused(start(*args, cwd=tmp_path), "salt.sgy: there is such a file")
    assert_refused(start("--volume=a.npy", cwd=tmp_path), "--labels=")
    assert_refused(start(*args, "--config=quickstart", cwd=ROOT), "--config")
