import numpy as np
import pytest
import reference

from saltjax.training import schedules


def plateau_rates(losses, learning_rate=1e-3, factor=0.1, patience=5):
    """Returns the learning rate after each epoch."""
    state, rates = schedules.Plateau(learning_rate), []
    for loss in losses:
        state = state.update(loss, factor, patience)
        rates.append(state.learning_rate)
    return rates


@pytest.mark.parametrize(
    ("losses", "reductions"),
    [
        # Five epochs without improvement change nothing, the sixth reduces; the count restarts.
        ([1.0] * 14, {7: 1e-4, 13: 1e-5}),
        # An improvement in the fifth bad epoch resets the count.
        ([1.0, *[1.1] * 5, 0.9, *[1.0] * 6], {13: 1e-4}),
        # Just over a ten-thousandth better counts as an improvement; less does not.
        ([1.0, *[1.1] * 5, 0.9998, 0.9998], {}),
        ([1.0, *[1.1] * 5, 0.9999], {7: 1e-4}),
        ([1.0, *[1.1] * 5, 0.99995], {7: 1e-4}),
        # The best stays the best after a reduction.
        ([0.5, *[0.9] * 6, 0.8, *[0.8] * 5], {7: 1e-4, 13: 1e-5}),
        # Not a number never improves.
        ([1.0, *[float("nan")] * 6], {7: 1e-4}),
    ],
)
def test_plateau_follows_pytorch(losses, reductions):
    rate, expected = 1e-3, []
    for epoch in range(1, len(losses) + 1):
        rate = reductions.get(epoch, rate)
        expected.append(rate)
    assert plateau_rates(losses) == pytest.approx(expected, rel=1e-12)


def test_plateau_keeps_a_rate_that_would_change_by_less_than_eps():
    # PyTorch's eps: a reduction from 1e-8 to 1e-9 is less than 1e-8 and is not made.
    assert plateau_rates([1.0] * 14, learning_rate=1e-7)[-1] == pytest.approx(1e-8)
    assert plateau_rates([1.0] * 30, learning_rate=1e-7)[-1] == pytest.approx(1e-8)


def test_plateau_with_other_factor_and_patience():
    assert plateau_rates([1.0, 1.0, 1.0], 0.4, factor=0.5, patience=0) == pytest.approx(
        [0.4, 0.2, 0.1]
    )


@pytest.mark.parametrize(
    ("losses", "counts"),
    [
        ([1.0, 1.1, 1.2, 0.9, 1.0], [0, 1, 2, 0, 1]),
        # Equal to the best resets; the slightest increase counts: there is no tolerance.
        ([1.0, 1.1, 1.0, 1.0000001], [0, 1, 0, 1]),
        # A loss below the last but above the best counts.
        ([1.0, 1.5, 1.2, 1.1], [0, 1, 2, 3]),
    ],
)
def test_early_stopping_counts_as_the_study(losses, counts):
    state, found = schedules.EarlyStopping(), []
    for loss in losses:
        state = state.update(loss)
        found.append(state.bad_epochs)
    assert found == counts


@pytest.mark.parametrize(
    ("learning_rate", "warmup", "total"),
    [(1e-3, 10, 50), (0.5, 0, 7), (1e-2, 1, 3), (2.0, 5, 6), (1e-3, 0, 1)],
)
def test_cosine_point_by_point(learning_rate, warmup, total):
    schedule = schedules.cosine(learning_rate, warmup, total)
    expected = [
        reference.cosine_rate(step, learning_rate, warmup, total)
        for step in range(total + 1)
    ]
    found = [float(schedule(step)) for step in range(total + 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * learning_rate)
    assert found[0] == pytest.approx(learning_rate / max(warmup, 1))
    assert found[warmup] == pytest.approx(learning_rate)
    assert found[total] == pytest.approx(0, abs=1e-7 * learning_rate)


def test_cosine_of_the_same_arguments_is_the_same_object():
    assert schedules.cosine(1e-3, 10, 50) is schedules.cosine(1e-3, 10, 50)
    assert schedules.cosine(1e-3, 10, 50) is not schedules.cosine(1e-3, 10, 51)
