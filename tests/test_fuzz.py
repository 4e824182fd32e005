"""Readers given random and mutated bytes: the right result or an error that says why."""

import io
import json
import pathlib
import re
import struct
import tempfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from configs import default
from saltjax.data import image_file
from saltjax.runs import saved_config
from saltjax.runs import settings as config_settings
from saltjax.runs import workdir as run_directory
from saltjax.system.errors import InputError

EXAMPLES = settings(max_examples=300, deadline=2000, derandomize=True)


def png(array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


SALT = np.random.default_rng(2).random((9, 7)) > 0.5
PIXELS = {
    "grey": np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8),
    "rgb": np.random.default_rng(1).integers(0, 256, (9, 7, 3), np.uint8),
    "deep": SALT.astype(np.uint16) * 65535,
}
PNGS = {name: png(pixels) for name, pixels in PIXELS.items()}
# As read: three channels of 8 bits.
IMAGES = {
    "grey": np.repeat(PIXELS["grey"][:, :, None], 3, axis=2),
    "rgb": PIXELS["rgb"],
    "deep": np.repeat(SALT[:, :, None] * np.uint8(255), 3, axis=2),
}


@st.composite
def mutated(draw, seeds):
    """One of the files, with bytes changed, removed or inserted, or its end removed."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        kind = draw(st.sampled_from(("change", "remove", "insert", "cut")))
        if kind == "change" and content:
            content[at] = draw(st.integers(0, 255))
        elif kind == "remove":
            del content[at : at + draw(st.integers(1, 20))]
        elif kind == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=20))
        elif kind == "cut":
            del content[at:]
    return bytes(content)


@st.composite
def mutated_chunks(draw):
    """One of the PNGs, a chunk of which is mutated and has the right length and checksum."""
    content = draw(st.sampled_from(list(PNGS.values())))
    chunks, position = [], 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append(content[position + 4 : position + 8 + length])
        position += 12 + length
    k = draw(st.integers(0, len(chunks) - 1))
    chunks[k] = chunks[k][:4] + draw(mutated([chunks[k][4:]]))
    return content[:8] + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in chunks
    )


def outcome(function, *args):
    """Returns the function's value, or the ValueError that it raises."""
    try:
        return function(*args)
    except ValueError as error:
        return error


def read_bytes(reader, content):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tile.png"
        path.write_bytes(content)
        return outcome(reader, path)


@EXAMPLES
@given(
    mutated(list(PNGS.values()))
    | st.binary(max_size=200)
    | st.binary().map(lambda b: PNGS["grey"][:8] + b)
)
def test_images_are_read_as_they_were_or_refused(content):
    image = read_bytes(image_file.read_image, content)
    if isinstance(image, ValueError):
        assert str(image)
    else:
        # The checksums detect every mutation, except of bytes after the last chunk.
        assert image.dtype == np.uint8
        assert any(np.array_equal(image, other) for other in IMAGES.values())


@EXAMPLES
@given(mutated_chunks())
def test_images_of_valid_checksums_are_read_in_full_or_refused(content):
    image = read_bytes(image_file.read_image, content)
    if isinstance(image, ValueError):
        assert str(image)
    else:
        width, height = struct.unpack_from(">2I", content, 16)
        assert image.shape == (height, width, 3)
        assert image.dtype == np.uint8
        assert image.size <= 3 * image_file.MAX_PIXELS


@EXAMPLES
@given(mutated(list(PNGS.values())) | mutated_chunks() | st.binary(max_size=200))
def test_masks_are_read_or_refused(content):
    mask = read_bytes(image_file.read_mask, content)
    if isinstance(mask, ValueError):
        assert str(mask)
    else:
        assert mask.label.dtype == np.uint8
        assert mask.label.shape[2] == 1
        assert set(np.unique(mask.label)) <= {0, 1}
        assert (mask.salt > 0) == mask.label.any()
        assert mask.full == mask.label.all()


@pytest.mark.parametrize("name", PNGS)
def test_valid_files_are_read(name):
    found = read_bytes(image_file.read_image, PNGS[name])
    np.testing.assert_array_equal(found, IMAGES[name])


def test_valid_mask_is_read():
    found = read_bytes(image_file.read_mask, PNGS["deep"])
    np.testing.assert_array_equal(found.label[:, :, 0], SALT)


DEFAULTS = default.get_config().to_dict()
CONFIG = json.dumps(DEFAULTS).encode()
SETTINGS = sorted(config_settings.flatten(DEFAULTS))


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(st.text(), VALUES)


@st.composite
def changed_config(draw):
    """The config as JSON, with a section or setting that is removed, added or has another value."""
    config = json.loads(CONFIG)
    section = config
    if draw(st.booleans()):
        sections = [name for name, value in config.items() if isinstance(value, dict)]
        section = config[draw(st.sampled_from(sections))]
    key = draw(st.sampled_from(sorted(section)) | st.text(max_size=3))
    if draw(st.booleans()):
        section.pop(key, None)
    else:
        section[key] = draw(VALUES)
    return json.dumps(config).encode()


@EXAMPLES
@given(changed_config() | mutated([CONFIG]) | st.binary(max_size=100))
def test_config_json_of_a_run_is_accepted_or_refused(content):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_bytes(content)
        status = outcome(run_directory.status, pathlib.Path(folder), DEFAULTS)
    if isinstance(status, ValueError):
        assert isinstance(status, InputError)
        assert folder in str(status)
        if "holds a run of another config" in str(status):
            # The path of the groups may be another one, see `check_data`.
            for key in refused_settings(content) - {"data.groups"}:
                assert f"\n  {key}: " in str(status)
    else:
        assert status == run_directory.Status.RESUME
        assert not refused_settings(content)


def refused_settings(content):
    """Returns the dotted keys in which a config differs, and may not."""
    differing = config_settings.differences(json.loads(content), json.loads(CONFIG))
    # The config states no version: it may lack what later ones added.
    added = {key for version in saved_config.ADDED.values() for key in version}
    changed = {key for key, old, _ in differing if old is not None or key not in added}
    if any(key == "train.epochs" and type(old) is int for key, old, _ in differing):
        changed.discard("train.epochs")  # epochs can be added
    return changed - {*config_settings.free(on_volume=False)}


@pytest.mark.parametrize("key", SETTINGS)
@settings(max_examples=40, deadline=2000, derandomize=True)
@given(
    value=st.integers(-(2**40), 2**40)
    | st.integers(-2, 20)
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.integers(-5, 5000) | st.floats(), max_size=9).map(tuple)
)
def test_settings_are_accepted_or_refused_by_name(key, value):
    config = default.get_config()
    try:
        config.update_from_flattened_dict({key: value})
    except (TypeError, ValueError):
        return  # of another type: ml_collections refuses it, as on the command line
    problem = outcome(config_settings.check, config)
    if problem is not None:
        assert isinstance(problem, InputError)
        # Each line is about that setting, not only about others of its section.
        name = re.compile(rf"config\.{re.escape(key)}(=| has )")
        assert all(name.search(line) for line in str(problem).splitlines())
