import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from scipy import ndimage

from saltjax.data import augment
from saltjax.system import devices

FLIP, AFFINE = (
    jax.jit(functools.partial(augment.augment, kind=kind))
    for kind in ("flip", "affine")
)


@jax.jit
def transformed(image, label, flip, shift, scale, degrees):
    """Returns tiles [1, H, W, …] after one transform, and the coordinates that they show."""
    coordinates = augment.source_coordinates(
        image.shape[1:3], flip, shift, scale, jnp.deg2rad(degrees)
    )
    return *augment.warp(image, label, *(x[None] for x in coordinates)), coordinates


def make_tiles(count, height=21, width=17):
    rng = np.random.default_rng(0)
    image = rng.random((count, height, width, 3), np.float32)
    return image, rng.integers(0, 2, (count, height, width, 1), np.uint8)


def transform(flip, shift, scale, degrees, shape):
    """Returns matrix and offset of `ndimage.affine_transform`, from the output to the input.

    The forward map is built step by step: mirrored, scaled and rotated about the centre, shifted.
    """
    centre = (np.array(shape) - 1) / 2
    angle = np.deg2rad(degrees)
    mirror = np.diag([1.0, -1.0 if flip else 1.0])
    # Rows count downwards: counter-clockwise on a screen, a step to the right goes up.
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    inverse = np.linalg.inv(rotation @ (scale * np.eye(2)) @ mirror)
    return inverse, centre - inverse @ (centre + shift)


@pytest.mark.parametrize(
    ("flip", "shift", "scale", "degrees"),
    [
        (False, (0, 0), 1.0, 0),
        (True, (0, 0), 1.0, 0),
        (False, (3, -2), 1.0, 0),
        (False, (0.25, -12.5), 1.0, 0),
        (False, (0, 0), 1.15, 0),
        (False, (0, 0), 1.0, 10),
        (True, (-19.3, 17.1), 0.85, -7.3),
    ],
)
def test_warp_is_the_affine_transform_of_scipy(flip, shift, scale, degrees):
    image, label = make_tiles(1)
    warped, moved, coordinates = transformed(
        image, label, flip, np.float32(shift), np.float32(scale), np.float32(degrees)
    )
    matrix, offset = transform(flip, shift, scale, degrees, image.shape[1:3])
    for channel in range(3):
        expected = ndimage.affine_transform(
            image[0, ..., channel].astype(np.float64),
            matrix,
            offset,
            order=1,
            mode="mirror",
        )
        np.testing.assert_allclose(warped[0, ..., channel], expected, atol=2e-5)
    expected = ndimage.affine_transform(
        label[0, ..., 0], matrix, offset, order=0, mode="mirror"
    )
    # A coordinate midway between two pixels may be rounded to either.
    middle = np.isclose(np.stack(coordinates) % 1, 0.5, atol=1e-4).any(axis=0)
    np.testing.assert_array_equal(moved[0, ..., 0][~middle], expected[~middle])
    assert middle.mean() < 0.01 or shift == (0.25, -12.5)


def test_a_point_moves_as_described():
    image = np.zeros((1, 21, 21, 3), np.float32)
    image[0, 10, 16] = 1  # 6 pixels to the right of the centre
    label = np.uint8(image[..., :1])
    for flip, shift, scale, degrees, place in (
        (False, (0, 0), 1, 90, (4, 10)),
        (True, (0, 0), 1, 90, (16, 10)),
        (False, (2, -3), 1, 0, (12, 13)),
        (False, (0, 1), 1.5, 0, (10, 20)),
        (False, (1, 0), 1, 90, (5, 10)),
    ):
        warped, moved, _ = transformed(
            image,
            label,
            flip,
            np.float32(shift),
            np.float32(scale),
            np.float32(degrees),
        )
        assert warped[(0, *place)] == pytest.approx(1, abs=1e-5)
        assert moved[(0, *place)] == 1


def test_flip_mirrors_about_half_of_the_tiles_and_never_turns_them_over():
    image, label = make_tiles(64)
    flipped, moved = jax.device_get(FLIP(image, label, jax.random.key(1)))
    mirrored = 0
    for i in range(64):
        same = np.array_equal(flipped[i], image[i])
        step = 1 if same else -1
        mirrored += not same
        np.testing.assert_array_equal(flipped[i], image[i, :, ::step])
        np.testing.assert_array_equal(moved[i], label[i, :, ::step])
    assert 20 <= mirrored <= 44


def drawn_transforms(rows, columns):
    """Returns flip, shift down and right, scale and degrees of coordinates [B, 5, 5]."""
    # Of the source per pixel down and to the right: cos / scale and sin / scale.
    cos, sin = rows[:, 1, 0] - rows[:, 0, 0], rows[:, 0, 1] - rows[:, 0, 0]
    flip = columns[:, 0, 1] < columns[:, 0, 0]
    down, right = rows[:, 2, 2] - 2, columns[:, 2, 2] - 2  # of the centre
    right = np.where(flip, -right, right)
    size = cos**2 + sin**2
    shift = -(cos * down - sin * right) / size, -(sin * down + cos * right) / size
    return flip, *shift, size**-0.5, np.rad2deg(np.arctan2(sin, cos))


def test_affine_draws_from_the_whole_range_and_no_further(monkeypatch):
    seen = []

    def record(image, label, rows, columns):
        seen.extend(np.asarray(x, np.float64) for x in (rows, columns))
        return image, label

    monkeypatch.setattr(augment, "warp", record)
    image = np.broadcast_to(np.float32([0.3, 0.5, 0.7]), (300, 5, 5, 3))
    label = np.zeros((300, 5, 5, 1), np.uint8)
    changed, _ = augment.augment(image, label, jax.random.key(0), "affine")
    flip, down, right, scale, degrees = drawn_transforms(*seen)
    dark, middle, bright = np.asarray(changed)[:, 0, 0].T
    contrast = (bright - dark) / 0.4
    for values, low, high in (
        (down, -20, 20),
        (right, -20, 20),
        (scale, 0.85, 1.15),
        (degrees, -10, 10),
        (contrast, 0.9, 1.1),
        (middle, 0.4, 0.6),  # which contrast does not change
    ):
        slack, rounding = (high - low) * 0.03, (high - low) * 1e-5
        assert low - rounding <= values.min() <= low + slack
        assert high - slack <= values.max() <= high + rounding
    assert 110 <= flip.sum() <= 190
    # They are drawn independently of each other.
    drawn = np.stack([flip, down, right, scale, degrees, contrast, middle])
    assert np.abs(np.corrcoef(drawn) - np.eye(7)).max() < 0.2


def test_contrast_and_brightness_stay_in_the_range_of_images():
    label = np.zeros((300, 4, 4, 1), np.uint8)

    def change(*greys):
        """Returns what becomes of tiles of these greys, one a channel."""
        image = np.broadcast_to(np.float32(greys), (300, 4, 4, 3))
        changed, _ = AFFINE(image, label, jax.random.key(0))
        return np.asarray(changed)[:, 0, 0].T

    black, dark, bright = change(0.0, 0.3, 0.7)
    white, *_ = change(1.0, 1.0, 1.0)
    contrast = (bright - dark) / 0.4
    brightness = (bright + dark) / 2 - 0.5
    assert 0.9 - 1e-5 <= contrast.min() < 0.91
    assert 1.09 < contrast.max() <= 1.1 + 1e-5
    expected = np.clip(0.5 - 0.5 * contrast + brightness, 0, 1)
    np.testing.assert_allclose(black, expected, atol=1e-6)
    expected = np.clip(0.5 + 0.5 * contrast + brightness, 0, 1)
    np.testing.assert_allclose(white, expected, atol=1e-6)
    assert (black.min(), white.max()) == (0, 1)


@pytest.mark.parametrize("step", [FLIP, AFFINE], ids=["flip", "affine"])
def test_a_tile_is_changed_alike_in_any_batch_and_on_any_devices(step):
    image, label = make_tiles(8)
    whole = step(image, label, jax.random.key(3))
    part = step(image[:3], label[:3], jax.random.key(3))
    mesh = Mesh(jax.devices()[:4], ("data",))
    sharded = step(*devices.shard((image, label), mesh), jax.random.key(3))
    for a, b, c in zip(whole, part, sharded):
        np.testing.assert_allclose(a[:3], b, atol=1e-6)
        np.testing.assert_allclose(a, c, atol=1e-6)
    other = step(image, label, jax.random.key(4))
    assert not np.array_equal(other[0], whole[0])


@pytest.mark.parametrize("augmented", [FLIP, AFFINE], ids=["flip", "affine"])
def test_unlabelled_pixels_are_moved_with_the_others(augmented):
    """Labels of 0, 1 and 255 are, one by one, where labels of 0 and 1 alone would be."""
    image, _ = make_tiles(6)
    label = np.random.default_rng(1).choice(np.uint8([0, 1, 255]), (6, 21, 17, 1))
    key = jax.random.key(0)
    _, found = augmented(image, label, key)
    assert found.dtype == np.uint8
    for value in (0, 1, 255):
        _, expected = augmented(image, np.uint8(label == value), key)
        np.testing.assert_array_equal(found == value, expected == 1)
