import dataclasses
import tracemalloc

import numpy as np
import pytest

from saltjax.data import horizons
from saltjax.data.tiles import UNLABELLED
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError

INLINES, CROSSLINES = np.arange(100, 112, 2), np.arange(300, 305)
AXIS = SampleAxis("ms", 100.0, 4.0)


@dataclasses.dataclass
class Volume:
    """What horizons need to know of a `Grid`."""

    inlines: np.ndarray | None = dataclasses.field(default_factory=INLINES.copy)
    crosslines: np.ndarray | None = dataclasses.field(default_factory=CROSSLINES.copy)
    axis: SampleAxis = AXIS
    shape: tuple[int, int, int] = (6, 5, 20)
    name: str = "survey.sgy"


def write(path, picks):
    path.write_text("".join(f"{i} {x} {z}\n" for i, x, z in picks))
    return path


def open_horizons(folder, top, base, volume=None):
    """Returns the labels between picks (inline, crossline, z)."""
    paths = write(folder / "top.dat", top), write(folder / "base.dat", base)
    return horizons.open_horizons(*paths, volume or Volume())


def section(labels, index):
    """Returns the labels of an inline."""
    crosslines = np.arange(labels.shape[1])
    return labels.read(np.full(len(crosslines), index), crosslines)


def test_salt_is_between_the_samples_nearest_to_the_picks(tmp_path):
    top = [(102, 304, 100), (102, 301, 109.9), (110, 300, 150)]
    base = [(110, 300, 150), (102, 301, 122.1), (102, 304, 176)]
    labels = open_horizons(tmp_path, top, base)
    expected = np.full((6, 5, 20), UNLABELLED, np.uint8)
    expected[1, 1] = expected[1, 4] = expected[5, 0] = 0
    expected[1, 1, 2:7] = 1  # 108 to 124 ms
    expected[1, 4] = 1  # from the first sample to the last
    expected[5, 0, 12] = 1  # 148 ms
    for index in range(6):
        found = section(labels, index)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected[index])
    # Traces in any order.
    found = labels.read(np.array([5, 0, 1]), np.array([0, 0, 4]))
    np.testing.assert_array_equal(found, expected[[5, 0, 1], [0, 0, 4]])
    assert labels.name == f"{tmp_path}/top.dat,{tmp_path}/base.dat"


def test_random_horizons_are_filled_as_by_a_loop(tmp_path):
    rng = np.random.default_rng(0)
    top, base, expected = [], [], np.full((6, 5, 20), UNLABELLED)
    for i, x in rng.permutation(list(np.ndindex(6, 5)))[:20]:
        a, b = np.sort(rng.uniform(0, 19, 2))
        top.append((INLINES[i], CROSSLINES[x], 100 + 4 * a))
        base.append((INLINES[i], CROSSLINES[x], 100 + 4 * b))
        for sample in range(20):
            expected[i, x, sample] = round(a) <= sample <= round(b)
    labels = open_horizons(tmp_path, top, base[::-1])
    found = np.stack([section(labels, index) for index in range(6)])
    np.testing.assert_array_equal(found, expected)


def test_lines_without_numbers_count_from_0(tmp_path):
    volume = Volume(None, None, SampleAxis())
    labels = open_horizons(tmp_path, [(5, 4, 3)], [(5, 4, 7)], volume)
    assert np.flatnonzero(section(labels, 5)[4]).tolist() == [3, 4, 5, 6, 7]


def test_lines_may_be_numbered_downwards(tmp_path):
    volume = Volume(INLINES[::-1].copy(), CROSSLINES[::-1].copy())
    labels = open_horizons(tmp_path, [(102, 303, 104)], [(102, 303, 112)], volume)
    found = np.argwhere(np.stack([section(labels, i) for i in range(6)]) == 1)
    assert found.tolist() == [[4, 1, 1], [4, 1, 2], [4, 1, 3]]


TEXTS = {
    "whitespace": "  1001   2001    1034.5\n 1001   2002\t1e3 \n",
    "tabs": "1001\t2001\t1034.5\n1001\t2002\t1000\n",
    "commas": "1001, 2001, 1034.5\r\n1001,2002,1000\r\n",
    "comments": "# Petrel\n! IESX\n\n1001 2001 1034.5\n#\n1001 2002 1000",
    "header": "\ufeffInline\tCrossline\tZ(ms)\n1001\t2001\t1034.5\n1001\t2002\t1000\n",
    "comment and header": '#x\n"Inline","Crossline","Z"\n1001,2001,1034.5\n1001,2002,1000\n',
    "five columns": "1001 2001 6e5 6.1e6 1034.5\n1001 2002 6e5 6.1e6 1000\n",
    "Charisma": (
        "INLINE :   1001 XLINE :   2001  600000.0 6100000.0   1034.5\n"
        "INLINE :   1001 XLINE :   2002  600000.0 6100000.0   1000.0\n"
    ),
    "whole floats": "1001.0 2.001e3 1034.5\n1001.00 2002.0 1000\n",
    "undefined": (
        "1001 2001 1034.5\n1001 2003 1e30\n1001 2004 -999.2500\n1001 2005 NaN\n"
        "1001 2002 1000\n"
    ),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_formats_of_exported_picks_are_read(tmp_path, text):
    path = tmp_path / "top.dat"
    path.write_text(text, encoding="utf-8", newline="")
    picks = horizons.read_picks(path)
    assert picks.inline.tolist() == [1001, 1001]
    assert picks.crossline.tolist() == [2001, 2002]
    assert picks.z.tolist() == [1034.5, 1000]
    assert picks.inline.dtype == picks.crossline.dtype == np.int64
    assert picks.z.dtype == np.float64


def test_what_is_skipped_or_chosen_is_said(tmp_path, caplog):
    caplog.set_level("INFO", "saltjax")
    text = "Il Xl X Y TWT\n1 2 0.5 0.5 3\n1 3 0.5 0.5 1e30\n"
    (tmp_path / "top.dat").write_text(text)
    horizons.read_picks(tmp_path / "top.dat")
    (tmp_path / "top.dat").write_text("1 2 3\n1 3 4\n")
    horizons.read_picks(tmp_path / "top.dat")
    first, second = caplog.messages
    for words in (
        "1 pick;",
        "'Il Xl X Y TWT' skipped",
        "1 line without a value",
        "of 5 columns",
    ):
        assert words in first
    assert second.endswith("top.dat: 2 picks")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no picks; expected the columns"),
        ("# a\nInline Crossline Z\n", "no picks"),
        ("1 2 1e30\n", "no picks"),
        (
            "Inline Crossline Z\nms m m\n1 2 3\n",
            r"line 2: 'ms m m'; expected the columns",
        ),
        ("1 2 3\n\n1 x 3\n", r"line 3: '1 x 3'; expected"),
        ("1 2\n", r"line 1: '1 2'; expected the columns"),
        ("1 2 3\n1 2 3 4\n", "line 2: '1 2 3 4'; expected 3 columns as before"),
        ("1 2 3\n1.5 2 3\n", r"line 2: '1\.5 2 3'; .*whole line numbers"),
        ("1.5 2 3\n", r"line 1: '1\.5 2 3'; .*whole line numbers"),
        ("nan 2 3\n", "line 1: 'nan 2 3'"),
        ("1 2e300 3\n", "line 1: '1 2e300 3'"),
        ("1,2,\n1,3,4\n1,,4\n", "line 3: '1,,4'"),
        ("\0\1\2\3" * 100, "no picks"),
    ],
)
def test_mistakes_in_a_file_are_named_by_line(tmp_path, text, words):
    (tmp_path / "top.dat").write_text(text)
    with pytest.raises(InputError, match=rf"config\.data\.labels: .*top\.dat.*{words}"):
        horizons.read_picks(tmp_path / "top.dat")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*absent\.dat: No such file"):
        horizons.read_picks(tmp_path / "absent.dat")


TOP, BASE = [(102, 301, 108), (104, 302, 112)], [(102, 301, 124), (104, 302, 160)]


@pytest.mark.parametrize(
    ("top", "base", "words"),
    [
        (
            [*TOP, (102, 303, 120), (102, 304, 120)],
            [*BASE, (100, 300, 140)],
            r"2 in .*top\.dat alone \(inline 102, crossline 303; inline 102, crossline 304\), "
            r"1 in .*base\.dat alone \(inline 100, crossline 300\)",
        ),
        (
            BASE,
            TOP,
            r"inline 102, crossline 301 the base .*base\.dat\) is at 108, above the top .*"
            "at 124, and so at 1 other traces; expected first the top",
        ),
        (
            BASE,
            BASE,
            r"top .*top\.dat\) and base .*base\.dat\) are the same at all 2 tra",
        ),
        (
            [*TOP, (104, 302, 116), (104, 302, 116)],
            BASE,
            r"top\.dat has picks at 112 and 116 at inline 104, crossline 302; .*Overhanging salt",
        ),
        (
            [*TOP, (101, 302, 112), (500, 302, 112)],
            BASE,
            r"top\.dat has picks outside survey\.sgy: inlines 101 to 500 where the volume has 100 to "
            r"110 by 2 \(2 picks, such as 101\)",
        ),
        (
            TOP,
            [*BASE, (102, 299, 112)],
            r"base\.dat .*crosslines 299 to 302 where the volume has 300 to 304 \(1 pick, such as 299\)",
        ),
        (
            TOP,
            [(102, 301, 0.124), (104, 302, 0.16)],
            r"base\.dat .*0\.124 to 0\.16 where the volume's samples are from 100 to 176 ms "
            r"\(2 picks\); another unit or sign",
        ),
        (TOP, [(102, 301, 124), (104, 302, 178.1)], r"124 to 178\.1 where"),
        (TOP, [(102, 301, 124), (104, 302, -160)], r"-160 to 124 where"),
        (TOP, [(102, 301, 124), (104, 302, "inf")], r"124 to inf where"),
    ],
)
def test_picks_that_do_not_suit_each_other_or_the_volume_are_refused(
    tmp_path, top, base, words
):
    with pytest.raises(InputError, match=words):
        open_horizons(tmp_path, top, base)


def test_seconds_are_refused_on_an_axis_of_milliseconds_from_0(tmp_path):
    volume = Volume(axis=SampleAxis("ms", 0.0, 4.0))
    words = (
        r"from 0\.012 to 0\.06, within two .*every 4 ms; expected time or depth in ms"
    )
    with pytest.raises(InputError, match=words):
        open_horizons(tmp_path, [(102, 301, 0.012)], [(102, 301, 0.06)], volume)


def test_the_same_pick_twice_is_one(tmp_path):
    labels = open_horizons(tmp_path, [*TOP, TOP[0]], [*BASE, BASE[0]])
    once = open_horizons(tmp_path, TOP, BASE)
    for index in range(6):
        np.testing.assert_array_equal(section(labels, index), section(once, index))


def test_memory_is_that_of_the_picks(tmp_path):
    # A large survey, a thousandth of whose traces are picked.
    shape = (1000, 1000, 1500)
    volume = Volume(np.arange(1000), np.arange(1000), SampleAxis(), shape)
    top = [(i, i, 10) for i in range(1000)]
    base = [(i, i, 500) for i in range(1000)]
    tracemalloc.start()
    labels = open_horizons(tmp_path, top, base, volume)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    assert (labels.read(np.array([7]), np.array([7])) == 1).sum() == 491
