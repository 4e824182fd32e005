import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
import volume_files
from volume_files import CROSSLINES, INLINES, config

from saltjax.data import blocks, cutting, labelled_volume, source, volumes
from saltjax.data.tiles import UNLABELLED
from saltjax.seismic import amplitudes
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError


def load(folder, made=None, **changes):
    return volumes.load(config(*volume_files.write_npy(folder, *made or ()), **changes))


def expected_image(section):
    """Returns uint8 for amplitudes that "clip" scales by 311, without `amplitudes`."""
    return np.uint8(np.rint(255 * (np.clip(section / 311, -1, 1) + 1) / 2))


@pytest.fixture
def limits(monkeypatch):
    """Amplitudes from -311 to 311 become 0 to 255, none of them halfway between two."""
    scaled = "clip", amplitudes.Range(-311, 311)
    monkeypatch.setattr(amplitudes, "scaling", lambda traces, method: scaled)


def places(data):
    """Returns (direction, line, first trace, first row) of each patch, from its id."""
    ids = (name.split("_")[1:] for name in data.patches.ids)
    return [(kind, *map(int, numbers)) for kind, *numbers in ids]


@pytest.mark.parametrize("direction", ["inline", "crossline", "both"])
def test_patches_are_what_their_ids_say(tmp_path, limits, direction):
    volume, labels = volume_files.make()
    data = load(tmp_path, direction=direction)
    labels[:, 3] = UNLABELLED
    kinds = set()
    for n, (kind, line, trace, row) in enumerate(places(data)):
        kinds.add(kind)
        at = (
            np.s_[line, trace : trace + 8]
            if kind == "inline"
            else (np.s_[trace : trace + 8, line])
        )
        image = expected_image(volume[at][:, row : row + 8].T)
        for channel in range(3):
            np.testing.assert_array_equal(data.patches.images[n, :, :, channel], image)
        label = labels[at][:, row : row + 8].T
        np.testing.assert_array_equal(data.patches.labels[n, :, :, 0], label)
    assert kinds == ({direction} if direction != "both" else {"inline", "crossline"})
    assert len(set(data.patches.ids)) == 40
    assert (data.patches.labels == 1).any(axis=(1, 2, 3)).sum() == 20


@pytest.mark.parametrize("direction", ["inline", "crossline", "both"])
def test_no_sample_lies_in_two_parts(tmp_path, direction):
    data = load(tmp_path, direction=direction)
    inlines = {name: set(blocks.members(data.blocks[name])) for name in data.blocks}
    for kind, line, trace, _ in places(data):
        used = {line} if kind == "inline" else set(range(trace, trace + 8))
        assert used <= inlines["train"]
    for i, name in enumerate(data.lines.ids):
        part, kind, line = name.split("_")
        assert i in data.split[part]
        if kind == "inline":
            assert int(line) in inlines[part]
    if direction == "crossline":
        widths = {len(inlines["val"]), len(inlines["test"])}
        assert data.lines.images.shape[2] == max(widths)


def test_lines_are_whole_and_dead_traces_unlabelled(tmp_path, limits):
    volume, labels = volume_files.make()
    data = load(tmp_path)
    assert data.split["train"].tolist() == list(range(40))
    assert sorted([*data.split["val"], *data.split["test"]]) == list(
        range(len(data.lines))
    )
    labels[:, 3] = UNLABELLED
    for name, image, label in zip(data.lines.ids, data.lines.images, data.lines.labels):
        line = int(name.rpartition("_")[2])
        np.testing.assert_array_equal(image[:, :, 1], expected_image(volume[line].T))
        np.testing.assert_array_equal(label[:, :, 0], labels[line].T)
    # Two inlines in a row, data.gap, are resampled together.
    val = [int(data.lines.ids[i].rpartition("_")[2]) // 2 for i in data.split["val"]]
    units = data.units[data.split["val"]]
    assert [a == b for a, b in itertools.pairwise(units)] == [
        a == b for a, b in itertools.pairwise(val)
    ]
    assert not set(units) & set(data.units[data.split["test"]])


def test_amplitudes_outside_the_training_block_change_no_patch(tmp_path):
    volume, labels = volume_files.make()
    before = load(tmp_path, direction="both", context=1)
    (block,) = before.blocks["train"]
    other = 1e6 * np.random.default_rng(1).normal(size=volume.shape)
    other[slice(*block)] = volume[slice(*block)]
    other[:, 3] = 0
    after = load(tmp_path, (other, labels), direction="both", context=1)
    np.testing.assert_array_equal(before.patches.images, after.patches.images)
    np.testing.assert_array_equal(before.patches.labels, after.patches.labels)
    assert before.patches.ids == after.patches.ids
    assert before.scanned.digest != after.scanned.digest


@pytest.mark.parametrize(
    ("place", "settings", "noticed"),
    [
        ("train", {}, True),  # by the sample that amplitudes are scaled by
        ("near", {}, False),
        ("near", {"context": 1}, True),
        ("far", {"context": 1}, False),
        ("far", {"context": 2}, True),
        ("near", {"direction": "crossline"}, True),
        ("gap", {"direction": "both", "context": 9}, False),
    ],
)
def test_changed_amplitudes_without_labels_are_noticed(
    tmp_path, place, settings, noticed
):
    volume, labels = volume_files.make()
    labels[np.arange(30) % 5 > 0] = -1
    before = load(tmp_path, (volume, labels), **settings)
    (train,), (test,) = before.blocks["train"], before.blocks["test"]
    line = {"train": train[0] + 1, "gap": train[1]}
    line |= {"near": test[0] + 1, "far": test[0] + 2}
    assert (labels[line[place]] == -1).all()
    volume[line[place]] += 1
    after = load(tmp_path, (volume, labels), **settings)
    assert before.scanned.digest == after.scanned.digest
    hashes = [data.facts["unlabelled_sha256"] for data in (before, after)]
    assert (hashes[0] != hashes[1]) == noticed


@pytest.mark.parametrize("context", [1, 2])
def test_neighbouring_lines_are_channels_and_end_with_the_block(
    tmp_path, limits, context
):
    volume, _ = volume_files.make()
    data = load(tmp_path, direction="both", context=context)
    (low, high), *_ = data.blocks["train"]
    assert data.patches.images.shape[3] == data.lines.images.shape[3] == 2 * context + 1
    for n, (kind, line, trace, row) in enumerate(places(data)):
        for channel, offset in enumerate(range(-context, context + 1)):
            if kind == "inline":
                there = min(max(line + offset, low), high - 1)
                traces = volume[there, trace : trace + 8]
            else:
                there = min(max(line + offset, 0), volume.shape[1] - 1)
                if there == 3:  # dead: the next crossline towards the patch
                    there -= np.sign(offset)
                traces = volume[trace : trace + 8, there]
            np.testing.assert_array_equal(
                data.patches.images[n, :, :, channel],
                expected_image(traces[:, row : row + 8].T),
            )


@pytest.mark.parametrize("code", [1, 2, 3, 5])
def test_formats_give_the_same_hash_patches_and_lines(tmp_path, code):
    volume, labels = volume_files.make()
    expected = load(tmp_path)
    paths = [
        volume_files.write_segy(tmp_path / f"{name}.sgy", array, code)
        for name, array in (("volume", volume), ("labels", labels))
    ]
    found = volumes.load(config(*paths))
    assert found.scanned.digest == expected.scanned.digest
    assert found.facts["unlabelled_sha256"] == expected.facts["unlabelled_sha256"]
    for name in ("patches", "lines"):
        a, b = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)
    assert found.facts["inlines"] == [INLINES[0], INLINES[-1]]
    assert found.facts["crosslines"] == [CROSSLINES[0], CROSSLINES[-1]]
    ((first, last),) = found.facts["blocks"]["train"]
    ((start, stop),) = found.blocks["train"]
    assert (first, last) == (INLINES[start], INLINES[stop - 1])
    # Amplitudes of one format, labels of another.
    mixed = volumes.load(config(paths[0], tmp_path / "labels.npy"))
    assert mixed.scanned.digest == expected.scanned.digest


def test_one_inline_in_five_is_enough(tmp_path):
    volume, labels = volume_files.make()
    labels[np.arange(30) % 5 > 0] = -1
    data = load(tmp_path, (volume, labels), gap=4)
    assert data.facts["labelled_inlines"] == 6
    lines = {line for _, line, _, _ in places(data)}
    assert {line % 5 for line in lines} == {0}
    assert data.facts["blocks"]["val"] == [[0, 0]]


@pytest.mark.parametrize(
    ("value", "place"),
    [(np.nan, "inline 4, crossline 6"), (np.inf, "inline 4"), (1e300, "inline 4")],
)
def test_samples_that_are_not_finite_are_refused(tmp_path, value, place):
    volume, labels = volume_files.make()
    volume[4, 6, 5] = value
    with pytest.raises(InputError, match=f"volume.npy: {place}.* are not finite"):
        load(tmp_path, (volume, labels))


def test_traces_of_nan_alone_are_dead(tmp_path):
    volume, labels = volume_files.make()
    expected = load(tmp_path)
    volume[:, 3] = np.nan
    found = load(tmp_path, (volume, labels))
    np.testing.assert_array_equal(found.patches.images, expected.patches.images)
    assert found.facts["dead_traces"] == 30


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            lambda v, s: s[:9].fill(0),
            {},
            r"no salt in the validation part, inlines 0 to",
        ),
        (lambda v, s: s[20:].fill(0), {}, r"no salt in the test part, inlines"),
        (lambda v, s: s.fill(0), {}, r"0 \(no salt\) 100.00%: no salt"),
        (lambda v, s: v.fill(0), {}, r"volume.npy: all 600 traces of .* are dead"),
        (lambda v, s: s[2:].fill(-1), {}, r"2 of 30 inlines hold labels, too few"),
        (lambda v, s: None, {"gap": 20}, r"30 of 30 inlines hold labels, too few.*gap"),
        (
            lambda v, s: None,
            {"tile": 25},
            r"24 samples and 20 crosslines.*smaller data.tile, or another data.dir",
        ),
        (
            lambda v, s: None,
            {"tile": 19, "direction": "crossline"},
            r"training block 18 inlines.*data.direction=crossline",
        ),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(tmp_path, change, settings, message):
    made = volume_files.make()
    change(*made)
    with pytest.raises(InputError, match=message):
        load(tmp_path, made, **settings)


def test_labels_of_another_shape_are_refused(tmp_path):
    volume, labels = volume_files.make()
    with pytest.raises(InputError, match=r"30 × 20 × 24 .* against 30 × 20 × 23"):
        load(tmp_path, (volume, labels[:, :, :23]))


def test_data_of_a_run(tmp_path):
    made = config(*volume_files.write_npy(tmp_path), folds=3, fold=1)
    data = source.load(made)
    facts = data.facts
    assert (facts["source"], facts["dir"]) == ("volume", str(tmp_path / "volume.npy"))
    assert facts["content_sha256"] == data.volume.scanned.digest
    assert (facts["height"], facts["width"], facts["tiles"]) == (8, 8, 40)
    assert facts["splits"]["test"][0] == "test_inline_10"
    assert facts["volume"]["gap"] == 2
    np.testing.assert_array_equal(data.units, data.volume.units)
    assert len(set(data.units)) < len(data.units) == len(data.scored)
    assert data.split_description == (
        "40 patches train, 3 inlines val, 10 inlines test, fold 1 (0 to 2)"
    )
    source.check_trainable(data, 40)
    with pytest.raises(InputError, match=r"patches=40 with config.train.batch_size=41"):
        source.check_trainable(data, 41)


@pytest.mark.parametrize("changes", [{}, {"direction": "both", "context": 1}])
def test_patches_that_are_read_when_they_are_used_are_the_same(
    tmp_path, monkeypatch, changes, caplog
):
    caplog.set_level("INFO", "saltjax")
    expected = load(tmp_path, **changes).patches
    monkeypatch.setattr(cutting, "MEMORY_SHARE", 0)
    found = load(tmp_path, **changes).patches
    assert (found.streamed, expected.streamed) == (True, False)
    assert "more than 0% of the memory" in caplog.text
    assert found.ids == expected.ids
    rows = np.array([7, 0, 39, 7])
    for name in ("images", "labels"):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a.shape, a.nbytes, len(a)) == (b.shape, b.nbytes, len(b))
        for key in (rows, 3, np.int64(-1), slice(5, 9), slice(0, 0), slice(None)):
            np.testing.assert_array_equal(a[key], b[key])
    for field in dataclasses.fields(found.summary):
        np.testing.assert_array_equal(
            getattr(found.summary, field.name), getattr(expected.summary, field.name)
        )


def test_patches_beyond_memory_need_grain(tmp_path, monkeypatch):
    monkeypatch.setattr(cutting, "MEMORY_SHARE", 0)
    monkeypatch.setattr(cutting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs grain, .*pip install grain, or give"):
        load(tmp_path)


def test_memory_does_not_grow_with_the_volume(tmp_path):
    peaks = []
    for inlines in (40, 160):
        i, _, s = np.indices((inlines, 60, 50))
        amplitudes = np.random.default_rng(0).normal(size=i.shape)
        made = amplitudes.astype("f4"), ((s > 20) & (i > 2)).astype("i1")
        paths = config(*volume_files.write_npy(tmp_path, *made), patches=20)
        volume = labelled_volume.open_volume(paths)
        tracemalloc.start()
        labelled_volume.scan(volume)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The maps from above, 9 bytes a trace; amplitudes and labels would be 250 bytes a trace.
    assert peaks[1] - peaks[0] < 15 * 120 * 60


def test_zarr_has_the_hash_and_patches_of_other_formats(tmp_path):
    from saltjax.seismic import zarr_output

    made, expected = volume_files.make(), load(tmp_path)
    paths = []
    for name, array in zip(("volume", "labels"), made):
        paths.append(tmp_path / f"{name}.zarr")
        zarr_output.write_volume(
            paths[-1], array, INLINES, CROSSLINES, SampleAxis("ms", 0, 4)
        )
    found = volumes.load(config(*paths))
    assert found.scanned.digest == expected.scanned.digest
    np.testing.assert_array_equal(found.patches.images, expected.patches.images)
    np.testing.assert_array_equal(found.lines.labels, expected.lines.labels)
    assert found.facts["inlines"] == [INLINES[0], INLINES[-1]]
    assert found.facts["axis"] == {"unit": "ms", "first": 0.0, "step": 4.0}


def test_two_horizons_are_labels(tmp_path):
    volume, _ = volume_files.make()
    labels = np.full(volume.shape, -1)
    picks = {"top": [], "base": []}
    for i in range(0, 30, 3):
        for x in range(20):
            top, base = 8 + abs(x - 10), 20 + x % 3
            labels[i, x] = 0
            labels[i, x, top : base + 1] = 1
            for name, sample in (("top", top), ("base", base)):
                picks[name].append(f"{i} {x} {sample}")
    expected = load(tmp_path, (volume, labels))
    for name, lines in picks.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    both = f"{tmp_path}/top.txt, {tmp_path}/base.txt"
    found = volumes.load(config(tmp_path / "volume.npy", both))
    assert found.scanned.digest == expected.scanned.digest
    np.testing.assert_array_equal(found.patches.labels, expected.patches.labels)
    assert found.facts["labelled_inlines"] == 10


def test_patches_are_not_shrunk_by_padding(tmp_path):
    made = config(*volume_files.write_npy(tmp_path), resize="pad", image_size=4)
    with pytest.raises(InputError, match=r"data.tile=8 .*; give config.data.tile=4,"):
        source.load(made)
