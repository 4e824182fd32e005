import re

import numpy as np
import pytest
import segy_writer

from saltjax.data import labels
from saltjax.data.labels import LabelVolume
from saltjax.seismic import grid
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError


def volume(tmp_path, values, salt=(1,), unlabelled=-1):
    """Returns the labels of a volume [1, 1, samples] of these values."""
    path = tmp_path / "labels.npy"
    np.save(path, np.asarray(values).reshape(1, 1, -1))
    return LabelVolume(
        grid.open_grid(path, (189, 193), "x", unlabelled), salt, unlabelled
    )


def read(found):
    return found.read(np.zeros(1, int), np.zeros(1, int))[0].tolist()


@pytest.mark.parametrize("dtype", ["i1", "i4", "f4", "f8"])
def test_values_become_no_salt_salt_and_unlabelled(tmp_path, dtype):
    found = volume(tmp_path, np.array([0, 5, 3, -1, 7, 2], dtype), salt=(5, 7))
    assert read(found) == [0, 1, 0, 255, 1, 0]
    found.check_values()
    assert found.description().split(", ")[:2] == [
        "-1 (unlabelled) 16.67%",
        "0 (no salt) 16.67%",
    ]


def test_values_that_nobody_listed_are_refused(tmp_path):
    found = volume(tmp_path, [0, 1, 255, 255])
    read(found)
    message = r"0 \(no salt\) 25.00%.*, 255 \(unknown\) 50.00%: 255 is neither in data.salt=1 nor data.unlab"
    with pytest.raises(InputError, match=message):
        found.check_values()
    listed = volume(tmp_path, [0, 1, 255, 255], unlabelled=255)
    assert read(listed) == [0, 1, 255, 255]
    listed.check_values()


def test_amplitudes_in_place_of_labels_are_refused_without_a_list_of_them(tmp_path):
    found = volume(tmp_path, np.arange(-50, 950))
    read(found)
    with pytest.raises(InputError) as refused:
        found.check_values()
    assert "1000 different values from -50 to 949" in str(refused.value)
    assert len(str(refused.value)) < 400


def test_salt_that_is_nowhere_is_refused(tmp_path):
    found = volume(tmp_path, [0, 2, 3], salt=(5,))
    read(found)
    with pytest.raises(InputError, match=r"3 \(no salt\) 33.33%: no salt, data.salt=5"):
        found.check_values()


def test_truth_values_are_labels(tmp_path):
    assert read(volume(tmp_path, [True, False])) == [1, 0]


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -1e300, 2**62])
def test_labels_that_are_no_whole_numbers_are_refused(tmp_path, value):
    message = f"labels such as {value:g}, first on inline 0; expected whole"
    with pytest.raises(InputError, match=re.escape(message)):
        read(volume(tmp_path, np.array([0, 1, value])))


def test_labels_without_traces_are_named_so(tmp_path):
    found = volume(tmp_path, [np.nan, np.nan])
    read(found)
    with pytest.raises(InputError, match="holds no traces: no salt"):
        found.check_values()


class Like:
    """The attributes of a grid."""

    name, shape = "a.sgy", (3, 4, 5)
    inlines, crosslines = np.array([10, 12, 14]), np.arange(4)
    axis = SampleAxis("ms", 0, 4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shape": (3, 4, 6)}, "3 × 4 × 5 inlines, .* against 3 × 4 × 6"),
        ({"inlines": np.array([10, 11, 12])}, "inlines 10 to 14 by 2 against 10 to 12"),
        ({"crosslines": np.arange(1, 5)}, "crosslines 0 to 3 against 1 to 4"),
        ({"axis": SampleAxis("ms", 8, 4)}, "samples every 4 ms from 0 ms against .* 8"),
        (
            {"axis": SampleAxis("m", 0, 4)},
            "samples every 4 ms from 0 ms against every 4 m ",
        ),
    ],
)
def test_labels_of_another_volume_are_refused(changed, message):
    found = {key: getattr(Like, key) for key in ("shape", "axis")}
    found["numbers"] = Like.inlines, Like.crosslines
    labels.check_alike(Like(), **found, name="b.sgy")
    for key, value in changed.items():
        if key.endswith("lines"):
            both = dict(zip(("inlines", "crosslines"), found["numbers"])) | {key: value}
            found["numbers"] = tuple(both.values())
        else:
            found[key] = value
    with pytest.raises(InputError, match=f"a.sgy and b.sgy differ: {message}"):
        labels.check_alike(Like(), **found, name="b.sgy")


def test_what_a_format_does_not_know_is_not_compared():
    labels.check_alike(Like(), Like.shape, (None, None), SampleAxis(), "b.npy")
    assert labels.axis_text(SampleAxis()) == "without an interval"


def test_traces_that_are_missing_are_unlabelled(tmp_path):
    array = np.zeros((2, 2, 3), "f4")
    array[0, 1], array[1] = np.nan, 1
    np.save(tmp_path / "labels.npy", array)
    traces = array.reshape(4, 3)
    segy_writer.write(
        tmp_path / "labels.sgy",
        traces[[0, 2, 3]],
        inline=[1, 2, 2],
        crossline=[1, 1, 2],
    )
    for name in ("labels.npy", "labels.sgy"):
        grid_ = grid.open_grid(tmp_path / name, (189, 193), "x")
        found = LabelVolume(grid_, (1,), -1)
        inline, crosslines = np.array([0, 1]), (np.array([0, 0]), np.array([1, 1]))
        read_ = [found.read(inline, crossline).tolist() for crossline in crosslines]
        assert read_ == [[[0] * 3, [1] * 3], [[255] * 3, [1] * 3]]
        assert found.counts == {0: 3, 1: 6}


def test_zarr_may_lack_the_delay_of_its_traces():
    axis, numbers = SampleAxis("ms", 8, 4), (None, None)
    labels.check_alike(Like(), Like.shape, numbers, axis, "b.mdio")
    with pytest.raises(InputError, match="samples every 4 ms from 0 ms against"):
        labels.check_alike(
            Like(), Like.shape, numbers, SampleAxis("ms", 8, 2), "b.mdio"
        )
