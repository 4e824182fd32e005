import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from saltjax.data import image_file

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
def test_masks_of_every_mode_become_0_and_1(tmp_path, image):
    image.save(tmp_path / "m.png")
    mask = image_file.read_mask(tmp_path / "m.png")
    np.testing.assert_array_equal(mask.label[:, :, 0], MASK)
    deep = image.mode.startswith("I")
    assert (mask.largest, mask.full) == (65535 if deep else 255, False)
    # Of bits, and of palettes, Pillow makes 255.
    kept = np.asarray(image).max() if image.mode in ("L", "I;16") else 255
    assert mask.salt == kept


def test_images_of_every_bit_depth_become_rgb_bytes(tmp_path):
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
        found = image_file.read_image(tmp_path / "i.png")
        np.testing.assert_array_equal(found, np.repeat(grey[:, :, None], 3, axis=2))


def write_sixteen_bit_colours(path, values):
    """Writes values uint16[H, W, 3] as a PNG of 16 bits per sample, which Pillow cannot."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0)
    content = image_file.SIGNATURE
    for name, data in (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        checksum = struct.pack(">I", zlib.crc32(name + data))
        content += struct.pack(">I", len(data)) + name + data + checksum
    path.write_bytes(content)


def test_how_much_of_their_range_sixteen_bits_use_is_told(tmp_path):
    path = tmp_path / "i.png"
    for values in ([0, 1020], [0, 65535], [40000, 0], [0, 0]):
        Image.fromarray(np.array([values], np.uint16)).save(path)
        pixels, largest = image_file.decode_image(path)
        assert largest == max(values)
        expected = np.rint(np.array(values) * 255 / 65535)
        np.testing.assert_array_equal(pixels[0, :, 0], expected)
    # Of colours only the upper bytes are known.
    for value, largest in ((0x03FC, 0x03FF), (0x80FC, 0x80FF)):
        write_sixteen_bit_colours(path, np.full((2, 3, 3), value, np.uint16))
        pixels, found = image_file.decode_image(path)
        assert (int(pixels[0, 0, 0]), found) == (value >> 8, largest)
    Image.fromarray(MASK).save(path)
    assert image_file.decode_image(path)[1] == 0


@pytest.mark.parametrize("reader", [image_file.read_image, image_file.read_mask])
@pytest.mark.parametrize("shape", [(2**14, 2**14), (4097, 4096), (2**31 - 1, 1)])
def test_size_in_the_header_is_checked_before_pillow_sees_the_file(
    tmp_path, monkeypatch, recwarn, reader, shape
):
    Image.fromarray(MASK).save(tmp_path / "m.png")
    content = bytearray((tmp_path / "m.png").read_bytes())
    content[16:24] = struct.pack(">2I", *shape)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "m.png").write_bytes(content)

    def opened(*_, **__):
        raise AssertionError("Pillow opened it")

    monkeypatch.setattr(Image, "open", opened)
    message = f"^{shape[0]}×{shape[1]} pixels; a tile has at most 16777216$"
    with pytest.raises(ValueError, match=message):
        reader(tmp_path / "m.png")
    assert not recwarn.list


def test_an_image_of_the_largest_size_is_read_without_a_warning(tmp_path, recwarn):
    # Zeros, in a palette of one bit a pixel.
    Image.new("1", (4096, 4096)).save(tmp_path / "i.png")
    assert image_file.read_image(tmp_path / "i.png").shape == (4096, 4096, 3)
    assert not recwarn.list


def test_sixteen_bits_of_a_tiff(tmp_path):
    values = np.arange(120, dtype=np.uint16).reshape(12, 10) * 540
    Image.fromarray(values).save(tmp_path / "a.tif")
    pixels, largest = image_file.decode_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels[:, :, 1], np.rint(values / 257))
    assert largest == values.max()
    assert image_file.read_size(tmp_path / "a.tif") == (12, 10)


def test_tiffs_and_jpegs_that_are_refused(tmp_path):
    grey = np.arange(120, dtype=np.uint8).reshape(12, 10)
    Image.fromarray(np.float32(grey)).save(tmp_path / "float.tif")
    Image.fromarray(np.int32(grey)).save(tmp_path / "int.tif")
    pages = [Image.fromarray(grey), Image.fromarray(grey)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    Image.fromarray(grey).save(tmp_path / "cut.tif")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8)).save(
        tmp_path / "cut.jpg"
    )
    exif = Image.Exif()
    exif[274] = 6
    for name in ("turned.jpg", "turned.tif"):
        Image.fromarray(grey).save(tmp_path / name, exif=exif)
    Image.fromarray(np.uint16(grey)).save(tmp_path / "white.tif", tiffinfo={262: 0})
    for name in ("cut.tif", "cut.jpg"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    Image.fromarray(grey).save(tmp_path / "other.jpg", format="PNG")
    Image.new("1", (5000, 5000)).save(tmp_path / "large.tif")
    Image.fromarray(np.stack([grey] * 4, 2)).save(tmp_path / "alpha.tif")
    for name, reason in {
        "float.tif": "a TIFF of 32 bits, with a sign or floating-point",
        "int.tif": "a TIFF of 32 bits, with a sign",
        "pages.tif": "2 images in one file",
        "white.tif": "in which 0 is white",
        "turned.jpg": "its orientation, 6",
        "turned.tif": "its orientation, 6",
        "cut.tif": "TIFF",
        "cut.jpg": "damaged JPEG",
        "other.jpg": "not a JPEG file",
        "large.tif": "5000×5000 pixels",
        "alpha.tif": "transparent pixels",
    }.items():
        with pytest.raises(ValueError, match=reason):
            image_file.decode_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_random_damage_is_an_error_or_an_image(tmp_path, kind):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (24, 20), np.uint8)
    path = tmp_path / f"a.{kind.lower()}"
    Image.fromarray(grey).save(path, format=kind)
    whole = path.read_bytes()
    for _ in range(200):
        content = bytearray(whole)
        # Mostly the headers, which of a TIFF are at its end.
        for place in (
            rng.integers(0, len(content), 3)
            if rng.random() < 0.5
            else rng.integers(-150, 150, 4)
        ):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            pixels = image_file.read_image(path)
        except ValueError:
            continue
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
