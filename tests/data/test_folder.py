import collections
import logging
import os
import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from saltjax.data import folder
from saltjax.data.image_file import UNNAMED
from saltjax.data.tiles import UNLABELLED
from saltjax.system.errors import InputError


def test_tiles_are_read_in_order_of_ids(tile_folder):
    tiles = folder.read_folder(str(tile_folder))
    assert tiles.ids == tuple(f"t{i:02d}" for i in range(30))
    assert tiles.images.shape == (30, 12, 10, 3)
    assert tiles.images.dtype == tiles.labels.dtype == np.uint8
    np.testing.assert_array_equal(tiles.images[:, 5, 5, 1], np.arange(30))
    # Tile i has salt in its first i % 4 rows of 12, whatever the mask's bit depth.
    np.testing.assert_array_equal(
        tiles.labels.sum(axis=(1, 2, 3)), np.arange(30) % 4 * 10
    )
    assert tiles.labels[3, 2, 0, 0] == 1
    assert tiles.labels[3, 3, 0, 0] == 0


def spoil(root: pathlib.Path) -> dict[str, str]:
    """Damages a directory of tiles in many ways; returns {file: part of the expected reason}."""
    images, masks = root / "images", root / "masks"
    (images / "t00.png").write_bytes(b"garbage")
    noise = np.random.default_rng(0).integers(0, 256, (12, 10), np.uint8)
    Image.fromarray(noise).save(images / "t01.png")
    whole = (images / "t01.png").read_bytes()
    (images / "t01.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (10, 12)).save(images / "t02.png", format="JPEG")
    Image.new("L", (10, 12), 7).save(masks / "t03.png")
    Image.fromarray(np.arange(120, dtype=np.uint8).reshape(12, 10)).save(
        masks / "t04.png"
    )
    Image.new("RGB", (10, 12), (255, 0, 0)).save(masks / "t05.png")
    Image.new("RGB", (11, 12)).save(images / "t06.png")
    (masks / "t07.png").unlink()
    (images / "t08.png").unlink()
    (images / "t09.png").unlink()
    (images / "t09.png").symlink_to(root / "nowhere")
    Image.new("1", (5000, 5000)).save(images / "t10.png")
    (images / "t11.png").write_bytes(b"")
    (images / "t12.PNG").write_bytes(whole)
    (images / "t13.png").write_bytes(whole[:-20])
    chunk = b"tEXtsome words"
    damaged = struct.pack(">I", len(chunk) - 4) + chunk + b"\0\0\0\0"
    (images / "t14.png").write_bytes(whole[:-12] + damaged + whole[-12:])
    (images / "t15.png").write_bytes(with_half_of_its_rows(whole))
    (images / "t16.png").unlink()
    os.mkfifo(images / "t16.png")
    alpha = np.zeros((12, 10, 4), np.uint8)
    alpha[:6] = 255
    Image.fromarray(alpha).save(masks / "t17.png")
    with (masks / "t18.png").open("wb") as file:
        file.truncate(2**28)  # sparse
    (masks / ".DS_Store").write_bytes(b"hidden files are ignored")
    return {
        "images/t00.png": "not a PNG",
        "images/t01.png": "damaged PNG",
        "images/t02.png": "not a PNG",
        "masks/t03.png": "mask values 7",
        "masks/t04.png": "mask values 0, 1, 2, 3, 4, …",
        "masks/t05.png": "in colour",
        "images/t06.png": "11×12 pixels; the others have 10×12",
        "images/t07.png": "no mask",
        "masks/t08.png": "no image",
        "images/t09.png": "broken link",
        "images/t10.png": "5000×5000 pixels",
        "images/t11.png": "not a PNG",
        "images/t12.png": "has the same id as t12.PNG",
        "images/t13.png": "damaged PNG",
        "images/t14.png": "checksum of its b'tEXt' chunk",
        "images/t15.png": "66 bytes of pixels, expected 132",
        "images/t16.png": "not a regular file",
        "masks/t17.png": "transparent pixels",
        "masks/t18.png": "268435456 bytes",
    }


def with_half_of_its_rows(png_file: bytes) -> bytes:
    """Returns a grey PNG whose pixel data are a valid zlib stream of half of the rows."""
    start = png_file.index(b"IDAT")
    (length,) = struct.unpack(">I", png_file[start - 4 : start])
    rows = zlib.decompress(png_file[start + 4 : start + 4 + length])
    chunk = b"IDAT" + zlib.compress(rows[: len(rows) // 2])
    new = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    return png_file[: start - 4] + new + png_file[start + 8 + length :]


def test_error_names_all_bad_files(tile_folder):
    expected = spoil(tile_folder)
    with pytest.raises(InputError) as caught:
        folder.read_folder(str(tile_folder))
    lines = str(caught.value).splitlines()
    assert f"{len(expected)} bad file(s)" in lines[0]
    assert len(lines) == 1 + len(expected)
    for name, reason in expected.items():
        (line,) = [line for line in lines if f"/{name}:" in line]
        assert reason in line


def test_other_formats_and_stray_files(tile_folder, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    expected = folder.read_folder(str(tile_folder))
    assert "Ignored" not in caplog.text
    for i, suffix in enumerate((".tif", ".TIFF", ".PNG")):
        for name in ("images", "masks"):
            path = tile_folder / f"{name}/t{i:02d}.png"
            with Image.open(path) as image:
                image.load()
            path.unlink()
            kind = "PNG" if suffix == ".PNG" else "TIFF"
            image.save(path.with_suffix(suffix), format=kind)
    photo = tile_folder / "images/t03.png"
    Image.open(photo).convert("RGB").save(photo.with_suffix(".jpg"), quality=100)
    photo.unlink()
    for name in ("Thumbs.db", "notes.txt", ".hidden"):
        (tile_folder / "images" / name).write_bytes(b"x")
    tiles = folder.read_folder(str(tile_folder))
    assert tiles.ids == expected.ids
    np.testing.assert_array_equal(tiles.labels, expected.labels)
    others = np.delete(np.arange(30), 3)
    np.testing.assert_array_equal(tiles.images[others], expected.images[others])
    difference = np.int32(tiles.images[3]) - expected.images[3]
    assert np.abs(difference).max() <= 2  # JPEG is lossy
    ignored = f"2 files in {tile_folder / 'images'}: Thumbs.db, notes.txt"
    assert f"Ignored    {ignored}" in caplog.text


def write_masks(root, masks):
    """Writes masks, arrays by id, and images to them."""
    for name in ("images", "masks"):
        (root / name).mkdir()
    for name, mask in masks.items():
        Image.new("L", mask.shape[::-1], 9).save(root / f"images/{name}.png")
        Image.fromarray(mask).save(root / f"masks/{name}.png")


HALF = np.repeat([[0], [1]], 4, axis=1).astype(np.uint8)
FULL, EMPTY = np.ones_like(HALF), np.zeros_like(HALF)


def test_a_mask_of_salt_only_has_the_value_of_the_others(tmp_path):
    deep = HALF.astype(np.uint16)
    masks = {
        "a": FULL * np.uint8(128),
        "b": HALF * np.uint8(128),
        "c": EMPTY,
        "d": deep * np.uint16(300),
        "e": (deep * 0 + 1) * np.uint16(300),
    }
    write_masks(tmp_path, masks)
    labels = folder.read_folder(str(tmp_path)).labels[..., 0]
    np.testing.assert_array_equal(labels, [FULL, HALF, EMPTY, HALF, FULL])


@pytest.mark.parametrize("value", [1, 255])
def test_masks_of_salt_only_hold_1_or_the_largest_value(tmp_path, value):
    write_masks(tmp_path, {"a": FULL * np.uint8(value), "b": EMPTY})
    labels = folder.read_folder(str(tmp_path)).labels[..., 0]
    np.testing.assert_array_equal(labels, [FULL, EMPTY])


def test_masks_with_other_values_of_salt_are_all_listed(tmp_path):
    values = {"a": 255, "b": 255, "c": 1, "e": 128, "f": 255}
    masks = {name: HALF * np.uint8(value) for name, value in values.items()}
    masks["d"] = FULL * np.uint8(128)
    masks["g"] = (HALF * np.uint16(0) + np.uint16(7)).astype(np.uint16)
    write_masks(tmp_path, masks)
    with pytest.raises(InputError) as caught:
        folder.read_folder(str(tmp_path))
    lines = str(caught.value).splitlines()
    assert "4 bad file(s)" in lines[0]
    reasons = {line.split("/")[-1].partition(".png: ")[::2] for line in lines[1:]}
    assert reasons == {
        ("c", f"salt has the value 1; in most other masks 255{UNNAMED}"),
        ("d", f"salt has the value 128; in most other masks 255{UNNAMED}"),
        ("e", f"salt has the value 128; in most other masks 255{UNNAMED}"),
        ("g", "mask values 7, no 0; expected 0 and one value for salt"),
    }


@pytest.mark.parametrize("missing", ["", "images", "masks"])
def test_error_names_missing_or_empty_directories(tmp_path, missing):
    if missing == "":
        (tmp_path / "images").mkdir()
        (tmp_path / "masks").mkdir()
        expected = "no images"
    else:
        (tmp_path / ({"images", "masks"} - {missing}).pop()).mkdir()
        expected = f"cannot list {tmp_path / missing}"
    with pytest.raises(InputError, match=expected):
        folder.read_folder(str(tmp_path))


def test_error_names_files_whose_name_is_not_utf8(tile_folder):
    for part in ("images", "masks"):
        path = tile_folder / part / os.fsdecode(b"\xff.png")
        path.write_bytes((tile_folder / part / "t01.png").read_bytes())
    with pytest.raises(InputError) as caught:
        folder.read_folder(str(tile_folder))
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 2
    for part, line in zip(("images", "masks"), lines):
        assert f"/{part}/" in line
        assert line.endswith(": the file name is not UTF-8")


MEMORY = pathlib.Path(
    "/proc/self/mem"
)  # a regular file whose first byte cannot be read


@pytest.mark.skipif(not MEMORY.exists(), reason="no /proc file system")
def test_error_names_file_with_read_error(tile_folder):
    (tile_folder / "images/t00.png").unlink()
    (tile_folder / "images/t00.png").symlink_to(MEMORY)
    with pytest.raises(InputError, match=r"images/t00\.png: .*Input/output error"):
        folder.read_folder(str(tile_folder))


@pytest.mark.skipif(os.getuid() == 0, reason="root reads whatever the permissions")
def test_error_names_unreadable_file(tile_folder):
    (tile_folder / "images/t00.png").chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        folder.read_folder(str(tile_folder))


def test_most_common_size_is_the_expected_one(tile_folder):
    for i in range(3):
        Image.new("L", (9, 9)).save(tile_folder / f"masks/t{i:02d}.png")
    with pytest.raises(InputError) as caught:
        folder.read_folder(str(tile_folder))
    named = collections.Counter(
        line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]
    )
    assert set(named) == {str(tile_folder / f"masks/t{i:02d}.png") for i in range(3)}


def write_sixteen_bits(root, largest):
    """Writes tiles with 16-bit images, the largest value in the first of them."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for i, value in enumerate((largest, largest // 3, 0)):
        grey = np.full((12, 10), value, np.uint16)
        Image.fromarray(grey).save(root / f"images/{i}.png")
        Image.fromarray(np.zeros((12, 10), np.uint8)).save(root / f"masks/{i}.png")


@pytest.mark.parametrize(
    ("largest", "bits", "full"),
    [(1020, 10, 1023), (4095, 12, 4095), (200, 8, 255), (32767, 15, 32767)],
)
def test_sixteen_bits_that_hold_fewer_are_refused(tmp_path, largest, bits, full):
    write_sixteen_bits(tmp_path, largest)
    message = f"{largest}, as if they held {bits} bits; .* 65535 / {full};"
    with pytest.raises(InputError, match=message) as caught:
        folder.read_folder(str(tmp_path))
    assert str(tmp_path / "images") in str(caught.value)


def test_one_bright_image_shows_the_range_of_all(tmp_path):
    write_sixteen_bits(tmp_path, 32768)
    images = folder.read_folder(str(tmp_path)).images
    assert images[:, 0, 0, 0].tolist() == [128, 42, 0]
    write_sixteen_bits(tmp_path / "black", 0)
    assert not folder.read_folder(str(tmp_path / "black")).images.any()


def test_unlabelled_pixels_of_masks(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    masks = {
        "a": np.array([[0, 255, 128, 0]] * 4, np.uint8),
        "b": np.array([[255, 255, 128, 255]] * 4, np.uint8),
        "c": np.zeros((4, 4), np.uint8),
    }
    write_masks(tmp_path, masks)
    tiles = folder.read_folder(str(tmp_path), unlabelled=128)
    expected = [[0, 1, UNLABELLED, 0], [1, 1, UNLABELLED, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(tiles.labels[:, 2, :, 0], expected)
    np.testing.assert_allclose(tiles.summary.coverage, [1 / 3, 1, 0])
    assert "Unlabelled 16.7% of the pixels, in 2 of 3 tiles" in caplog.text
    assert "Warning" not in caplog.text
    with pytest.raises(InputError, match="mask values 0, 128, 255; expected only 0"):
        folder.read_folder(str(tmp_path))
    Image.new("L", (4, 4), 128).save(tmp_path / "masks/c.png")
    with pytest.raises(
        InputError, match=r"c\.png: all pixels are 128, without a label"
    ):
        folder.read_folder(str(tmp_path), unlabelled=128)


def test_the_value_of_salt_named_as_unlabelled_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    write_masks(tmp_path, {"a": HALF * np.uint8(255), "b": EMPTY})
    folder.read_folder(str(tmp_path), unlabelled=255)
    assert (
        "no mask holds salt: is 255, data.unlabelled, the value of salt?" in caplog.text
    )
