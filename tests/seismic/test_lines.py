import itertools
import tracemalloc

import numpy as np
import pytest

from saltjax.seismic import lines, survey, trace_order


def geometry(inline, crossline):
    return lines.Geometry(np.int32(inline), np.int32(crossline))


def as_lists(found):
    return [line.tolist() for line in found]


def grid(inlines, crosslines):
    """Returns the numbers of every position, the inline's changing last."""
    return (x.ravel() for x in np.meshgrid(inlines, crosslines, indexing="ij"))


def by_hand(names, positions, every):
    """Returns the lines of a volume, trace by trace, of positions `every` apart."""
    members = {}
    for number, (name, position) in enumerate(zip(names, positions)):
        members.setdefault(name, {})[position] = number
    return [
        [line.get(p, -1) for p in range(min(line), max(line) + 1, every)]
        for _, line in sorted(members.items())
    ]


ORDERS = {
    "by inline": lambda i, x: np.lexsort((x, i)),
    "by crossline": lambda i, x: np.lexsort((i, x)),
    "descending": lambda i, x: np.lexsort((-x, -i)),
    "shuffled": lambda i, x: np.random.default_rng(0).permutation(len(i)),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("inlines", "crosslines", "every"),
    [
        (range(111, 134), range(875, 893), (1, 1)),
        (range(-5, 40, 5), range(-100, 20, 4), (5, 4)),
        (range(2), range(40), (1, 1)),
        (range(60), range(3), (1, 1)),
        (range(2), range(2), (1, 1)),
        ((-(2**31), 2**31 - 1), range(2**31 - 9, 2**31), (2**32 - 1, 1)),
    ],
)
def test_volume_is_cut_into_inlines_or_crosslines(inlines, crosslines, every, order):
    inline, crossline = grid(inlines, crosslines)
    order = ORDERS[order](inline, crossline)
    inline, crossline = inline[order], crossline[order]
    found = geometry(inline, crossline)
    assert found.volume
    assert found.regular
    assert as_lists(found.by_inline) == by_hand(inline, crossline, every[1])
    assert as_lists(found.by_crossline) == by_hand(crossline, inline, every[0])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("name", "present"),
    [
        ("holes", lambda i, x: np.random.default_rng(1).random(len(i)) < 0.8),
        ("many holes", lambda i, x: np.random.default_rng(1).random(len(i)) < 0.6),
        ("bay", lambda i, x: (i < 15) | (x < 8) | (x > 34)),
        ("triangle", lambda i, x: i + x < 36),
        ("corridor", lambda i, x: abs(i - x) < 6),
        ("disc", lambda i, x: (i - 20) ** 2 + (x - 20) ** 2 < 300),
    ],
)
def test_irregular_volume_keeps_its_lines(name, present, order):
    inline, crossline = grid(range(40), range(40))
    order = ORDERS[order](inline, crossline)
    inline, crossline = inline[order], crossline[order]
    chosen = present(inline, crossline)
    inline, crossline = 3 * inline[chosen], 2 * crossline[chosen]
    found = geometry(inline, crossline)
    assert found.volume
    assert as_lists(found.by_inline) == by_hand(inline, crossline, 2)
    assert as_lists(found.by_crossline) == by_hand(crossline, inline, 3)


def test_line_with_mostly_missing_traces_is_not_filled():
    inline = [1] * 12 + [2] * 12
    crossline = [*range(11), 2_000_000_000, *range(11), 2_000_000_000]
    found = geometry(inline, crossline)
    assert as_lists(found.by_inline) == [list(range(12)), list(range(12, 24))]


def test_lines_with_every_other_position_are_not_filled():
    # Odd positions on odd inlines, even ones on even inlines.
    inline, crossline = grid(range(10), range(40))
    chosen = (inline + crossline) % 2 == 0
    found = geometry(inline[chosen], crossline[chosen])
    assert [len(line) for line in found.by_inline] == [20] * 10
    assert min(map(min, found.by_inline)) == 0


def legs(*corners):
    """Returns the positions along straight legs between corners, one a unit of the longer axis."""
    parts = [np.array(corners[:1])]
    for a, b in itertools.pairwise(corners):
        n = int(np.abs(np.subtract(b, a)).max())
        parts.append(np.rint(np.linspace(a, b, n + 1)[1:]).astype(int))
    return np.concatenate(parts).T


PATHS = {
    "diagonal": legs((1, 1), (126, 126)),
    "slant": legs((1, 1), (40, 126)),
    "slight slant": legs((1, 1), (3, 400)),
    "steep slant": legs((500, 7), (1, 60)),
    "dog-leg": legs((100, 50), (100, 200), (160, 260)),
    "two slants": legs((0, 0), (60, 30), (70, 200)),
    "corner": legs((5, 5), (5, 60), (60, 60)),
    "there and back": legs((5, 5), (5, 90), (30, 90), (30, 5)),
    "loop": legs((5, 5), (5, 90), (60, 90), (60, 5), (6, 5)),
    "crosses itself": legs((0, 0), (40, 40), (40, 60), (0, 20), (0, 30), (50, 30)),
    "negative, three apart": -3 * legs((0, 0), (50, 20), (55, 120)),
    "staircase": np.repeat(np.arange(80), 2)[np.stack([np.r_[:99], np.r_[1:100]])],
}


@pytest.mark.parametrize("path", PATHS)
def test_line_with_numbers_for_each_trace_is_one_line(path):
    inline, crossline = PATHS[path]
    for found in (geometry(inline, crossline), geometry(crossline, inline)):
        assert not found.volume
        for one in (found.by_inline, found.by_crossline):
            assert as_lists(one) == [list(range(len(inline)))]
        same = np.zeros(len(inline), np.int32)
        assert survey.unstacked(found, same, same, same) == ""


def test_lines_one_after_another_are_parted():
    first, second = legs((101, 1), (101, 300)), legs((205, 250), (205, 700))
    found = geometry(*np.concatenate([first, second], axis=1))
    expected = [list(range(300)), list(range(300, 751))]
    assert as_lists(found.by_inline) == expected
    # Without crossline numbers.
    found = geometry([7] * 300 + [3] * 451, [0] * 751)
    assert as_lists(found.by_inline) == expected


@pytest.mark.parametrize(
    ("inline", "crossline", "expected"),
    [
        ([0] * 5, [0] * 5, [0, 1, 2, 3, 4]),
        ([7], [9], [0]),
        ([7] * 5, [10, 12, 14, 16, 18], [0, 1, 2, 3, 4]),
        ([7] * 5, [18, 16, 14, 12, 10], [0, 1, 2, 3, 4]),
        ([3, 1, 2, 5, 4], [0] * 5, [1, 2, 0, 4, 3]),
        ([7] * 5, [10, 12, 14, 18, 20], [0, 1, 2, -1, 3, 4]),
        ([7] * 5, [0, 90, 5, 1000, 7], [0, 1, 2, 3, 4]),  # they order nothing
        ([1, 1, 2, 2, 3], [0] * 5, [0, 1, 2, 3, 4]),
    ],
)
def test_line_without_positions_is_in_the_order_of_the_file(
    inline, crossline, expected
):
    found = geometry(inline, crossline)
    assert not found.volume
    assert as_lists(found.by_inline) == as_lists(found.by_crossline) == [expected]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("steps", [(1, 1), (3, 70_001), (70_001, 2)])
def test_traces_in_many_blocks_are_sorted(steps, order, monkeypatch):
    monkeypatch.setattr(trace_order, "BLOCK", 100)
    inline, crossline = grid(range(-30, 30), range(-10, 40))
    order = ORDERS[order](inline, crossline)
    order = order[np.random.default_rng(1).random(len(order)) < 0.9]
    inline, crossline = steps[0] * inline[order], steps[1] * crossline[order]
    found = geometry(inline, crossline)
    assert (found.inlines, found.crosslines) == (60, 50)
    assert as_lists(found.by_inline) == by_hand(inline, crossline, steps[1])
    assert as_lists(found.by_crossline) == by_hand(crossline, inline, steps[0])


def test_traces_at_one_position_are_in_the_order_of_the_file(monkeypatch):
    monkeypatch.setattr(trace_order, "BLOCK", 100)
    inline, crossline = np.random.default_rng(2).integers(-20, 20, (2, 3000))
    inline *= 70_001
    found = geometry(inline, crossline)
    assert found.volume
    for one, names, positions in (
        (found.by_crossline, crossline, inline),
        (found.by_inline, inline, crossline),
    ):
        order = np.lexsort((positions, names))
        expected = np.split(order, np.flatnonzero(np.diff(names[order])) + 1)
        assert as_lists(one) == as_lists(expected)
    place = list(zip(inline, crossline))
    assert list(zip(*found.repeats)) == [
        (a, b) for a, b in itertools.pairwise(order) if place[a] == place[b] != (0, 0)
    ]


@pytest.mark.parametrize("direction", ["by_inline", "by_crossline", "both"])
@pytest.mark.parametrize("present", [1, 0.8])
@pytest.mark.parametrize("order", ["by inline", "shuffled"])
def test_memory_is_under_16_bytes_a_trace(order, present, direction):
    inline, crossline = (x.astype(np.int32) for x in grid(range(800), range(1000)))
    chosen = ORDERS[order](inline, crossline)
    chosen = chosen[np.random.default_rng(1).random(len(chosen)) < present]
    inline, crossline = inline[chosen], crossline[chosen]
    tracemalloc.start()
    try:
        found = lines.Geometry(inline, crossline)
        if direction != "by_crossline":
            assert len(found.by_inline) == 800
        if direction != "by_inline":
            assert len(found.by_crossline) == 1000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * len(inline)
