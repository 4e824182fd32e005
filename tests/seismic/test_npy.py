import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltjax.seismic import npy
from saltjax.system.errors import InputError


def traces(array):
    return npy.ArrayTraces(lambda: array, "the array")


def test_traces_of_a_section_are_its_columns():
    section = np.arange(6.0).reshape(3, 2)
    found = traces(section)
    assert (found.count, found.samples, found.name) == (2, 3, "the array")
    (line,) = found.lines("inline")
    assert line.tolist() == found.lines("crossline")[0].tolist() == [0, 1]
    np.testing.assert_array_equal(found.read(np.array([1, 0])), [[1, 3, 5], [0, 2, 4]])
    found.write(np.array([1]), np.array([[7, 8, 9]]))
    np.testing.assert_array_equal(section, [[0, 7], [2, 8], [4, 9]])


def test_traces_of_a_volume_are_numbered_along_the_inlines():
    volume = np.arange(12.0).reshape(2, 3, 2)
    found = traces(volume)
    assert (found.count, found.samples) == (6, 2)
    inlines = [line.tolist() for line in found.lines("inline")]
    crosslines = [line.tolist() for line in found.lines("crossline")]
    assert inlines == [[0, 1, 2], [3, 4, 5]]
    assert crosslines == [[0, 3], [1, 4], [2, 5]]
    np.testing.assert_array_equal(found.read(np.array([4, 0])), [[8, 9], [0, 1]])
    found.write(np.array([5]), np.array([[-1, -2]]))
    assert volume[1, 2].tolist() == [-1, -2]


@pytest.mark.parametrize("shape", [(1, 4, 2), (4, 1, 2)])
@pytest.mark.parametrize("direction", ["inline", "crossline"])
def test_volume_of_one_inline_or_crossline_is_one_line(shape, direction):
    (line,) = traces(np.zeros(shape)).lines(direction)
    assert line.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "array",
    [np.zeros(3), np.zeros((2, 0)), np.zeros((2, 2), complex), np.zeros((1, 2, 3, 4))],
    ids=["line", "empty", "complex", "4-D"],
)
def test_array_of_another_shape_or_type_is_refused(array):
    with pytest.raises(InputError, match=r"the array: .*expected"):
        traces(array)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 6)])
def test_npy_file_is_read_and_written_like_an_array(tmp_path, order, shape):
    array = np.random.default_rng(0).normal(0, 50, shape).astype(np.float32)
    np.save(tmp_path / "a.npy", np.asarray(array, order=order))
    new = npy.create(tmp_path / "b.npy", shape, "float32")
    source, memory = npy.read(tmp_path / "a.npy"), traces(array)
    for direction in ("inline", "crossline"):
        for line, expected in zip(source.lines(direction), memory.lines(direction)):
            np.testing.assert_array_equal(source.read(line), memory.read(expected))
            new.write(line, source.read(line))
        np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), array)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\x93NUMPY\x01\x00v\x00{'a'", b"PK"]
)
def test_file_that_is_no_npy_file_is_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npy"):
        npy.read(tmp_path / "a.npy")
    np.savez(tmp_path / "b", x=np.zeros(3))
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    with pytest.raises(InputError, match="cannot read it as"):
        npy.read(tmp_path / "b.npy")


def is_valid(array):
    """Returns whether an array is a section or a volume of real numbers."""
    return array.ndim in (2, 3) and array.dtype.kind in "fiu" and array.itemsize <= 8


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_damaged_npy_file_is_read_as_by_numpy_or_refused(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.getbasetemp() / "fuzzed.npy"
    np.save(path, np.arange(20, dtype=np.float32).reshape(4, 5))
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, 128, rng.integers(1, 4)):
        content[place] = rng.integers(256)
    path.write_bytes(content[: rng.choice([len(content), rng.integers(len(content))])])
    with warnings.catch_warnings(action="ignore"):
        try:
            expected = np.array(np.lib.format.open_memmap(path, mode="r"))
        except Exception:
            expected = np.zeros(0)
        if expected.size and is_valid(expected):
            source = npy.read(path)
            found = source.read(np.arange(source.count))
            expected = expected.T if expected.ndim == 2 else expected
            np.testing.assert_array_equal(found, expected.reshape(found.shape))
        else:
            with pytest.raises(InputError, match=r"fuzzed\.npy: "):
                npy.read(path)


def test_array_of_bytes_with_three_or_four_channels_is_an_image():
    rgba = np.random.default_rng(0).integers(0, 256, (5, 6, 4), np.uint8)
    np.testing.assert_array_equal(traces(rgba[:, :, :3]).image(), rgba[:, :, :3])
    with pytest.raises(InputError, match="transparent pixels"):
        traces(rgba).image()
    rgba[:, :, 3] = 255
    np.testing.assert_array_equal(traces(rgba).image(), rgba[:, :, :3])
    for other in (rgba[:, :, :2], rgba[:, :, 0]):
        assert traces(other).image() is None
    # As matplotlib and others read a colour PNG.
    with pytest.raises(InputError, match=r"traces of 4 samples.* uint8"):
        traces(rgba / np.float32(255)).image()


def test_masked_traces_become_zeros():
    section = np.ma.array(np.arange(1, 7).reshape(3, 2))
    assert npy.without_mask(section, "a") is not section
    section[:, 1] = np.ma.masked
    found = npy.without_mask(section, "a")
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, [[1, 0], [3, 0], [5, 0]])
    volume = np.ma.array(np.ones((2, 3, 5)), mask=False)
    volume[1, 0, 2] = volume[1, 2, :3] = np.ma.masked
    message = r"a: trace 4 \(inline 1, crossline 0\) is masked .*and 1 other trace"
    with pytest.raises(InputError, match=message):
        npy.without_mask(volume, "a")


def test_trace_is_named_by_its_indices():
    def place(shape, number):
        return npy.ArrayTraces(lambda: np.zeros(shape), "a").place(number)

    assert place((9, 4), 2) == "trace 3"
    assert place((3, 5, 2), 11) == "trace 12 (inline 2, crossline 1)"
