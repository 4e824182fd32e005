import numpy as np
import pytest
import segy_writer
from section_pages import prepare_header

from saltjax.seismic import sample_axis, segy_layout
from saltjax.seismic.sample_axis import SampleAxis


@pytest.fixture
def path(tmp_path):
    return segy_writer.write(tmp_path / "a.sgy", np.ones((3, 11), np.float32))


def read(path):
    return sample_axis.read(str(path), segy_layout.check(path))


def patch(path, place, content):
    found = bytearray(path.read_bytes())
    found[place : place + len(content)] = content
    path.write_bytes(bytes(found))


def test_samples_are_in_milliseconds_from_the_delay(path):
    prepare_header(path, interval=2000, delay=-100)
    assert read(path) == SampleAxis("ms", -100, 2)


def test_without_an_interval_samples_are_counted(path):
    prepare_header(path, interval=0, delay=-100)
    assert read(path) == SampleAxis("sample", 0, 1)


def test_the_interval_of_the_file_stands_for_that_of_a_trace(path):
    prepare_header(path, interval=4000, delay=0)
    patch(path, 3600 + 116, b"\0\0")
    assert read(path) == SampleAxis("ms", 0, 4)


@pytest.mark.parametrize(
    ("revision", "scalar", "first"),
    [(1, -10, 2.5), (1, 10, 250), (1, 7, 25), (0, -10, 25), (1, 0, 25)],
)
def test_the_delay_has_a_scalar_since_revision_1(path, revision, scalar, first):
    prepare_header(path, delay=25, revision=revision)
    patch(path, 3600 + 214, scalar.to_bytes(2, "big", signed=True))
    assert read(path).first == first


@pytest.mark.parametrize("code", ["cp037", "ascii"])
@pytest.mark.parametrize(
    ("text", "measure", "unit"),
    [
        ("C 1 DEPTH DOMAIN", 1, "m"),
        ("C 1 Depth-migrated section", 2, "ft"),
        ("C 7 domain: depth", 1, "m"),
        ("C 1 WATER DEPTH IN BYTES 61-64", 1, "ms"),
        ("C 1 TIME MIGRATED", 1, "ms"),
    ],
)
def test_depth_is_what_the_textual_header_says(path, code, text, measure, unit):
    prepare_header(path, interval=5000, delay=0, text=text.encode(code))
    patch(path, 3254, measure.to_bytes(2, "big"))
    assert read(path) == SampleAxis(unit, 0, 5)


def test_little_endian_files_are_read_too(tmp_path):
    path = segy_writer.write(
        tmp_path / "a.sgy", np.ones((3, 11), np.float32), endian="little"
    )
    patch(path, 0, b" " * 3200)
    patch(path, 3600 + 108, (12).to_bytes(2, "little"))
    patch(path, 3600 + 116, (2000).to_bytes(2, "little"))
    patch(path, 3600 + 214, b"\0\0")
    assert read(path) == SampleAxis("ms", 12, 2)
