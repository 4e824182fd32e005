import numpy as np
import pytest

from saltjax.data import folder, statistics
from saltjax.data.tiles import UNLABELLED, Tiles


def test_statistics_by_hand(tile_folder):
    found = statistics.compute(folder.read_folder(str(tile_folder)))
    # 30 tiles, coverage (i % 4) / 12: 8 empty, 8 of 1/12, 7 of 2/12, 7 of 3/12.
    assert found == statistics.Statistics(
        tiles=30,
        height=12,
        width=10,
        empty_masks=8,
        full_masks=0,
        constant_images=30,
        duplicate_images=0,
        differing_masks=0,
        duplicate_examples=[],
        salt_coverage=pytest.approx((8 * 1 + 7 * 2 + 7 * 3) / 12 / 30),
        coverage_histogram=[8, 7, 7, 0, 0, 0, 0, 0, 0, 0],
        dominant_period=None,
    )


@pytest.mark.parametrize("channels", [3, 5])
def test_dominant_period_is_that_of_columns_in_the_middle_channel(channels):
    wave = np.sin(2 * np.pi * (np.arange(120) + 0.5) / 12)
    images = np.zeros((2, 120, 9, channels), np.uint8)
    images[:, :, :, channels // 2] = np.rint(127 + 90 * wave)[:, None]
    labels = np.zeros((2, 120, 9, 1), np.uint8)
    found = statistics.compute(Tiles(("a", "b"), images, labels, "folder"))
    # 19 crossings, half a period apart, in 119 steps.
    assert found.dominant_period == round(2 * 119 / 19, 2)


def test_full_masks_and_images_of_more_than_one_value():
    images = np.full((3, 4, 5, 3), 7, np.uint8)
    images[1, 3, 4, 2] = 8
    labels = np.zeros((3, 4, 5, 1), np.uint8)
    labels[:2] = 1
    labels[1, 0, 0] = 0
    found = statistics.compute(Tiles(("a", "b", "c"), images, labels, "folder"))
    assert (found.empty_masks, found.full_masks, found.constant_images) == (1, 1, 2)
    # Of 19/20 and 20/20, both in the last bin, whose upper bound is included.
    assert found.coverage_histogram == [0] * 9 + [2]


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_copies_of_images_are_counted(monkeypatch, block):
    monkeypatch.setattr(statistics, "BLOCK", block)
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 5, 3), dtype=np.uint8)
    images[[3, 5, 6]] = images[1]
    images[4] = images[0]
    images[[2, 7]] = 9  # constant, and no copies of each other
    labels = np.zeros((8, 4, 5, 1), np.uint8)
    labels[6, 0, 0] = 1
    found = statistics.compute(Tiles(tuple("abcdefgh"), images, labels, "folder"))
    assert (found.duplicate_images, found.differing_masks) == (4, 1)
    assert found.duplicate_examples == [("g", "b"), ("d", "b"), ("e", "a")]
    assert found.constant_images == 2


def test_images_that_differ_in_one_value_are_no_copies():
    images = np.zeros((2, 4, 5, 3), np.uint8)
    images[:, 0, 0, 0] = 1
    images[1, 3, 4, 2] = 1
    labels = np.zeros((2, 4, 5, 1), np.uint8)
    found = statistics.compute(Tiles(("a", "b"), images, labels, "folder"))
    assert found.duplicate_images == 0


def test_unlabelled_pixels_are_left_out():
    images = np.random.default_rng(0).integers(0, 256, (4, 4, 5, 3), dtype=np.uint8)
    images[1:3] = images[0]
    labels = np.zeros((4, 4, 5, 1), np.uint8)
    labels[1] = UNLABELLED
    labels[1, 0, :2] = 0  # as in the tile that it is a copy of
    labels[2, 1:] = UNLABELLED
    labels[2, 0] = 1  # other than there
    labels[3, :2] = 1
    found = statistics.compute(Tiles(tuple("abcd"), images, labels, "folder"))
    assert (found.duplicate_images, found.differing_masks) == (2, 1)
    assert (found.empty_masks, found.full_masks) == (2, 1)
    # Salt in 5 and 10 pixels, of 20, 2, 5 and 20 that are labelled.
    assert found.salt_coverage == pytest.approx(15 / 47)
    assert found.coverage_histogram == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1]
