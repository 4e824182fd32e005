"""Image files: PNG is decoded completely and correctly, or refused with a reason.

JPEG and TIFF have no checksums: damage is found where it keeps them from being decoded.
"""

import collections
import dataclasses
import io
import pathlib
import stat
import struct
import warnings
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from saltjax.data.tiles import UNLABELLED

# More pixels than this are not a tile: the header is wrong, or it is a whole section.
MAX_PIXELS = 2**24
MAX_BYTES = 8 * MAX_PIXELS
# How a message of a third value in masks ends.
UNNAMED = " (one of pixels without a label is named by data.unlabelled)"
# Formats by suffix, in lower case.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_image(path: pathlib.Path) -> np.ndarray:
    """Returns uint8[H, W, 3] for an image of any mode; see `decode_image`."""
    return decode_image(path)[0]


def decode_image(path: pathlib.Path) -> tuple[np.ndarray, int]:
    """Returns uint8[H, W, 3] for an image of any mode, and how much of its range 16 bits use.

    16-bit values are taken as 0 to 65535 and become 0 to 255. The second result is the largest of
    them, for `folder.check_range`; for colours, of which only the upper bytes are decoded, the
    largest that it can be; for other bit depths 0.

    Raises:
      ValueError: if the file is not a readable image of at most MAX_PIXELS, of 8 or 16 bits.
    """
    with _open(path) as image:
        if image.mode.startswith("I"):
            values = np.asarray(image)
            grey = np.rint(np.float32(values) / 257).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2), int(values.max())
        pixels = np.asarray(image.convert("RGB"))
        return pixels, 256 * int(pixels.max()) + 255 if image.info["depth"] == 16 else 0


def read_sixteen_bits(path: pathlib.Path) -> np.ndarray:
    """Returns uint16[H, W] for a grey PNG of 16 bits, such as those of probabilities.

    Raises:
      ValueError: if the file is not one.
    """
    with _open(path) as image:
        if not image.mode.startswith("I"):
            raise ValueError("not a grey PNG of 16 bits")
        return np.asarray(image).astype(np.uint16)


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """Returns the height and width in the header of an image; raises OSError if it cannot be read."""
    with Image.open(path, formats=[*set(FORMATS.values())]) as image:
        return image.height, image.width


@dataclasses.dataclass(frozen=True)
class Mask:
    """A mask as it was read.

    Attributes:
      label: uint8[H, W, 1], 1 where salt, 0 where none, or UNLABELLED.
      salt: the value of salt, 0 if there is none.
      largest: the largest value of its bit depth, 255 or 65535.
      full: whether all that is labelled is salt.
    """

    label: np.ndarray
    salt: int
    largest: int
    full: bool


def read_mask(path: pathlib.Path, unlabelled: int = -1) -> Mask:
    """Returns a mask of any bit depth, which holds 0 for no salt and one other value for salt.

    Args:
      path: the file.
      unlabelled: the value of pixels without a label, not 0; a negative one for none.

    Raises:
      ValueError: if the file is not a readable image of such values, or has no labelled pixel.
    """
    with _open(path) as image:
        if image.mode.startswith("I"):
            values, largest = np.asarray(image), 65535
        else:
            rgb, largest = np.asarray(image.convert("RGB")), 255
            values = rgb[:, :, 0]
            if (rgb != values[:, :, None]).any():
                raise ValueError(
                    "a mask in colour; expected grey, 0 and one value for salt"
                )
    levels = np.unique(values)
    salt = levels[(levels > 0) & (levels != unlabelled)]
    if len(salt) > 1:
        listed = ", ".join(map(str, levels[:5])) + (", …" if len(levels) > 5 else "")
        besides = f", besides {unlabelled} for none" if unlabelled > 0 else UNNAMED
        raise ValueError(
            f"mask values {listed}; expected only 0 and one value for salt{besides}"
        )
    label = (values > 0).astype(np.uint8)[:, :, None]
    label[values == unlabelled] = UNLABELLED
    if (label == UNLABELLED).all():
        raise ValueError(f"all pixels are {unlabelled}, without a label; expected some")
    return Mask(label, int(salt.sum()), largest, bool(salt.size and label.all()))


def salt_values(masks: Iterable[Mask]) -> dict[int, int]:
    """Returns the value of salt in masks of one directory, for each largest value of a bit depth.

    It is the most frequent one. A mask that is salt everywhere counts only if its value is 1 or the
    largest: any other could be an image.
    """
    counts: dict[int, collections.Counter] = collections.defaultdict(
        collections.Counter
    )
    for mask in masks:
        if mask.salt and (not mask.full or mask.salt in (1, mask.largest)):
            counts[mask.largest][mask.salt] += 1
    return {
        depth: max(count, key=lambda v: (count[v], v))
        for depth, count in counts.items()
    }


def write(path: pathlib.Path, pixels: np.ndarray) -> None:
    """Writes grey pixels uint8[H, W] or uint16[H, W]; raises OSError if it cannot."""
    Image.fromarray(pixels).save(path, format="PNG")


def _open(path: pathlib.Path) -> Image.Image:
    """Opens an image and decodes it, its size checked beforehand; raises only ValueError.

    Its info has `depth`, the file's bits per sample, which Pillow's modes do not tell.
    """
    content, kind = _read(path), FORMATS.get(path.suffix.lower(), "PNG")
    image = _open_png(content) if kind == "PNG" else _open_other(content, kind)
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
        if alpha.min() < 255:
            raise ValueError("transparent pixels; expected none")
    return image


def _open_png(content: bytes) -> Image.Image:
    if content[:8] != SIGNATURE or content[12:16] != b"IHDR" or len(content) < 33:
        raise ValueError("not a PNG file, or its header is damaged")
    width, height = struct.unpack(">2I", content[16:24])
    # Before Pillow sees it, which warns of large images before it refuses them.
    _check_pixels(width, height)
    try:
        image = Image.open(io.BytesIO(content), formats=["PNG"])
        image.load()
        _check_chunks(content)
    except Image.UnidentifiedImageError:
        raise ValueError("not a PNG file, or its header is damaged") from None
    except Exception as error:
        raise ValueError(f"damaged PNG: {error}") from None
    image.info["depth"] = content[24]
    return image


def _open_other(content: bytes, kind: str) -> Image.Image:
    """Opens a JPEG or TIFF file; of the latter those of one page, of 1, 8 or 16 bits without a sign."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, and of a TIFF's tags
            image = Image.open(io.BytesIO(content), formats=[kind])
            pages = getattr(image, "n_frames", 1)
            tags = getattr(image, "tag_v2", {})
            turned = image.getexif().get(274, 1)
            bits, signs, white = (
                tags.get(t, d) for t, d in ((258, (8,)), (339, (1,)), (262, 1))
            )
    except Image.DecompressionBombError:
        raise ValueError(
            f"more pixels than {MAX_PIXELS}, which a tile has at most"
        ) from None
    except Exception:
        raise ValueError(f"not a {kind} file, or its header is damaged") from None
    _check_pixels(image.width, image.height)
    if pages > 1:
        raise ValueError(f"{pages} images in one file; expected one")
    if turned != 1:
        raise ValueError(
            f"turned or mirrored by its orientation, {turned}; save it upright"
        )
    bits, signs = np.atleast_1d(bits), np.atleast_1d(signs)
    depth = 1 if image.mode == "1" else int(bits.max())
    if kind == "TIFF" and (not np.isin(bits, (1, 8, 16)).all() or (signs != 1).any()):
        raise ValueError(
            f"a TIFF of {depth} bits, with a sign or floating-point; expected 8 or 16 bits without a sign"
            if (signs != 1).any()
            else f"a TIFF of {depth} bits; expected 8 or 16, from 0 to 255 or 65535"
        )
    if depth == 16 and white == 0:
        raise ValueError("a TIFF of 16 bits in which 0 is white; expected 0 for black")
    try:
        image.load()
    except Exception as error:
        raise ValueError(f"damaged {kind}: {error}") from None
    image.info["depth"] = depth
    return image


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}×{height} pixels; a tile has at most {MAX_PIXELS}")


def _read(path: pathlib.Path) -> bytes:
    """Returns the content of a file of at most MAX_BYTES."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise ValueError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"{status.st_size} bytes; a tile has at most {MAX_BYTES}")
        return path.read_bytes()
    except FileNotFoundError:
        raise ValueError("no such file (a broken link?)") from None
    except OSError as error:
        raise ValueError(f"cannot read it ({error.strerror})") from None


def find(folder: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Returns the images in a directory, and the other files; hidden ones are the system's.

    Raises:
      OSError: if it cannot be listed.
    """
    paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    images = [p for p in paths if p.suffix.lower() in FORMATS]
    return images, [p for p in paths if p.suffix.lower() not in FORMATS]


def _check_chunks(png: bytes) -> None:
    """Raises ValueError unless every chunk of a PNG is complete and the last one is IEND.

    Pillow skips damage in chunks that it does not need, and fills missing rows.
    """
    position, name, data = 8, b"", b""
    while position < len(png) and name != b"IEND":
        length, name = struct.unpack(">I4s", png[position : position + 8])
        end = position + 12 + length
        body = png[position + 4 : end - 4]
        if png[end - 4 : end] != struct.pack(">I", zlib.crc32(body)):
            raise ValueError(f"checksum of its {name!r} chunk is wrong")
        if name == b"IDAT":
            data += body[4:]
        position = end
    if name != b"IEND":
        raise ValueError("truncated")
    width, height, depth, color, _, _, interlaced = struct.unpack(">2I5B", png[16:29])
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    expected = height * (1 + (width * samples * depth + 7) // 8)
    # Limited to one byte more than expected: a small file can expand to gigabytes.
    size = len(zlib.decompressobj().decompress(data, expected + 1))
    if not interlaced and size != expected:
        raise ValueError(f"{size} bytes of pixels, expected {expected}")
