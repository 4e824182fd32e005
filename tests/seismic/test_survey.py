import itertools

import numpy as np
import pytest

from saltjax.seismic import survey
from saltjax.system.errors import InputError


def as_lists(found):
    return [line.tolist() for line in found]


def grid(inlines, crosslines):
    """Returns the numbers of every position, the inline's changing last."""
    return np.array(list(itertools.product(inlines, crosslines))).T


def file_headers(fields, count):
    """Returns a reader of headers that are 0 apart from `fields`, {byte: integers}."""
    return lambda names: [np.int32(fields.get(b, np.zeros(count))) for b in names]


def find(fields, header_bytes=survey.HEADER_BYTES):
    headers = file_headers(fields, len(next(iter(fields.values()))))
    found = survey.find(headers, header_bytes, "a.sgy")
    return found, survey.note(found, headers, header_bytes)


def gathers(fold, offsets=True):
    """Returns the header fields of 5 inlines of 8 crosslines with `fold` traces each."""
    inline, crossline = (np.repeat(x, fold) for x in grid(range(1, 6), range(11, 19)))
    offset = np.tile(np.arange(1, fold + 1) * 100 * offsets, 40)
    return inline, crossline, offset


@pytest.mark.parametrize("fold", [2, 30])
@pytest.mark.parametrize("sorting", ["gathers", "offset planes", "shuffled"])
def test_gathers_are_refused_naming_offsets(fold, sorting):
    inline, crossline, offset = gathers(fold)
    order = {
        "gathers": np.arange(len(offset)),
        "offset planes": np.argsort(offset, kind="stable"),
        "shuffled": np.random.default_rng(0).permutation(len(offset)),
    }[sorting]
    inline, crossline, offset = inline[order], crossline[order], offset[order]
    message = (
        rf"a.sgy: up to {fold} traces at one position, with offsets 100 to {fold}00 in bytes 37-40"
        ".*stack the gathers, or select one offset"
    )
    for fields in (
        {189: inline, 193: crossline, 37: offset},
        # One line of gathers, with the number in either or in the CDP.
        {189: inline * 0 + 7, 193: inline * 100 + crossline, 37: offset},
        {189: inline * 100 + crossline, 37: offset},
        {21: inline * 100 + crossline, 37: offset},
        {189: inline * 0 + 7, 193: inline * 100 + crossline, 21: crossline, 37: offset},
        # On a diagonal line.
        {189: inline * 100 + crossline, 193: inline * 100 + crossline, 37: offset},
    ):
        with pytest.raises(InputError, match=message):
            find(fields)


def test_gather_without_any_numbers_is_refused():
    with pytest.raises(InputError, match="up to 48 traces at one position, with off"):
        find({37: np.arange(48) * 50})
    assert len(find({37: np.arange(48) * 50}, (233, 237))[0].by_inline) == 1
    assert len(find({37: np.arange(48) * 50, 21: np.arange(48)})[0].by_inline) == 1


@pytest.mark.parametrize("repeat", [np.repeat, np.tile])
def test_positions_that_repeat_are_refused_saying_that_offsets_do_not_differ(repeat):
    inline, crossline = (repeat(x, 3) for x in grid(range(1, 6), range(11, 19)))
    second = 2 if repeat is np.repeat else 41
    message = (
        f"up to 3 traces at one position, such as traces 1 and {second} at inline 1, "
        "crossline 11, all with offset 25 in bytes 37-40"
    )
    with pytest.raises(InputError, match=message):
        find({189: inline, 193: crossline, 37: inline * 0 + 25})
    # A single trace too.
    inline, crossline = grid(range(1, 6), range(11, 19))
    crossline[3] = crossline[2]
    with pytest.raises(InputError, match=r"up to 2 .* traces 3 and 4 at inline 1, cro"):
        find({189: inline, 193: crossline})


def test_traces_without_numbers_in_a_volume_are_a_line_of_their_own():
    inline, crossline = grid(range(1, 6), range(11, 19))
    fields = {189: np.r_[inline, 0, 0, 0], 193: np.r_[crossline, 0, 0, 0]}
    found, note = find(fields)
    assert note == ""
    expected = [[40, 41, 42], *np.arange(40).reshape(5, 8).tolist()]
    assert as_lists(found.by_inline) == expected


def test_rounded_positions_of_a_line_may_repeat_unless_offsets_differ():
    inline, crossline = np.rint(np.linspace((0, 0), (30, 80), 120)).astype(int).T
    assert len({*zip(inline, crossline)}) < 120
    found, note = find({189: inline, 193: crossline})
    assert as_lists(found.by_inline) == [list(range(120))]
    assert "taken as one 2-D line of 120 traces" in note
    with pytest.raises(InputError, match="with offsets 0 to 119"):
        find({189: inline, 193: crossline, 37: np.arange(120)})


def test_traces_apart_may_have_the_numbers_of_one_position():
    position = np.arange(90)
    fields = {189: position // 3, 193: position // 3}
    with pytest.raises(InputError, match="up to 3 traces at one position, such as"):
        find(fields)
    place = {181: 125 * position, 185: 125 * position}
    assert as_lists(find(fields | place)[0].by_inline) == [list(range(90))]
    with pytest.raises(InputError, match="up to 3 traces at one position, with off"):
        find(fields | place | {37: position})


@pytest.mark.parametrize("pair", survey.OTHER_BYTES)
def test_other_bytes_that_look_like_a_volume_are_named(pair):
    inline, crossline = grid(range(111, 134), range(875, 893))
    numbers = {pair[0]: inline, pair[1]: crossline}
    for fields in (numbers, numbers | {189: np.arange(414)}):
        found, note = find(fields)
        assert as_lists(found.by_inline) == [list(range(414))]
        hint = (
            f"; bytes {pair[0]} and {pair[1]} look like 23 inlines of 18 crosslines: give "
            f"--header_bytes={pair[0]},{pair[1]}"
        )
        assert note.endswith(hint)
        assert note.count("look like") == 1
        assert note.startswith("taken as one 2-D line of 414 traces")
    found, note = find(numbers, pair)
    assert note == ""
    assert len(found.by_inline) == 23
    with pytest.raises(InputError, match=f"header_bytes={pair[0]},{pair[1]}"):
        find(numbers | {189: inline // 2, 193: crossline})


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        (
            {189: np.zeros(9)},
            "one 2-D line of 9 traces in the order of the file: bytes 189 and 193 hold no line "
            "numbers (inline 0, crossline 0)",
        ),
        (
            {189: np.full(9, 7), 193: np.arange(9)},
            "one 2-D line of 9 traces: bytes 189 and 193 hold only crossline numbers (inline 7, "
            "crossline 0 to 8)",
        ),
        (
            {189: np.arange(9), 193: np.arange(9)},
            "one 2-D line of 9 traces in the order of the file: bytes 189 and 193 follow a path "
            "(inline 0 to 8, crossline 0 to 8)",
        ),
        (
            {189: np.repeat([3, 5, 4], 20)},
            "3 2-D lines of 60 traces: bytes 189 and 193 hold only inline numbers (inline 3 to 5, "
            "crossline 0)",
        ),
    ],
)
def test_files_taken_as_2d_lines_are_described(fields, note):
    assert find(fields)[1] == f"taken as {note}"


@pytest.mark.parametrize("pair", survey.COORDINATES)
def test_coordinates_part_lines_whose_numbers_run_on(pair):
    # Inlines of 30 traces, and one crossline number after the other.
    inline, position = np.divmod(np.arange(120), 30)
    fields = {189: inline, 193: np.arange(120)}
    assert len(find(fields)[0].by_inline) == 1
    place = {pair[0]: 606000 + 125 * position, pair[1]: 6074000 + 125 * inline}
    found, note = find(fields | place)
    assert as_lists(found.by_inline) == np.arange(120).reshape(4, 30).tolist()
    assert note.startswith(
        "taken as 4 2-D lines of 120 traces in the order of the file"
    )
    # One line, which is only slightly slanted.
    place[pair[0]] = 606000 + 125 * np.arange(120)
    assert len(find(fields | place)[0].by_inline) == 1
