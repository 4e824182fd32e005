import os
import pathlib

import numpy as np
import pytest
import segy_writer

from saltjax.seismic import grid
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError

BYTES = (189, 193)


def opened(path, header_bytes=BYTES):
    return grid.open_grid(path, header_bytes, "config.data.volume")


def whole(found):
    """Returns the whole volume of a grid."""
    inline, crossline = np.indices(found.shape[:2])
    return found.read(inline.ravel(), crossline.ravel()).reshape(found.shape)


def test_array_is_read_by_index(tmp_path):
    volume = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("f4")
    np.save(tmp_path / "a.npy", volume)
    found = opened(tmp_path / "a.npy")
    assert (found.shape, found.inlines, found.crosslines) == ((3, 4, 5), None, None)
    assert found.axis == SampleAxis()
    np.testing.assert_array_equal(whole(found), volume)
    np.testing.assert_array_equal(
        found.read(np.array([2, 0]), np.array([1, 3])), volume[[2, 0], [1, 3]]
    )


def test_segy_is_read_by_line_whatever_the_order_of_traces(tmp_path):
    rng = np.random.default_rng(0)
    volume = rng.integers(-9, 9, size=(3, 4, 5))
    inline, crossline = (x.ravel() for x in np.meshgrid([7, 9, 11], [20, 21, 22, 23]))
    kept = rng.permutation(12)[:11]  # one is missing
    i, x = (inline[kept] - 7) // 2, crossline[kept] - 20
    expected = np.zeros_like(volume)
    expected[i, x] = volume[i, x]
    path = tmp_path / "a.sgy"
    segy_writer.write(
        path, volume[i, x], code=3, inline=inline[kept], crossline=crossline[kept]
    )
    found = opened(path)
    assert found.shape == (3, 4, 5)
    assert found.inlines.tolist() == [7, 9, 11]
    assert found.crosslines.tolist() == [20, 21, 22, 23]
    np.testing.assert_array_equal(whole(found), expected)


def test_inline_that_is_missing_is_dead(tmp_path):
    inline, crossline = (x.ravel() for x in np.meshgrid([1, 2, 4, 5], [1, 2, 3]))
    path = tmp_path / "a.sgy"
    segy_writer.write(path, np.ones((12, 6)), inline=inline, crossline=crossline)
    found = opened(path)
    assert found.inlines.tolist() == [1, 2, 3, 4, 5]
    assert whole(found)[:, 0, 0].tolist() == [1, 1, 0, 1, 1]


def test_padding_without_numbers_is_left_out(tmp_path):
    inline, crossline = (x.ravel() for x in np.meshgrid([50, 51, 52], [60, 61, 62]))
    path = tmp_path / "a.sgy"
    segy_writer.write(
        path,
        np.ones((12, 6)),
        inline=[*inline, 0, 0, 0],
        crossline=[*crossline, 0, 0, 0],
    )
    found = opened(path)
    assert found.shape == (3, 3, 6)
    assert (whole(found) == 1).all()


def test_one_trace_at_0_0_is_no_padding(tmp_path):
    inline, crossline = (x.ravel() for x in np.indices((3, 4)))
    path, traces = tmp_path / "a.sgy", np.arange(1, 13)[:, None] * np.ones(6)
    segy_writer.write(path, traces, inline=inline, crossline=crossline)
    assert whole(opened(path))[:, :, 0].ravel().tolist() == list(range(1, 13))


def test_segy_without_numbers_names_the_bytes_that_have_some(tmp_path):
    inline, crossline = (x.ravel() for x in np.meshgrid([5, 6, 7], [20, 21, 22]))
    path = tmp_path / "a.sgy"
    segy_writer.write(path, np.ones((9, 6)), fields={9: inline, 21: crossline})
    message = (
        r"config.data.volume=.*bytes 189 and 193 hold no line numbers .*look like 3 inlines of 3 "
        r"crosslines: give --config.data.header_bytes=9,21.* set --config.data.header_bytes"
    )
    with pytest.raises(InputError, match=message):
        opened(path)
    assert opened(path, (9, 21)).shape == (3, 3, 6)


def test_two_traces_at_one_position_are_refused_naming_the_setting(tmp_path):
    inline, crossline = (x.ravel() for x in np.meshgrid([5, 6, 7], [20, 21, 22]))
    path = tmp_path / "a.sgy"
    inline[1] = inline[0]
    segy_writer.write(path, np.ones((9, 6)), inline=inline, crossline=crossline)
    with pytest.raises(InputError, match=r"others with --config\.data\.header_bytes$"):
        opened(path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.npy", np.zeros((4, 5)), r"shape \(4, 5\); expected a volume"),
        ("a.npy", np.zeros((2, 2, 2), complex), "expected real numbers"),
        ("a.npz", np.zeros((2, 2, 2)), r"expected a volume, a file .sgy"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, name, array, message):
    with (tmp_path / name).open("wb") as file:
        np.save(file, array)
    with pytest.raises(InputError, match=message):
        opened(tmp_path / name)


@pytest.mark.parametrize("name", ["a.sgy", "a.npy", "a.zarr"])
def test_missing_volume_names_setting_and_directory(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    message = f"config.data.volume={name}: no such file in {tmp_path}"
    with pytest.raises(InputError, match=message):
        opened(pathlib.Path(name))


@pytest.mark.parametrize("suffix", [".npy", ".sgy", ".zgy", ".zarr"])
def test_a_pipe_is_not_opened(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    with pytest.raises(InputError, match="neither a file nor a directory"):
        opened(path)
