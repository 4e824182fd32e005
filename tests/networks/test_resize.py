import jax
import numpy as np
import pytest
from PIL import Image

from saltjax.networks import resize
from saltjax.runs import settings


def tile(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)


def to_network(image, size, method):
    """Returns a tile uint8 at the network's resolution."""
    image = image.astype(np.float32) / 255
    return resize.image_to_network(image, image.shape[1:3], size, method)


@pytest.mark.parametrize("shape", [(101, 101), (60, 80), (200, 202)])
@pytest.mark.parametrize(("method", "filter"), [("nearest", 0), ("bilinear", 2)])
def test_interpolation_equals_pillows(shape, method, filter):
    image = tile(*shape)
    found = to_network(image, 128, method)
    assert found.dtype == np.float32
    assert found.shape == (1, 128, 128, 3)
    channel = Image.fromarray(image[0, :, :, 1].astype(np.float32))
    expected = np.asarray(channel.resize((128, 128), filter)) / 255
    np.testing.assert_allclose(found[0, :, :, 1], expected, atol=1e-5)


def test_pad_equals_numpys_reflect():
    image = tile(101, 90)
    expected = np.pad(image, ((0, 0), (13, 14), (19, 19), (0, 0)), mode="reflect")
    found = to_network(image, 128, "pad")
    np.testing.assert_allclose(found, np.float32(expected) / 255, atol=1e-7)


@pytest.mark.parametrize("method", settings.CHOICES["data.resize"])
def test_labels_stay_binary_and_match_the_image(method):
    label = (tile(101, 101)[..., :1] > 127).astype(np.uint8)
    image = np.repeat(label * 255, 3, axis=3)
    found = np.asarray(resize.label_to_network(label, (101, 101), 128, method))
    assert set(np.unique(found)) == {0.0, 1.0}
    like = "nearest" if method == "bilinear" else method
    resized = to_network(image, 128, like)
    if method == "pad":  # mirrored pixels have no label: 13 before and 14 after
        resized = resized[:, 13:-14, 13:-14]
    np.testing.assert_allclose(found[..., 0], resized[..., 0])


@pytest.mark.parametrize(
    ("shape", "size"), [((101, 101), 128), ((7, 50), 64), ((90, 91), 91)]
)
def test_without_padding_takes_the_pixels_that_pad_added_away(shape, size):
    image = np.float32(tile(*shape)) / 255
    padded = resize.image_to_network(image, shape, size, "pad")
    found = resize.without_padding(padded, shape, size, "pad")
    np.testing.assert_array_equal(found, image)
    # Of a section that is larger than the tiles, the same number of pixels.
    larger = np.float32(tile(150, 133)) / 255
    padded = resize.image_to_network(larger, shape, size, "pad")
    found = resize.without_padding(padded, shape, size, "pad")
    np.testing.assert_array_equal(found, larger)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_interpolation_adds_no_padding(method):
    image = to_network(tile(30, 40), 64, method)
    found = resize.without_padding(image, (30, 40), 64, method)
    np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("method", ["nearest", "pad"])
@pytest.mark.parametrize(
    ("shape", "size"),
    [((101, 101), 128), ((64, 128), 128), ((7, 50), 128), ((90, 90), 135)],
)
def test_probability_to_native_inverts_image_to_network(method, shape, size):
    @jax.jit
    def there_and_back(image):
        network = to_network(image, size, method)
        return resize.probability_to_native(
            network[..., :1], shape, shape, size, method
        )

    image = tile(*shape)
    native = there_and_back(image)
    np.testing.assert_allclose(native, np.float32(image[..., :1]) / 255, atol=1e-6)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", [(101, 101), (300, 40)])
def test_probability_to_native_keeps_positions(method, shape):
    # A ramp over the rows becomes the same ramp, up to a pixel of either grid.
    ramp = np.tile(np.linspace(0, 1, 128, dtype=np.float32)[:, None], (1, 128))[
        None, :, :, None
    ]
    native = resize.probability_to_native(ramp, shape, shape, 128, method)
    expected = (np.arange(shape[0]) + 0.5) / shape[0]
    step = 1 / min(128, shape[0])
    np.testing.assert_allclose(native[0, :, 5, 0], expected, atol=step)


@pytest.mark.parametrize("method", settings.CHOICES["data.resize"])
@pytest.mark.parametrize("tile_shape", [(101, 101), (40, 60), (130, 200), (400, 300)])
@pytest.mark.parametrize("shape", [(101, 101), (250, 333), (5, 700), (1, 1)])
def test_sections_of_any_size_keep_the_scale_of_a_tile(method, tile_shape, shape):
    size = 128 if method != "pad" else 400
    image = np.float32(tile(*shape)) / 255
    network = resize.image_to_network(image, tile_shape, size, method)
    expected = [
        resize.network_length(n, t, size, method) for n, t in zip(shape, tile_shape)
    ]
    assert network.shape == (1, *expected, 3)
    prob = resize.probability_to_native(
        network[..., :1], shape, tile_shape, size, method
    )
    assert prob.shape == (1, *shape, 1)
    if method == "pad" or (method == "nearest" and max(tile_shape) <= size):
        np.testing.assert_allclose(prob, image[..., :1], atol=1e-6)


@pytest.mark.parametrize("method", settings.CHOICES["data.resize"])
def test_a_section_cropped_by_a_tile_is_resized_alike(method):
    # Long sections are computed in pieces.
    image = np.float32(tile(101, 404)) / 255
    size = 128
    whole = resize.image_to_network(image, (101, 101), size, method)
    later = resize.image_to_network(image[:, :, 101:], (101, 101), size, method)
    shift = 101 if method == "pad" else 128
    # Bilinear interpolation, and mirrored edges, differ near the new edge.
    edge = {"nearest": 0, "bilinear": 1, "pad": 14}[method]
    np.testing.assert_allclose(
        later[:, :, edge:], whole[:, :, shift + edge :], atol=1e-6
    )


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_memory_grows_linearly_with_long_axes(method):
    # A matrix of weights for this axis would have 1e10 entries.
    line = np.zeros((1, 100_000, 2, 1), np.float32)
    network = resize.image_to_network(line, (101, 101), 128, method)
    prob = resize.probability_to_native(network, (100_000, 2), (101, 101), 128, method)
    assert prob.shape == line.shape


@pytest.mark.parametrize(("old", "new"), [(101, 128), (128, 101), (30, 7), (7, 30)])
def test_linear_interpolation_equals_jaxs(old, new):
    image = np.random.default_rng(0).random((2, old, old + 3, 2), np.float32)
    shape = (2, new, new + 5, 2)
    expected = jax.image.resize(image, shape, "bilinear")
    found = image
    for axis in (1, 2):
        scale = shape[axis] / image.shape[axis]
        found = resize._interpolate_axis(found, axis, shape[axis], scale)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 10), (30, 24)])
@pytest.mark.parametrize("method", settings.CHOICES["data.resize"])
def test_labels_keep_their_values(method, shape):
    label = np.random.default_rng(0).choice(np.uint8([0, 1, 255]), (2, *shape, 1))
    found = resize.label_to_network(label, shape, 40 if method == "pad" else 16, method)
    for value in (0, 1, 255):
        expected = resize.label_to_network(
            np.uint8(label == value), shape, 40 if method == "pad" else 16, method
        )
        np.testing.assert_array_equal(found == value, expected == 1)
