import jax
import numpy as np
import pytest
from PIL import Image

from saltjax import resize, settings


def tile(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)


@pytest.mark.parametrize("shape", [(101, 101), (60, 80), (200, 202)])
@pytest.mark.parametrize(("method", "filter"), [("nearest", 0), ("bilinear", 2)])
def test_interpolation_is_pillows(shape, method, filter):
    image = tile(*shape)
    found = resize.image_to_network(image, 128, method)
    assert found.dtype == np.float32
    assert found.shape == (1, 128, 128, 3)
    channel = Image.fromarray(image[0, :, :, 1].astype(np.float32))
    expected = np.asarray(channel.resize((128, 128), filter)) / 255
    np.testing.assert_allclose(found[0, :, :, 1], expected, atol=1e-5)


def test_pad_mirrors():
    image = tile(101, 90)
    expected = np.pad(image, ((0, 0), (13, 14), (19, 19), (0, 0)), mode="reflect")
    found = resize.image_to_network(image, 128, "pad")
    np.testing.assert_allclose(found, np.float32(expected) / 255, atol=1e-7)


@pytest.mark.parametrize("method", settings.CHOICES["data.resize"])
def test_labels_stay_binary_and_follow_the_image(method):
    label = (tile(101, 101)[..., :1] > 127).astype(np.uint8)
    image = np.repeat(label * 255, 3, axis=3)
    found = np.asarray(resize.label_to_network(label, 128, method))
    assert set(np.unique(found)) == {0.0, 1.0}
    like = "nearest" if method == "bilinear" else method
    np.testing.assert_allclose(
        found[..., 0], resize.image_to_network(image, 128, like)[..., 0]
    )


@pytest.mark.parametrize("method", ["nearest", "pad"])
@pytest.mark.parametrize(
    ("shape", "size"),
    [((101, 101), 128), ((64, 128), 128), ((7, 50), 128), ((90, 90), 135)],
)
def test_back_to_native_is_the_exact_inverse(method, shape, size):
    @jax.jit
    def there_and_back(image):
        network = resize.image_to_network(image, size, method)
        return resize.probability_to_native(network[..., :1], shape, method)

    image = tile(*shape)
    native = there_and_back(image)
    np.testing.assert_allclose(native, np.float32(image[..., :1]) / 255, atol=1e-6)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", [(101, 101), (300, 40)])
def test_back_to_native_keeps_places(method, shape):
    # A ramp down the rows comes back as the same ramp, up to a pixel of either grid.
    ramp = np.tile(np.linspace(0, 1, 128, dtype=np.float32)[:, None], (1, 128))[
        None, :, :, None
    ]
    native = resize.probability_to_native(ramp, shape, method)
    expected = (np.arange(shape[0]) + 0.5) / shape[0]
    step = 1 / min(128, shape[0])
    np.testing.assert_allclose(native[0, :, 5, 0], expected, atol=step)
