import dataclasses
import hashlib

import numpy as np
import pytest

from saltjax.data.tiles import UNLABELLED, Tiles, salt_coverage


@pytest.fixture
def tiles():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 12, 10, 3), np.uint8)
    labels = rng.integers(0, 2, (4, 12, 10, 1), np.uint8)
    return Tiles(("a", "b", "c", "d"), images, labels, "folder", "/data/train")


def test_content_hash_depends_on_every_pixel_and_id(tiles):
    before = tiles.content_hash()
    for array in (tiles.images, tiles.labels):
        array[2, 3, 4, 0] ^= 1
        changed = tiles.content_hash()
        assert changed != before
        array[2, 3, 4, 0] ^= 1
        assert tiles.content_hash() == before
    other = dataclasses.replace(tiles, ids=("a", "b", "c", "e"))
    assert other.content_hash() != before
    # The same bytes in another shape.
    turned = (x.reshape(4, 10, 12, -1) for x in (tiles.images, tiles.labels))
    assert Tiles(tiles.ids, *turned, "folder").content_hash() != before
    elsewhere = dataclasses.replace(tiles, directory="/other")
    assert elsewhere.content_hash() == before


def test_content_hash_has_the_definition_of_earlier_versions(tiles):
    # data.json of a run keeps it: with another definition runs could not resume.
    digest = hashlib.sha256(b"(('a', 'b', 'c', 'd'), (4, 12, 10, 3))")
    digest.update(tiles.images.tobytes())
    digest.update(tiles.labels.tobytes())
    assert tiles.content_hash() == digest.hexdigest()


def test_of_a_section_and_its_neighbours_the_section_is_shown(tiles):
    np.testing.assert_array_equal(tiles.shown([2, 0]), tiles.images[[2, 0]])
    five = np.random.default_rng(1).integers(0, 256, (4, 12, 10, 5), np.uint8)
    for images, middle in ((tiles.images, 1), (five, 2)):
        lines = dataclasses.replace(tiles, images=images, source="volume")
        expected = np.stack([images[[2, 0], :, :, middle]] * 3, axis=-1)
        np.testing.assert_array_equal(lines.shown(np.array([2, 0])), expected)


def test_salt_coverage_is_the_share_of_salt_pixels():
    labels = np.zeros((3, 2, 5, 1), np.uint8)
    labels[1, 0, :3] = 1
    labels[2] = 1
    np.testing.assert_allclose(salt_coverage(labels), [0, 0.3, 1])


def test_description_says_where_tiles_come_from(tiles):
    assert tiles.description == "tiles of data/train"
    synthetic = dataclasses.replace(tiles, source="synthetic", directory="")
    assert synthetic.description == "built-in synthetic sections, not real data"


def test_salt_coverage_is_that_of_the_labelled_pixels():
    labels = np.full((3, 2, 5, 1), UNLABELLED, np.uint8)
    labels[1, 0, :3] = 1
    labels[1, 0, 3] = 0
    labels[2, 1] = 0
    assert salt_coverage(labels).tolist() == [0, 0.75, 0]


def test_tiles_tell_whether_any_pixel_is_unlabelled(tiles):
    assert not tiles.has_unlabelled
    labels = tiles.labels.copy()
    labels[3, 11, 9] = UNLABELLED
    assert dataclasses.replace(tiles, labels=labels).has_unlabelled
