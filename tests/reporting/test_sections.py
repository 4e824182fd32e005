"""What the page of a prediction shows of traces and images."""

import numpy as np
import pytest
import section_pages
import segy_writer
from PIL import Image
from section_pages import CROSSLINES, INLINES, LIMITS, SAMPLES

from saltjax.reporting import image_sections, section_report, sections, trace_sections
from saltjax.seismic import npy, segy
from saltjax.seismic.salt_body import SaltBody
from saltjax.seismic.sample_axis import SampleAxis


def of_array(array, prob, direction="inline"):
    traces = (npy.ArrayTraces(lambda a=a: a, "array") for a in (array, prob))
    return trace_sections.of_traces(*traces, direction, "clip", LIMITS)


def grey_of(amplitudes):
    return np.rint(255 * (np.clip(amplitudes, -100, 100) + 100) / 200)


@pytest.mark.parametrize("direction", ["inline", "crossline"])
def test_a_volume_has_its_sections_on_one_grid(tmp_path, direction):
    source, probs, amplitudes, prob = section_pages.volume(tmp_path)
    found = trace_sections.of_traces(source, probs, direction, "clip", LIMITS)
    if direction == "crossline":
        amplitudes, prob = amplitudes.swapaxes(0, 1), prob.swapaxes(0, 1)
    names = [INLINES, CROSSLINES]
    along, across = names if direction == "inline" else names[::-1]
    assert found.kind == "volume"
    assert (found.along, found.across) != (found.across, found.along)
    assert found.along == direction
    assert found.rows == SampleAxis("ms", 8, 4)
    assert found.steps == (1, 1, 1)
    assert [section.name for section in found.sections] == list(map(str, along))
    for section, traces, expected in zip(found.sections, amplitudes, prob):
        assert section.columns.tolist() == list(across)
        live = np.nan_to_num(traces).any(axis=1)
        assert section.live.tolist() == live.tolist()
        np.testing.assert_allclose(section.grey.T[live], grey_of(traces[live]), atol=1)
        assert (section.prob.T[live] == np.rint(65535 * expected[live])).all()
        assert not section.prob.T[~live].any()
    dead = sum(int((~section.live).sum()) for section in found.sections)
    assert dead == len(section_pages.MISSING) + 1


def test_padding_is_no_part_of_a_volume(tmp_path):
    inline, crossline = np.meshgrid([7, 8, 9], [20, 21, 22, 23], indexing="ij")
    numbers = [[*n.ravel(), 0, 0, 0] for n in (inline, crossline)]
    path = segy_writer.write(
        tmp_path / "a.sgy", np.ones((15, 6), np.float32), 5, "big", *numbers
    )
    traces = segy.SegyTraces(path)
    found = trace_sections.of_traces(traces, traces, "inline", "clip", LIMITS)
    assert found.kind == "volume"
    assert [section.name for section in found.sections] == ["7", "8", "9"]
    assert found.sections[0].columns.tolist() == [20, 21, 22, 23]


def test_a_volume_that_is_mostly_missing_is_shown_line_by_line(tmp_path):
    # Each inline has 12 crosslines of 48: a slanted strip.
    inline = np.repeat(np.arange(10), 12) + 50
    crossline = np.concatenate([np.arange(12) + 4 * i for i in range(10)]) + 100
    traces = np.ones((120, 6), np.float32)
    path = segy_writer.write(tmp_path / "a.sgy", traces, 5, "big", inline, crossline)
    opened = segy.SegyTraces(path)
    assert opened.geometry.volume
    found = trace_sections.of_traces(opened, opened, "inline", "clip", LIMITS)
    assert found.kind == "lines"
    assert [s.name for s in found.sections][:2] == ["inline 50", "inline 51"]
    assert found.sections[1].columns.tolist() == list(range(104, 116))


def test_lines_have_trace_numbers(tmp_path):
    # Two lines, one after the other, which are told apart by a jump.
    inline = np.concatenate([np.arange(20), 5000 + np.arange(30)])
    path = segy_writer.write(
        tmp_path / "a.sgy", np.ones((50, 6), np.float32), 5, "big", inline, 3 * inline
    )
    opened = segy.SegyTraces(path)
    found = trace_sections.of_traces(opened, opened, "inline", "clip", LIMITS)
    assert (found.kind, found.across) == ("lines", "trace")
    assert [section.name for section in found.sections] == ["line 1", "line 2"]
    assert found.sections[1].columns.tolist() == list(range(21, 51))


def test_a_section_in_an_array():
    array = np.linspace(-90, 90, 30, dtype=np.float32).reshape(5, 6)
    prob = np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6)
    found = of_array(array, prob)
    assert (found.kind, found.rows) == ("lines", SampleAxis("sample", 0, 1))
    (section,) = found.sections
    assert section.columns.tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(section.grey, grey_of(array))
    np.testing.assert_array_equal(section.prob, np.rint(65535 * prob))


def test_what_a_page_leaves_out_of_a_volume_is_even(monkeypatch):
    monkeypatch.setattr(sections, "MAX_PIXELS", 1000)
    shape = 20, 31, 40
    array = np.float32(np.indices(shape).sum(axis=0) - 45)
    found = of_array(array, np.float32(np.indices(shape)[2] / 40))
    _, across, down = found.steps
    along = round(found.steps[0])
    assert min(along, across, down) > 1
    shown = len(found.sections), *found.sections[0].grey.T.shape
    assert shown == (-(-20 // along), -(-31 // across), -(-40 // down))
    assert np.prod(shown) <= 1000
    names = [int(section.name) for section in found.sections]
    assert names == list(range(0, 20, along))
    assert found.sections[1].columns.tolist() == list(range(0, 31, across))
    # Amplitudes are means, probabilities those of the middle sample, whose number is on the axis.
    column = array[along, across]
    parts = [column[i : i + down] for i in range(0, 40, down)]
    expected = [grey_of(np.clip(p, -100, 100).mean()) for p in parts]
    np.testing.assert_allclose(found.sections[1].grey[:, 1], expected, atol=1)
    numbers = found.rows.first + found.rows.step * np.arange(len(parts) - 1)
    prob = found.sections[1].prob[:-1, 1] / 65535
    np.testing.assert_allclose(prob, numbers / 40, atol=1e-4)
    text = section_report.thinned(found)
    assert (
        f"one inline in {along}, one crossline in {across} and one sample in {down}"
        in text
    )
    assert "approximate" in text


@pytest.mark.parametrize(
    ("volume", "count", "width", "height", "kept", "steps"),
    [
        (True, 200, 200, 200, 200, (1, 1)),
        (False, 1, 4000, 2000, 1, (1, 1)),
        (False, 4000, 101, 101, 784, (1, 1)),  # 8 million / 101²
        (False, 9000, 9, 9, 1000, (1, 1)),
        (False, 1, 30_000, 1000, 1, (4, 1)),
    ],
)
def test_as_much_is_shown_as_fits(volume, count, width, height, kept, steps):
    found, found_steps = sections.choose(volume, count, width, height)
    assert (len(found), found_steps) == (kept, steps)
    assert found[0] == 0
    if not volume:
        assert found[-1] == count - 1


def test_large_images_are_shown_smaller_before_some_are_left_out():
    found, (across, down) = sections.choose(False, 20, 4000, 4000)
    assert len(found) == 20
    assert min(across, down) > 1


def test_one_line_is_described_in_words():
    line = np.float32(section_pages.smooth(75, 18))
    page = section_report.render(of_array(line, line), section_pages.prediction())
    assert "one line of 18 traces × 75 samples" in page
    assert "−100 is black, 100 white" in page
    cube = np.float32(section_pages.smooth(2, 3, 4))
    assert (
        section_report.summary(of_array(cube, cube))
        == "a volume of 2 inlines × 3 crosslines × 4 samples"
    )


def test_traces_are_read_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(trace_sections, "TRACES_AT_ONCE", 16)
    most, read = [], npy.ArrayTraces.read

    def counted(self, numbers):
        most.append(len(numbers))
        return read(self, numbers)

    monkeypatch.setattr(npy.ArrayTraces, "read", counted)
    array = np.float32(section_pages.smooth(12, 500))
    found = of_array(array, array)
    assert max(most) == 16
    np.testing.assert_array_equal(found.sections[0].prob, np.rint(65535 * array))


def test_images_keep_their_sizes_and_colours_become_grey(tmp_path):
    (tmp_path / "probs").mkdir()
    rng, expected, paths = np.random.default_rng(0), [], []
    for name, shape in (("a", (7, 9)), ("b", (12, 5, 3))):
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        prob = rng.integers(0, 65536, shape[:2]).astype(np.uint16)
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(pixels).save(paths[-1])
        Image.fromarray(prob).save(tmp_path / f"probs/{name}.png")
        grey = np.asarray(Image.open(paths[-1]).convert("L"))
        expected.append((name, grey, prob))
    found = image_sections.of_files(paths, tmp_path / "probs")
    assert (found.kind, found.total, found.limits) == ("images", 2, None)
    for section, (name, grey, prob) in zip(found.sections, expected):
        assert section.name == name
        np.testing.assert_allclose(section.grey.astype(int), grey, atol=1)
        np.testing.assert_array_equal(section.prob, prob)
        assert section.live.all()
    np.testing.assert_array_equal(found.sections[0].grey, expected[0][1])
    assert section_report.thinned(found) == ""


def test_a_sample_of_many_images_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "MAX_SECTIONS", 3)
    _, probs = section_pages.write_images(tmp_path, list("abcdefg"))
    page = (tmp_path / "report.html").read_text()
    assert "3 of 7 images, evenly spaced" in page
    assert '"name": "d"' in page
    assert '"name": "b"' not in page
    assert len(probs) == 7


def test_the_volume_of_the_tests_is_what_its_names_say(tmp_path):
    _, _, amplitudes, _ = section_pages.volume(tmp_path)
    assert amplitudes.shape == (len(INLINES), len(CROSSLINES), SAMPLES)
    assert np.isnan(amplitudes[..., 0]).sum() == len(section_pages.MISSING)


@pytest.mark.parametrize("direction", ["inline", "crossline"])
def test_a_body_is_found_among_the_slices_of_a_volume(tmp_path, direction):
    source, probs, _, _ = section_pages.volume(tmp_path)
    shown = trace_sections.of_traces(source, probs, direction, "clip", LIMITS)
    body = SaltBody({}, 0, inline=108, crossline=33, sample=5)
    places = section_report.places(shown, body)
    inline, crossline = INLINES.index(108), CROSSLINES.index(33)
    first = [inline, crossline] if direction == "inline" else [crossline, inline]
    assert places == [*first, 5]


def test_a_body_of_one_of_several_lines(tmp_path):
    n = 20
    path = segy_writer.write(
        tmp_path / "a.sgy", np.ones((2 * n, 7)), inline=np.repeat([4, 9], n)
    )
    traces = segy.SegyTraces(path)
    shown = trace_sections.of_traces(traces, traces, "inline", "clip", LIMITS)
    assert [s.name for s in shown.sections] == ["line 1", "line 2"]
    body = SaltBody({}, 1, inline=9, crossline=0, sample=3)
    assert section_report.places(shown, body) == [1]
    missing = SaltBody({}, 7, inline=9, crossline=0, sample=3)
    assert section_report.places(shown, missing) is None
