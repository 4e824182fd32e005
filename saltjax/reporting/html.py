"""HTML pages in one file: template, style and scripts of `page/`, with arrays and images inside.

A page opens from disk and loads nothing: its content security policy admits only its own script and
style, by their hashes. Text from outside is escaped by the template.
"""

import base64
import functools
import hashlib
import io
import pathlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

FOLDER = pathlib.Path(__file__).parent / "page"


def render(template: str, styles: Sequence[str], scripts: Sequence[str], **values: Any):
    """Returns the text of a page.

    Args:
      template: the name of a Jinja template of `page/`.
      styles, scripts: the names of files of `page/`, which are joined.
      values: for the template.
    """
    from markupsafe import Markup

    style, script = (
        "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)
        for names in (styles, scripts)
    )
    policy = (
        f"default-src 'none'; img-src data:; script-src '{_hash(script)}'; "
        f"style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    )
    page = (
        _environment()
        .get_template(template)
        .render(policy=policy, style=Markup(style), script=Markup(script), **values)
    )
    return text(page)  # paths in it need not be UTF-8


@functools.cache
def _environment():
    # Imported here since only pages need it.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    environment.filters["number"] = number
    return environment


def _hash(text: str) -> str:
    """Returns the hash of a script or style as a content security policy names it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def text(name: str) -> str:
    """Returns text that can be written as UTF-8, with ? where names of files cannot."""
    return name.encode(errors="replace").decode()


def duration(seconds: float) -> str:
    """Returns a time for people.

    >>> duration(12.3), duration(363), duration(8052)
    ('12 s', '6 min 3 s', '2 h 14 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def number(value: float) -> str:
    """Returns a number for people, with a minus sign in place of a hyphen.

    >>> number(-7168.0), number(1e-12)
    ('−7168', '1e−12')
    """
    return f"{value:.6g}".replace("-", "−")


def pack(content: bytes) -> str:
    """Returns bytes compressed (zlib's format) in base64, as `unpack` of arrays.js reads them."""
    return base64.b64encode(zlib.compress(content, 6)).decode()


def pack_uint16(array: np.ndarray) -> str:
    """Returns uint16[..., W] packed: the differences along rows, all high bytes, then all low ones.

    Neighbouring probabilities are alike, so that this takes a quarter less than the values.
    """
    steps = array.copy()
    steps[..., 1:] -= array[..., :-1]  # modulo 65536
    high, low = (steps >> 8).astype(np.uint8), (steps & 255).astype(np.uint8)
    return pack(high.tobytes() + low.tobytes())


def pack_uint8(array: np.ndarray) -> str:
    """Returns uint8[..., W] packed: the differences along rows."""
    steps = array.copy()
    steps[..., 1:] -= array[..., :-1]  # modulo 256
    return pack(steps.tobytes())


def pack_pictures(pictures: Iterable[np.ndarray]) -> str:
    """Returns pictures uint8[H, W] packed: their differences along columns, then along rows.

    Of seismic images this takes a quarter less than the values; `fromPictures` of arrays.js undoes it.
    """
    content = bytearray()
    for picture in pictures:
        steps = picture.copy()
        steps[1:] -= picture[:-1]  # modulo 256
        content += np.diff(steps, axis=1, prepend=np.uint8(0)).tobytes()
    return pack(bytes(content))


def mosaic(images: np.ndarray) -> tuple[str, int]:
    """Returns images uint8[N, H, W, 3] in one PNG, row by row, and how many are in a row.

    The PNG is a data URL, grey if all images are.
    """
    n, height, width, _ = images.shape
    columns = int(np.ceil(np.sqrt(n * height / width)))
    rows = -(-n // columns)
    if (images == images[..., :1]).all():
        images = images[..., :1]
    whole = np.zeros((rows * columns, *images.shape[1:]), np.uint8)
    whole[:n] = images
    grid = whole.reshape(rows, columns, height, width, -1).swapaxes(1, 2)
    pixels = grid.reshape(rows * height, columns * width, -1)
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(
        file, format="PNG"
    )
    content = base64.b64encode(file.getvalue()).decode()
    return f"data:image/png;base64,{content}", columns
