import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from saltjax.data import patches
from saltjax.data.tiles import UNLABELLED
from saltjax.system.errors import InputError


def draw(sections, tile, count, salt_share, seed=0):
    """Returns (section, row, column) of each patch drawn from label sections."""
    rng = np.random.default_rng(seed)
    return list(
        patches.draw(sections.__getitem__, len(sections), tile, count, salt_share, rng)
    )


def cut(sections, place, tile):
    section, row, column = place
    return sections[section][row : row + tile, column : column + tile]


def random_sections(seed, count=3):
    """Returns label sections of different widths, with smooth salt and unlabelled traces."""
    rng = np.random.default_rng(seed)
    sections = []
    for _ in range(count):
        shape = rng.integers(12, 20, size=2)
        field = ndimage.gaussian_filter(rng.normal(size=shape), 3)
        section = np.uint8(field > np.quantile(field, 0.7))
        section[:, rng.random(shape[1]) < 0.4] = UNLABELLED
        sections.append(section)
    return sections


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 80), st.floats(0, 1))
def test_share_of_salt_is_met_and_patches_fit(seed, tile, count, share):
    sections = random_sections(seed)
    try:
        places = draw(sections, tile, count, share, seed)
    except InputError:
        return
    assert len(places) == count
    found = [cut(sections, place, tile) for place in places]
    assert all(patch.shape == (tile, tile) for patch in found)
    assert all((patch != UNLABELLED).mean() >= 0.1 for patch in found)
    assert sum((patch == 1).any() for patch in found) == round(count * share)


def test_every_place_is_drawn_equally_often():
    section = np.zeros((5, 6), np.uint8)
    section[4, 5] = 1  # in one of the 4 × 5 places of a patch of 2 × 2
    sections = [section, section[:, :3]]
    # 19 places without salt in the first section, 8 in the second.
    for count, low, high in ((27, 1, 1), (26, 1, 1), (5, 1, 1), (60, 2, 3)):
        places = draw(sections, 2, count, 0.0)
        numbers = np.unique(places, axis=0, return_counts=True)[1]
        assert (numbers.min(), numbers.max()) == (low, high)
        assert numbers.sum() == count
    assert draw(sections, 2, 50, 1.0) == [(0, 3, 4)] * 50
    # Whichever they are, at random: Poisson's deviation of 100 is 10.
    places = np.concatenate([draw(sections, 2, 9, 0.0, seed) for seed in range(300)])
    numbers = np.unique(places, axis=0, return_counts=True)[1]
    assert len(numbers) == 27
    assert 50 < numbers.min() <= numbers.max() < 150


def test_patches_are_in_the_order_of_their_sections():
    numbers = [section for section, _, _ in draw(random_sections(1, 9), 4, 50, 0.5)]
    assert numbers.count(3) > 1
    assert numbers == sorted(numbers)


def test_a_tenth_of_the_samples_of_a_patch_is_labelled():
    section = np.full((10, 10), UNLABELLED, np.uint8)
    section[3, :9] = 0
    with pytest.raises(InputError, match="a tenth of their samples"):
        draw([section], 10, 1, 0.0)
    section[7, 7] = 0
    assert draw([section], 10, 1, 0.0) == [(0, 0, 0)]


def test_the_seed_decides():
    sections = random_sections(1)
    assert draw(sections, 4, 40, 0.5, seed=3) == draw(sections, 4, 40, 0.5, seed=3)
    assert draw(sections, 4, 40, 0.5, seed=3) != draw(sections, 4, 40, 0.5, seed=4)


def test_box_sums_by_hand():
    x = np.array([[1, 0, 1], [1, 1, 0]], bool)
    assert patches.box_sums(x, 1).tolist() == x.astype(int).tolist()
    assert patches.box_sums(x, 2).tolist() == [[3, 2]]


def test_impossible_shares_are_refused():
    empty, full = np.zeros((1, 8, 8), np.uint8), np.ones((1, 8, 8), np.uint8)
    with pytest.raises(InputError, match=r"with salt in the training .* asks for 5"):
        draw(empty, 4, 10, 0.5)
    assert len(draw(empty, 4, 10, 0.0)) == 10
    with pytest.raises(InputError, match=r"without salt .* such as 1"):
        draw(full, 4, 10, 0.5)
    assert len(draw(full, 4, 10, 1.0)) == 10
    with pytest.raises(InputError, match="a tenth of their samples"):
        draw(np.full((1, 8, 8), UNLABELLED), 4, 10, 0.5)
