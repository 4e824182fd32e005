"""Random bytes and mutations to the readers: the right result or a clear error, nothing else."""

import io
import json
import pathlib
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from configs import default
from saltjax.data import png as png_files
from saltjax.runs import settings as config_settings
from saltjax.runs import workdir as run
from saltjax.system.errors import InputError

EXAMPLES = settings(max_examples=300, deadline=2000, derandomize=True)


def png(array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


GREY = png(np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8))
RGB = png(np.random.default_rng(1).integers(0, 256, (9, 7, 3), np.uint8))
DEEP = png((np.random.default_rng(2).random((9, 7)) > 0.5).astype(np.uint16) * 65535)


@st.composite
def mutated(draw, seeds):
    """One of the files, with bytes changed, cut out, put in or cut off."""
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


def read_bytes(reader, content):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tile.png"
        path.write_bytes(content)
        return reader(path)


@EXAMPLES
@given(
    mutated([GREY, RGB, DEEP])
    | st.binary(max_size=200)
    | st.binary().map(lambda b: GREY[:8] + b)
)
def test_images_are_read_or_refused(content):
    try:
        image = read_bytes(png_files.read_image, content)
    except ValueError as error:
        assert str(error)
    else:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.size <= 3 * png_files.MAX_PIXELS


@EXAMPLES
@given(mutated([GREY, RGB, DEEP]) | st.binary(max_size=200))
def test_masks_are_read_or_refused(content):
    try:
        mask = read_bytes(png_files.read_mask, content)
    except ValueError as error:
        assert str(error)
    else:
        assert mask.dtype == np.uint8
        assert mask.shape[2] == 1
        assert set(np.unique(mask)) <= {0, 1}


@pytest.mark.parametrize("content", [GREY, RGB, DEEP], ids=["grey", "rgb", "deep"])
def test_unharmed_files_are_read(content):
    assert read_bytes(png_files.read_image, content).shape == (9, 7, 3)


CONFIG = json.dumps(default.get_config().to_dict()).encode()
SETTINGS = sorted(run.flatten(default.get_config().to_dict()))


@EXAMPLES
@given(mutated([CONFIG]) | st.binary(max_size=100))
def test_config_json_of_a_run_is_read_or_refused(content):
    config = default.get_config().to_dict()
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_bytes(content)
        try:
            run.check_config(pathlib.Path(folder), config)
        except InputError as error:
            assert str(error)
        else:
            # Accepted: then nothing of it may differ.
            assert json.loads(content) == json.loads(CONFIG)


@EXAMPLES
@given(
    st.sampled_from(SETTINGS),
    st.integers(-(2**40), 2**40)
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.integers(-5, 5000) | st.floats(), max_size=9).map(tuple),
)
def test_settings_are_accepted_or_refused_by_name(key, value):
    config = default.get_config()
    try:
        config.update_from_flattened_dict({key: value})
    except (TypeError, ValueError):
        return  # of another type: ml_collections refuses it, as on the command line
    try:
        config_settings.check(config)
    except InputError as error:
        assert f"config.{key}" in str(error) or key.split(".")[0] in str(error)
