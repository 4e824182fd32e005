import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltjax.data import blocks
from saltjax.system.errors import InputError

SHARES = (0.6, 0.2, 0.2)


def covered(parts):
    """Returns the inlines of each part as sets."""
    return {name: set(blocks.members(part)) for name, part in parts.items()}


def distance(a, b):
    """Returns how many inlines lie between two sets of inlines, at the least."""
    x, y = np.array(sorted(a)), np.array(sorted(b))
    return int(np.abs(x[:, None] - y).min()) - 1


def test_by_hand():
    # Twelve inlines, of which ten remain beside two gaps of one: 2, 5 and 3 of them.
    parts = blocks.split(np.ones(12, bool), (0.5, 0.2, 0.3), gap=1, folds=0, fold=0)
    assert parts == {"val": [(0, 2)], "train": [(3, 8)], "test": [(9, 12)]}


def test_shares_are_counted_in_labelled_inlines():
    labelled = np.zeros(1000, bool)
    labelled[::50] = True  # 20 of them, at 0, 50 … 950
    parts = blocks.split(labelled, SHARES, gap=49, folds=0, fold=0)
    held = {name: int(labelled[blocks.members(p)].sum()) for name, p in parts.items()}
    assert held == {"train": 12, "val": 4, "test": 4}
    # Inlines without labels are gap enough: no labelled one is lost for it.
    assert parts["train"] == [(200, 751)]


@given(
    labelled=st.lists(st.booleans(), min_size=3, max_size=70),
    shares=st.tuples(*[st.floats(0.05, 1)] * 3),
    gap=st.integers(0, 12),
    folds=st.sampled_from([0, 2, 3, 5]),
    data=st.data(),
)
def test_parts_are_apart_and_labelled(labelled, shares, gap, folds, data):
    fold = data.draw(st.integers(0, max(folds - 1, 0)))
    labelled = np.array(labelled)
    shares = tuple(np.array(shares) / sum(shares))
    try:
        parts = blocks.split(labelled, shares, gap, folds, fold)
    except InputError:
        return
    inlines = covered(parts)
    assert set(parts) == {"train", "val", "test"}
    for name, part in parts.items():
        assert labelled[sorted(inlines[name])].any()
        assert all(0 <= start < stop <= len(labelled) for start, stop in part)
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert distance(inlines[a], inlines[b]) >= gap
    assert len(parts["val"]) == len(parts["test"]) == 1


@given(n=st.integers(12, 60), folds=st.integers(2, 5), gap=st.integers(0, 2))
def test_each_inline_is_tested_in_one_fold(n, folds, gap):
    tests = [
        covered(blocks.split(np.ones(n, bool), SHARES, gap, folds, fold))["test"]
        for fold in range(folds)
    ]
    assert sorted(i for test in tests for i in test) == list(range(n))


def test_validation_of_a_fold_is_at_the_far_end_of_the_larger_side():
    # Fold 1 of 4 tests inlines 5 to 9 of 20: beside it lie 4 and, beyond a gap of 1, 9 inlines; 3/8
    # of these 13 is 5.
    parts = blocks.split(np.ones(20, bool), (0.5, 0.3, 0.2), gap=1, folds=4, fold=1)
    assert parts == {
        "test": [(5, 10)],
        "val": [(15, 20)],
        "train": [(0, 4), (11, 14)],
    }


@pytest.mark.parametrize(
    ("labelled", "gap", "folds"), [(2, 0, 0), (12, 5, 0), (10, 0, 11), (3, 1, 3)]
)
def test_too_few_inlines_are_refused(labelled, gap, folds):
    with pytest.raises(InputError, match=f"{labelled} of {labelled} inlines .*gap"):
        blocks.split(np.ones(labelled, bool), SHARES, gap, folds, 0)


def test_one_inline_a_part_is_enough():
    parts = blocks.split(np.ones(13, bool), SHARES, gap=5, folds=0, fold=0)
    assert parts == {"val": [(0, 1)], "train": [(6, 7)], "test": [(12, 13)]}


def test_correlation_is_of_traces_that_are_live_in_both():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 50))
    b += a
    expected = np.corrcoef(a[2:].ravel(), b[2:].ravel())[0, 1]
    a[0], b[1] = 0, 0
    assert blocks.correlation(a, b) == pytest.approx(expected, abs=1e-12)
    assert blocks.correlation(a, np.zeros_like(b)) is None
    assert blocks.correlation(np.ones_like(a), b) is None
