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
    # A run goes on from the foot of a column to the head of the next.
    mask[2, 0] = True
    assert rle.encode(mask) == "1 1 3 4"
    mask[2, 3] = True
    assert rle.encode(mask) == "1 1 3 4 12 1"
    assert rle.encode(np.ones((101, 101), bool)) == "1 10201"


@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_a_mask_comes_back(mask):
    np.testing.assert_array_equal(rle.decode(rle.encode(mask), mask.shape), mask)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=6),
)
def test_a_code_comes_back(gaps_and_lengths):
    position, words = 1, []
    for gap, length in gaps_and_lengths:
        words += [position + gap, length]
        position += gap + length
    code = " ".join(map(str, words))
    assert rle.encode(rle.decode(code, (10, 6))) == code


@pytest.mark.parametrize(
    "code",
    ["1", "0 3", "1 0", "1 7", "6 2", "3 1 1 1", "1 2 3 1", "a b", "1 -1", "1.0 2"],
)
def test_what_is_no_code_is_refused(code):
    with pytest.raises(ValueError, match="code|fit"):
        rle.decode(code, (2, 3))
