import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from saltjax.data import rle


def test_pixels_are_numbered_from_one_down_the_columns():
    mask = np.zeros((3, 4), bool)
    assert rle.encode(mask) == ""
    mask[0, 0] = True
    assert rle.encode(mask) == "1 1"
    mask[:, 1] = True
    assert rle.encode(mask) == "1 1 4 3"
    # A run continues from the last pixel of a column to the first of the next.
    mask[2, 0] = True
    assert rle.encode(mask) == "1 1 3 4"
    mask[2, 3] = True
    assert rle.encode(mask) == "1 1 3 4 12 1"
    assert rle.encode(np.ones((101, 101), bool)) == "1 10201"


@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_decode_inverts_encode(mask):
    np.testing.assert_array_equal(rle.decode(rle.encode(mask), mask.shape), mask)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=6),
)
def test_encode_inverts_decode(gaps_and_lengths):
    position, words = 1, []
    for gap, length in gaps_and_lengths:
        words += [position + gap, length]
        position += gap + length
    code = " ".join(map(str, words))
    assert rle.encode(rle.decode(code, (10, 6))) == code


@pytest.mark.parametrize("code", ["1", "1 2 3", "a b", "1 -1", "1.0 2"])
def test_other_words_than_pairs_of_whole_numbers_are_refused(code):
    message = f"'{re.escape(code)}' is not a run-length encoding"
    with pytest.raises(ValueError, match=message):
        rle.decode(code, (2, 3))


@pytest.mark.parametrize(
    ("code", "run"),
    [
        ("0 3", "0 3"),  # before the first pixel
        ("1 0", "1 0"),  # empty
        ("1 7", "1 7"),  # past the sixth and last pixel
        ("6 2", "6 2"),
        ("3 1 1 1", "1 1"),  # not in order
        ("1 2 2 1", "2 1"),  # overlaps
        ("1 2 3 1", "3 1"),  # touches
    ],
)
def test_impossible_runs_are_refused(code, run):
    message = f"'{code}': run {run} overlaps or touches .* exceeds 2×3 pixels"
    with pytest.raises(ValueError, match=message):
        rle.decode(code, (2, 3))
