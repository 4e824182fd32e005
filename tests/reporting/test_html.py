import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from saltjax.reporting import html


def unpacked(text):
    return zlib.decompress(base64.b64decode(text))


def test_probabilities_are_packed_as_differences_along_rows():
    array = np.array([[[0, 1, 257], [65535, 0, 300]]], np.uint16)
    # 0, 1, 256 and 65535, 1 - 65536 + 65536 = 1, 300, by hand.
    assert unpacked(html.pack_uint16(array)) == bytes(
        [0, 0, 1, 255, 0, 1, 0, 1, 0, 255, 1, 44]
    )
    assert array[0, 1, 0] == 65535  # unchanged


def test_bytes_are_packed_as_differences_along_rows():
    array = np.array([[[0, 255, 3], [7, 7, 0]]], np.uint8)
    # 255, 3 - 255 + 256 = 4, 0 - 7 + 256 = 249, by hand.
    assert unpacked(html.pack_uint8(array)) == bytes([0, 255, 4, 7, 0, 249])
    assert array[0, 0, 2] == 3  # unchanged


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize(("n", "columns"), [(1, 1), (5, 3), (9, 3)])
def test_a_mosaic_holds_every_image_exactly(n, columns, grey):
    images = np.random.default_rng(0).integers(0, 256, (n, 6, 6, 3)).astype(np.uint8)
    if grey:
        images[:] = images[..., :1]
    url, found = html.mosaic(images)
    assert found == columns
    kind, _, content = url.partition(",")
    assert kind == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert picture.mode == ("L" if grey else "RGB")
    pixels = np.asarray(picture.convert("RGB"))
    for i, image in enumerate(images):
        y, x = 6 * (i // columns), 6 * (i % columns)
        assert np.array_equal(pixels[y : y + 6, x : x + 6], image)


def test_a_mosaic_of_wide_images_is_about_square():
    url, columns = html.mosaic(np.zeros((8, 10, 40, 3), np.uint8))
    assert columns == 2
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert picture.size == (80, 40)
