import numpy as np
import pytest
from PIL import Image

from saltjax.data import png

MASK = np.array([[0, 1], [1, 0]], np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(MASK * 255),
        Image.fromarray(MASK),
        Image.fromarray(MASK * 17),
        Image.fromarray(MASK.astype(np.uint16) * 65535),
        Image.fromarray(MASK * 255).convert("1"),
        Image.fromarray(MASK * 255).convert("RGB"),
        Image.fromarray(MASK * 255).convert("RGBA"),
        Image.fromarray(MASK * 255).convert("P"),
        Image.fromarray(MASK * 255).convert("LA"),
    ],
    ids=["L", "L of ones", "L of seventeens", "I;16", "1", "RGB", "RGBA", "P", "LA"],
)
def test_masks_of_every_mode_become_zeros_and_ones(tmp_path, image):
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(png.read_mask(tmp_path / "m.png")[:, :, 0], MASK)


def test_images_of_every_depth_become_rgb_bytes(tmp_path):
    grey = np.array([[0, 128, 255]], np.uint8)
    images = {
        "L": Image.fromarray(grey),
        "RGB": Image.fromarray(grey).convert("RGB"),
        "I;16": Image.fromarray(grey.astype(np.uint16) * 257),
        "P": Image.fromarray(grey).convert("P"),
    }
    for mode, image in images.items():
        assert image.mode == mode
        image.save(tmp_path / "i.png")
        found = png.read_image(tmp_path / "i.png")
        np.testing.assert_array_equal(found, np.repeat(grey[:, :, None], 3, axis=2))
