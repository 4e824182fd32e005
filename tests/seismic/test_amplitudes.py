import numpy as np
import pytest

from saltjax.seismic import amplitudes
from saltjax.system.errors import InputError


def test_ranges_by_hand():
    traces = np.array([[0, 0, 0], [-3, 1, 2], [4, 0, 1]], np.float32)
    found = amplitudes.estimate(traces, "clip")
    assert found.low == -found.high
    # Of 0, 1, 1, 2, 3, 4: 99 % of the way from first to last.
    assert found.high == pytest.approx(3.95)
    assert amplitudes.estimate(traces, "minmax") == amplitudes.Range(-3, 4)
    assert amplitudes.estimate(traces, "none") == amplitudes.Range(0, 1)
    spike = np.zeros((2, 500), np.float32)
    spike[0, 3] = 7
    assert amplitudes.estimate(spike, "clip") == amplitudes.Range(-7, 7)
    unit = amplitudes.to_unit(
        np.float32([[-9, 0, 2, 4]]), amplitudes.Range(-4, 4), "clip"
    )
    np.testing.assert_allclose(unit, [[0, 0.5, 0.75, 1]])


@pytest.mark.parametrize("method", ["clip", "minmax", "none"])
def test_dead_traces_have_the_range_from_0_to_1(method):
    dead = np.zeros((2, 3), np.float32)
    limits = amplitudes.estimate(dead, method)
    assert limits == amplitudes.Range(0, 1)
    assert not amplitudes.to_unit(dead, limits, method).any()
    assert amplitudes.live(np.array([[0, 0], [0, -1e-30]])).tolist() == [False, True]


def test_equal_amplitudes_are_scaled_to_0():
    equal = np.full((2, 3), 5, np.float32)
    limits = amplitudes.estimate(equal, "minmax")
    assert limits == amplitudes.Range(5, 5)
    assert not amplitudes.to_unit(equal, limits, "minmax").any()


def test_range_wider_than_the_largest_float_is_scaled():
    largest = np.finfo(np.float64).max
    limits = amplitudes.Range(-largest, largest)
    found = amplitudes.to_unit(np.array([[-largest, 0, largest]]), limits, "clip")
    np.testing.assert_array_equal(found, [[0, 0.5, 1]])


def test_amplitudes_outside_0_to_1_are_refused_without_scaling():
    limits = amplitudes.Range(0, 1)
    inside = np.array([[0, 0.25, 1]])
    found = amplitudes.to_unit(inside, limits, "none")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, inside)
    with pytest.raises(InputError, match=r"amplitudes from -0\.5 to 0\.25"):
        amplitudes.to_unit(np.array([[-0.5, 0.25]]), limits, "none")


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", "float64"])
def test_traces_of_nan_are_missing_and_others_damaged(dtype):
    traces = np.ones((5, 4), dtype)
    traces[1] = np.nan
    traces[2, 3] = np.nan
    traces[3] = -np.inf
    traces[4] = [np.nan, np.inf, np.nan, np.nan]
    found, damaged = amplitudes.clean(traces)
    assert found.dtype == traces.dtype.newbyteorder("=")
    assert damaged.tolist() == [False, False, True, True, True]
    np.testing.assert_array_equal(found, [[1] * 4] + [[0] * 4] * 4)
    assert amplitudes.live(found).tolist() == [True] + [False] * 4
    assert np.isnan(traces[1]).all()  # the array itself is as before
    whole = np.arange(6).reshape(2, 3)
    same, damaged = amplitudes.clean(whole)
    assert same is whole
    assert not damaged.any()


@pytest.mark.parametrize(
    ("traces", "method", "warns"),
    [
        ([[0.0, 0.5]], "clip", True),
        ([[0.0, 0.5]], "none", False),
        ([[-0.1, 0.5]], "clip", False),
        ([[0.0, 0.0]], "clip", False),
    ],
)
def test_clip_of_amplitudes_without_a_sign_is_warned_of(caplog, traces, method, warns):
    amplitudes.scaling(np.array(traces, np.float32), method)
    assert ("no amplitude is negative" in caplog.text) == warns
