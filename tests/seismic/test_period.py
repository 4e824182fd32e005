import numpy as np
import pytest

from saltjax.seismic import period


@pytest.mark.parametrize("length", [5.0, 16.0, 40.5])
def test_of_a_sine_it_is_its_period(length):
    phases = np.linspace(0, 2 * np.pi, 50, endpoint=False)[:, None]
    traces = 7 + 3 * np.sin(2 * np.pi * np.arange(2000) / length + phases)
    assert period.dominant(traces) == pytest.approx(length, rel=0.02)


def test_of_white_noise_neighbours_have_different_signs_every_second_time():
    traces = np.random.default_rng(0).normal(size=(100, 1000))
    assert period.dominant(traces) == pytest.approx(4, rel=0.01)


def test_of_a_gaussian_signal_it_is_given_by_the_second_moment_of_the_spectrum():
    rng = np.random.default_rng(1)
    frequencies = np.fft.rfftfreq(2000)
    power = np.exp(-(((frequencies - 0.04) / 0.01) ** 2)) + 0.3 * (frequencies < 0.02)
    coefficients = rng.normal(size=(200, 1001)) + 1j * rng.normal(size=(200, 1001))
    coefficients[:, 0] = 0
    traces = np.fft.irfft(np.sqrt(power) * coefficients, axis=1)
    expected = 1 / np.sqrt((frequencies**2 * power).sum() / power.sum())
    assert period.dominant(traces) == pytest.approx(expected, rel=0.02)


def test_scale_offset_and_dead_traces_do_not_matter():
    traces = np.random.default_rng(2).normal(size=(20, 90)).cumsum(axis=1)
    expected = period.dominant(traces)
    more = np.concatenate([1000 * traces - 7, np.zeros((30, 90))])
    assert period.dominant(more) == pytest.approx(expected)
    whole = np.rint(traces).astype(np.int16)
    assert period.dominant(whole) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
def test_muted_samples_do_not_count(share):
    traces = np.sin(2 * np.pi * (np.arange(400) + np.arange(30)[:, None]) / 20)
    traces[:, : int(400 * share)] = 0
    assert period.dominant(traces) == pytest.approx(20, rel=0.05)
    assert period.dominant(np.rint(3 * traces)) == pytest.approx(20, rel=0.1)


def test_the_largest_numbers_do_not_overflow():
    traces = 1e308 * np.random.default_rng(4).uniform(-1.7, 1.7, size=(20, 400))
    assert period.dominant(traces) == pytest.approx(4, rel=0.1)


def test_rounding_of_a_constant_is_no_oscillation():
    traces = np.full((40, 90), 0.3)
    traces[20:] = np.random.default_rng(3).normal(size=(20, 90))
    assert period.dominant(traces) == period.dominant(traces[20:])


@pytest.mark.parametrize("traces", [np.zeros((3, 9)), np.ones((3, 9)), np.ones((2, 1))])
def test_traces_that_do_not_oscillate_have_none(traces):
    assert period.dominant(traces) is None
