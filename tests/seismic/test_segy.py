import os
import random
import struct
import sys

import numpy as np
import pytest
import segy_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from saltjax.seismic import segy, segy_layout
from saltjax.system.errors import InputError


@pytest.mark.parametrize("endian", ["big", "little"])
@pytest.mark.parametrize("code", segy_writer.FORMATS)
def test_every_format_and_byte_order_is_read_and_copied(tmp_path, code, endian):
    rng = np.random.default_rng(code)
    amplitudes = rng.integers(0, 100, (6, 11))
    path = tmp_path / "in.sgy"
    segy_writer.write(path, amplitudes, code, endian, extended=code % 3)
    source = segy.SegyTraces(path)
    assert (source.count, source.samples) == (6, 11)
    np.testing.assert_array_equal(
        source.read(np.array([4, -1, 2, 3, -1, 0])),
        [
            amplitudes[4],
            np.zeros(11),
            amplitudes[2],
            amplitudes[3],
            np.zeros(11),
            amplitudes[0],
        ],
    )
    new = tmp_path / "out.sgy"
    prob = rng.random((6, 11))
    float_code = code if code in segy_layout.FLOAT_FORMATS else segy_layout.IEEE_FLOAT
    sink = segy.create(new, source, float_code)
    sink.write(np.array([3, -1, 0, 1]), prob[[3, 5, 0, 1]])
    sink.write(np.array([2, 4, 5]), prob[[2, 4, 5]])
    head, headers, _ = segy_writer.read_parts(path, 11, code, endian, code % 3)
    found = segy_writer.read_parts(new, 11, float_code, endian, code % 3)
    differing = [i for i, (a, b) in enumerate(zip(head, found[0])) if a != b]
    assert len(found[0]) == len(head)
    assert set(differing) <= {3224, 3225}
    assert bool(differing) == (float_code != code)
    np.testing.assert_array_equal(found[1], headers)
    np.testing.assert_allclose(found[2], prob, atol=1e-6)


@pytest.mark.parametrize("endian", ["big", "little"])
@pytest.mark.parametrize("code", segy_writer.FORMATS)
def test_every_format_holds_a_mask(tmp_path, code, endian):
    path = segy_writer.write(tmp_path / "in.sgy", np.full((6, 11), 7), code, endian)
    mask = np.random.default_rng(code).random((6, 11)) < 0.5
    sink = segy.create(tmp_path / "out.sgy", segy.SegyTraces(path), code)
    sink.write(np.arange(6), mask)
    head, headers, _ = segy_writer.read_parts(path, 11, code, endian)
    found = segy_writer.read_parts(tmp_path / "out.sgy", 11, code, endian)
    assert found[0] == head
    np.testing.assert_array_equal(found[1], headers)
    np.testing.assert_array_equal(found[2], mask)


def test_lines_are_found_by_inline_and_crossline(tmp_path):
    # Inlines 10, 12; crosslines 5, 7, 9, not in order; one trace is missing.
    places = [(12, 9), (10, 5), (10, 9), (12, 7), (12, 5)]
    inline, crossline = zip(*places)
    path = segy_writer.write(
        tmp_path / "a.sgy", np.ones((5, 4)), inline=inline, crossline=crossline
    )
    source = segy.SegyTraces(path)
    assert [line.tolist() for line in source.lines("inline")] == [[1, -1, 2], [4, 3, 0]]
    found = [line.tolist() for line in source.lines("crossline")]
    assert found == [[1, 4], [3], [2, 0]]


@pytest.mark.parametrize(
    ("inline", "crossline"),
    [
        ([0] * 6, [0] * 6),  # not numbered
        ([7] * 6, range(6)),  # a single inline
        (range(6), range(6)),  # a diagonal line
        ([1, 1, 1, 2, 2, 2], [5] * 6),  # crosslines not numbered
    ],
)
def test_file_that_is_no_volume_is_one_line_in_the_order_of_traces(
    tmp_path, inline, crossline
):
    path = segy_writer.write(
        tmp_path / "a.sgy", np.ones((6, 4)), inline=inline, crossline=crossline
    )
    for direction in ("inline", "crossline"):
        (line,) = segy.SegyTraces(path).lines(direction)
        assert line.tolist() == list(range(6))


def test_large_gaps_between_traces_are_not_filled(tmp_path):
    path = segy_writer.write(
        tmp_path / "a.sgy",
        np.ones((5, 4)),
        inline=[1, 1, 1, 2, 2],
        crossline=[0, 1, 2_000_000_000, 0, 1],
    )
    assert [len(x) for x in segy.SegyTraces(path).lines("inline")] == [3, 2]


@pytest.mark.parametrize("endian", ["big", "little"])
def test_header_integers_are_read_at_any_byte(tmp_path, endian, monkeypatch):
    path = segy_writer.write(tmp_path / "a.sgy", np.ones((7, 3)), 3, endian, extended=1)
    _, headers, _ = segy_writer.read_parts(path, 3, 3, endian, 1)
    monkeypatch.setattr(segy_layout, "BLOCK_BYTES", 3 * 246)  # blocks of three traces
    traces = segy.SegyTraces(path, header_bytes=(221, 6))
    found = traces.headers((1, 6, 221, 237))
    for byte, numbers in zip((1, 6, 221, 237), found):
        expected = [
            int.from_bytes(header[byte - 1 : byte + 3].tobytes(), endian, signed=True)
            for header in headers
        ]
        assert numbers.tolist() == expected
    wanted = np.array([5, 0, 6, 1])
    assert traces.headers((221,), wanted)[0].tolist() == found[2][wanted].tolist()
    (shorts,) = traces.headers((71,), wanted, "i2")
    expected = [
        int.from_bytes(headers[i][70:72].tobytes(), endian, signed=True) for i in wanted
    ]
    assert shorts.tolist() == expected
    named = f"trace 5 (inline {found[2][4]}, crossline {found[1][4]})"
    assert traces.place(4) == named


def test_file_that_is_cut_after_it_was_checked_is_an_error_of_reading(tmp_path):
    path = segy_writer.write(tmp_path / "a.sgy", np.ones((7, 3)))
    traces = segy.SegyTraces(path)
    os.truncate(path, 4000)
    with pytest.raises(InputError, match=r"a\.sgy: it was changed while it was read"):
        traces.headers((189,))


def test_file_that_is_replaced_by_another_of_its_layout_is_an_error(tmp_path):
    path = segy_writer.write(tmp_path / "a.sgy", np.ones((7, 3)))
    traces = segy.SegyTraces(path)
    segy_writer.write(tmp_path / "b.sgy", np.zeros((7, 3))).replace(path)
    with pytest.raises(InputError, match=r"a\.sgy: it was changed while it was read"):
        traces.read(np.arange(7))


@pytest.mark.skipif(sys.platform != "linux", reason="a file that cannot be read")
def test_headers_that_cannot_be_read_are_an_error_of_reading(tmp_path):
    traces = segy.SegyTraces(segy_writer.write(tmp_path / "a.sgy", np.ones((7, 3))))
    traces._version = None
    traces.name = "/proc/self/mem"  # an I/O error at the addresses that are not mapped
    with pytest.raises(InputError, match="cannot read /proc/self/mem: Input/output er"):
        traces.headers((189,))


def put(offset, form, value):
    def change(content):
        struct.pack_into(form, content, offset, value)
        return content

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[:3000], "3000 bytes; a SEG-Y file starts with 3600"),
        (lambda c: c[:3600], "are not 3600 of headers and a whole number of traces"),
        (lambda c: c[:-1], "truncated"),
        (lambda c: c + b"x", "truncated"),
        (put(3224, ">h", 4), "format code 4 in bytes 3225-3226"),
        (put(3224, ">h", 99), "format code 99"),
        (put(3224, ">h", 0), "is this SEG-Y"),
        (put(3224, ">h", 6), "a whole number of traces of 328 bytes"),
        (put(3220, ">H", 0), "0 samples a trace"),
        (put(3220, ">H", 12), "a whole number of traces of 288 bytes"),
        (put(3504, ">h", 1), "are not 6800 of headers"),
        (put(3504, ">h", -1), "extended textual headers that is not stated"),
        (put(3504, ">h", -2), "-2 extended headers"),
        (put(3504, ">h", 30000), "header is damaged"),
    ],
)
def test_damaged_file_is_refused_before_traces_are_read(tmp_path, change, message):
    path = segy_writer.write(tmp_path / "a.sgy", np.ones((6, 11)))
    path.write_bytes(change(bytearray(path.read_bytes())))
    with pytest.raises(InputError, match=message):
        segy.SegyTraces(path)


# Bytes of the binary header, from 0: samples, format, revision, extended headers.
ESSENTIAL = {3220, 3221, 3224, 3225, 3500, 3504, 3505}


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_headers_give_an_error_or_traces(tmp_path_factory, seed):
    rng = random.Random(seed)
    path = tmp_path_factory.getbasetemp() / "fuzzed.sgy"
    content = bytearray(segy_writer.write(path, np.ones((6, 11))).read_bytes())
    changed = set()
    for _ in range(rng.randrange(1, 6)):
        # The binary header, or the header of the first trace.
        place = rng.choice([rng.randrange(3200, 3600), rng.randrange(3600, 3840)])
        content[place] = rng.randrange(256)
        changed.add(place)
    end = rng.choice([None, None, rng.randrange(len(content))])
    path.write_bytes(content[:end])
    try:
        source = segy.SegyTraces(path)
        for direction in ("inline", "crossline"):
            lines = source.lines(direction)
            assert sum(len(line) for line in lines) <= 4 * source.count
            for line in lines:
                assert source.read(line).shape == (len(line), source.samples)
        if end is None and not changed & ESSENTIAL:
            np.testing.assert_array_equal(source.read(np.arange(6)), np.ones((6, 11)))
    except InputError:
        assert end is not None or changed & ESSENTIAL


def revision_2(path, trailers=0, extensions=0, samples=0, offset=0, extended=None):
    """Gives a file the fields of SEG-Y revision 2, and trailers after its traces."""
    content = bytearray(path.read_bytes())
    content[3500] = 2
    struct.pack_into(">h", content, 3506, extensions)
    struct.pack_into(">i", content, 3268, samples)
    struct.pack_into(">Q", content, 3520, offset)
    struct.pack_into(">i", content, 3528, trailers)
    if extended is not None:
        struct.pack_into(">h", content, 3504, extended)
    rng = np.random.default_rng(4)
    trailer = rng.integers(0, 256, 3200 * max(trailers, 0), np.uint8).tobytes()
    path.write_bytes(bytes(content) + trailer)
    return trailer


def test_trailers_of_revision_2_are_copied(tmp_path):
    values = np.arange(35, dtype=np.float32).reshape(7, 5)
    path = segy_writer.write(tmp_path / "a.sgy", values, 5, extended=1)
    trailer = revision_2(path, trailers=2)
    source = segy.SegyTraces(path)
    assert (source.count, source.samples) == (7, 5)
    np.testing.assert_array_equal(source.read(np.arange(7)), values)
    new = segy.create(tmp_path / "b.sgy", source, 5)
    new.write(np.arange(7), 2 * values)
    content = (tmp_path / "b.sgy").read_bytes()
    assert len(content) == path.stat().st_size
    assert content.endswith(trailer)
    again = segy.SegyTraces(tmp_path / "b.sgy")
    np.testing.assert_array_equal(again.read(np.arange(7)), 2 * values)


def test_samples_and_first_trace_of_revision_2(tmp_path):
    values = np.arange(35, dtype=np.float32).reshape(7, 5)
    path = segy_writer.write(tmp_path / "a.sgy", values, 5, extended=2)
    content = bytearray(path.read_bytes())
    struct.pack_into(">H", content, 3220, 0)  # more than 65535 are stated elsewhere
    path.write_bytes(content)
    # The number of extended headers is not stated, but where traces begin.
    revision_2(path, samples=5, offset=3600 + 2 * 3200, extended=-1)
    source = segy.SegyTraces(path)
    np.testing.assert_array_equal(source.read(np.arange(7)), values)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"extensions": 2}, "up to 2 trace header extension.* not supported"),
        ({"offset": 360}, "a first trace at byte 360, within the headers"),
        ({"offset": 3240}, "within the headers"),
        ({"samples": 2**30}, "1073741824 samples a trace in a file of"),
        ({"samples": -5}, "bytes 3269-3272"),
        ({"trailers": -1}, "a number of trailers that is not stated"),
        ({"extended": -1}, "a number of extended textual headers that is not stated"),
    ],
)
def test_what_is_not_supported_of_revision_2_is_named(tmp_path, fields, message):
    path = segy_writer.write(tmp_path / "a.sgy", np.ones((7, 5)))
    revision_2(path, **fields)
    with pytest.raises(InputError, match=message):
        segy_layout.check(path)
    content = bytearray(path.read_bytes())
    content[3500] = 1  # these bytes have no meaning in revision 1
    path.write_bytes(content)
    if "extended" not in fields:
        assert segy_layout.check(path).count == 7
