"""Lines as images whose channels are the lines around them; amplitudes tell where they are from."""

import functools
import weakref

import numpy as np
import pytest
import segy_writer
import volume_files
from volume_files import CROSSLINES, INLINES

from saltjax.data import labelled_volume
from saltjax.data.cutting import Cutter, Section
from saltjax.inference.line_images import LineImages
from saltjax.seismic import amplitudes, npy
from saltjax.seismic.segy import SegyTraces

# The traces of a survey: inline 16 is missing, and so are three traces.
POSITIONS = [
    *((10, x) for x in (5, 6, 7, 8, 9)),
    *((12, x) for x in (5, 6, 8, 9)),
    *((14, x) for x in (6, 7, 8, 9)),
    *((18, x) for x in (5, 6, 7, 8, 9, 10)),
]


def line_images(source, direction, context, longest=99, read=None):
    """Returns the lines, and their images of two samples that are not scaled."""
    lines = source.lines(direction)

    def read_plain(numbers):
        traces = source.read(numbers).astype(np.float32)
        return traces, amplitudes.live(traces) & (numbers >= 0)

    positions = functools.partial(source.positions, direction=direction)
    images = LineImages(lines, positions, read or read_plain, context, longest)
    return lines, images


def from_where(source, direction, context):
    """Returns for each line the amplitudes of its first sample, [trace, channel], as integers."""
    lines, images = line_images(source, direction, context)
    found = [images.load(i, slice(0, len(line)))[0][0] for i, line in enumerate(lines)]
    return [image.astype(int).tolist() for image in found]


@pytest.fixture
def survey(tmp_path):
    """A SEG-Y file whose amplitudes are inline numbers, and on crossline 6 dead on inline 10."""
    inline, crossline = np.array(POSITIONS).T
    traces = np.stack([inline, crossline], axis=1).astype(np.float32)
    traces[1] = 0
    path = segy_writer.write(
        tmp_path / "a.sgy", traces, inline=inline, crossline=crossline
    )
    return SegyTraces(path)


def test_the_lines_around_a_line_are_those_of_the_next_numbers(survey):
    """At the same crossline; where there is none, the next one towards the line."""
    first, second, third, last = from_where(survey, "inline", 2)
    # Crosslines 5 to 9, and inlines 6, 8, 10, 12, 14 around it.
    assert first == [
        [10, 10, 10, 12, 12],
        [0, 0, 0, 12, 14],
        [10, 10, 10, 10, 14],
        [10, 10, 10, 12, 14],
        [10, 10, 10, 12, 14],
    ]
    assert second == [
        [10, 10, 12, 12, 12],
        [12, 12, 12, 14, 14],
        [10, 10, 0, 14, 14],  # a missing trace
        [10, 10, 12, 14, 14],
        [10, 10, 12, 14, 14],
    ]
    # Crosslines 6 to 9, and inlines 10, 12, 14, 16, 18 around it: a line that starts elsewhere.
    assert third == [
        [12, 12, 14, 14, 18],
        [10, 14, 14, 14, 18],
        [10, 12, 14, 14, 18],
        [10, 12, 14, 14, 18],
    ]
    assert last == [[18] * 5] + [[14, 18, 18, 18, 18]] * 4 + [[18] * 5]


def test_crosslines_lie_beside_crosslines(tmp_path):
    inline, crossline = (x.ravel() for x in np.indices((3, 4)))
    traces = np.stack([100 + crossline, inline], axis=1).astype(np.float32)
    path = segy_writer.write(
        tmp_path / "a.sgy", traces, inline=inline, crossline=crossline
    )
    array = traces.reshape(3, 4, 2)
    for source in (SegyTraces(path), npy.ArrayTraces(lambda: array, "")):
        found = from_where(source, "crossline", 1)
        assert [line[0] for line in found] == [
            [100, 100, 101],
            [100, 101, 102],
            [101, 102, 103],
            [102, 103, 103],
        ]
        assert all(line == [line[0]] * 3 for line in found)


def test_a_line_that_nothing_lies_beside_is_all_channels(tmp_path):
    rng = np.random.default_rng(0)
    path = segy_writer.write(
        tmp_path / "a.sgy",
        rng.normal(size=(9, 2)),
        inline=np.arange(9),
        crossline=np.arange(9) // 2,
    )
    section, volume = rng.normal(size=(2, 9)), rng.normal(size=(1, 9, 2))
    for source in (
        SegyTraces(path),
        npy.ArrayTraces(lambda: section, ""),
        npy.ArrayTraces(lambda: volume, ""),
        npy.ArrayTraces(lambda: volume.reshape(9, 1, 2), ""),
    ):
        ((line,), images) = line_images(source, "inline", 1)
        image, live = images.load(0, slice(0, 9))
        expected = source.read(line).T[:, :, None]
        np.testing.assert_allclose(image, expected.repeat(3, axis=2), rtol=1e-6)
        assert live.all()


def test_parts_of_long_lines_are_those_of_whole_lines(survey):
    lines, whole = line_images(survey, "inline", 2)
    _, images = line_images(survey, "inline", 2, longest=2)
    for i, line in enumerate(lines):
        expected, alive = whole.load(i, slice(0, len(line)))
        for part in (slice(0, 2), slice(1, 4), slice(3, len(line))):
            image, live = images.load(i, part)
            np.testing.assert_array_equal(image, expected[:, part])
            np.testing.assert_array_equal(live, alive[part])


def test_each_line_is_read_once_and_few_are_kept():
    volume = np.random.default_rng(0).normal(size=(30, 4, 3))
    source, kept = npy.ArrayTraces(lambda: volume, ""), []

    def read(numbers):
        traces = source.read(numbers)
        kept.append(weakref.ref(traces))
        return traces, np.ones(4, bool)

    _, images = line_images(source, "inline", 2, read=read)
    for i in range(30):
        images.load(i, slice(0, 4))
        assert sum(ref() is not None for ref in kept) <= 5
    assert len(kept) == 30


@pytest.mark.parametrize("direction", ["inline", "crossline"])
@pytest.mark.parametrize("suffix", [".npy", ".sgy"])
def test_lines_are_those_that_networks_are_trained_and_scored_on(
    tmp_path, direction, suffix
):
    """Also beside dead traces: those of crossline index 3, and more of them."""
    volume, labels = volume_files.make()
    rng = np.random.default_rng(0)
    volume[rng.random(volume.shape[:2]) < 0.2] = 0
    paths = volume_files.write_npy(tmp_path, volume, labels)
    source = npy.read(paths[0])
    if suffix == ".sgy":
        paths = [
            volume_files.write_segy(tmp_path / name, x, code=5)
            for name, x in (("a.sgy", volume), ("b.sgy", labels))
        ]
        source = SegyTraces(paths[0])
    opened = labelled_volume.open_volume(volume_files.config(*paths))
    scanned, limits = labelled_volume.scan(opened), amplitudes.Range(-311, 311)
    cut = Cutter(opened, scanned, "clip", limits, context=2)
    _, images = line_images(source, direction, 2)
    lines, traces = len(INLINES), len(CROSSLINES)
    if direction == "crossline":
        lines, traces = traces, lines
    for i in (0, 1, 3, 9, lines - 1):
        image, _ = images.load(i, slice(0, traces))
        expected = cut.image(Section(direction, i, 0, traces, (0, lines)))
        grey = np.rint(255 * amplitudes.to_unit(image, limits, "clip"))
        np.testing.assert_array_equal(grey, expected)
