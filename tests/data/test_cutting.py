"""Patches and lines of a volume, and what is said of it."""

import logging

import numpy as np
import pytest
import volume_files
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_files import CROSSLINES, INLINES, config

from saltjax.data import blocks, cutting, volumes
from saltjax.data.tiles import UNLABELLED
from saltjax.system.errors import InputError


def load(folder, made=None, **changes):
    return volumes.load(config(*volume_files.write_npy(folder, *made or ()), **changes))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(9, 40), st.integers(4, 9), st.integers(4, 6)),
    every=st.integers(1, 4),
    direction=st.sampled_from(["inline", "crossline", "both"]),
    gap=st.integers(0, 4),
    folds=st.sampled_from([0, 2, 3]),
    context=st.integers(0, 3),
    data=st.data(),
)
def test_each_part_shows_its_own_inlines_alone(
    tmp_path_factory, shape, every, direction, gap, folds, context, data
):
    # Images of 8 bits are not scaled: each pixel is the index of its inline, from 1.
    volume = np.broadcast_to(np.arange(1, shape[0] + 1)[:, None, None], shape)
    labels = np.full(shape, -1)
    labels[::every] = 1
    fold = data.draw(st.integers(0, max(folds - 1, 0)))
    folder = tmp_path_factory.getbasetemp()
    changes = {"direction": direction, "gap": gap, "context": context, "fold": fold}
    changes |= {"folds": folds, "tile": 4, "patches": 30, "salt_share": 1.0}
    try:
        found = load(folder, (volume.astype(np.uint8), labels), **changes)
    except InputError:
        return
    images = {"train": found.patches.images}
    images |= {part: found.lines.images[found.split[part]] for part in ("val", "test")}
    own = {part: blocks.members(found.blocks[part]) + 1 for part in images}
    for part, pixels in images.items():
        shown = np.setdiff1d(pixels, [0])  # beside crosslines of the narrower block
        assert np.isin(shown, own[part]).all()
        for other in images.keys() - {part}:
            assert np.abs(shown[:, None] - own[other].astype(int)).min() > gap


def test_crosslines_end_with_their_block(tmp_path):
    _, labels = volume_files.make()
    labels[:, :2] = -1  # crosslines without labels
    found = load(tmp_path, (None, labels), direction="crossline", folds=3, fold=1)
    assert found.facts["blocks"]["train"] == [[0, 7], [22, 24]]
    units = [set(found.units[found.split[part]]) for part in ("val", "test")]
    assert not units[0] & units[1]
    labels[:, 3] = UNLABELLED  # dead
    expected = {
        f"{part}_crossline_{x}": labels[slice(*block), x].T
        for part in ("val", "test")
        for block in found.blocks[part]
        for x in (2, *range(4, 20))
    }
    assert found.lines.ids == tuple(expected)
    widths = {label.shape[1] for label in expected.values()}
    assert len(widths) == 2
    for label, (name, whole) in zip(found.lines.labels, expected.items()):
        width = whole.shape[1]
        np.testing.assert_array_equal(label[:, :width, 0], whole, err_msg=name)
        assert (label[:, width:] == UNLABELLED).all()


def test_lines_are_inlines_if_patches_are_of_both_directions(tmp_path):
    lines = [load(tmp_path, direction=name).lines for name in ("inline", "both")]
    assert lines[0].ids == lines[1].ids
    np.testing.assert_array_equal(lines[0].images, lines[1].images)


def test_inlines_without_labels_are_left_out(tmp_path):
    _, labels = volume_files.make()
    labels[::2] = -1
    ids = load(tmp_path, (None, labels), gap=1).lines.ids
    assert {int(name.rpartition("_")[2]) % 2 for name in ids} == {1}


def test_patches_may_be_as_long_as_the_traces(tmp_path):
    made = (x[:, :, 6:14] for x in volume_files.make())
    found = load(tmp_path, made, salt_share=1.0).patches
    assert found.images.shape == (40, 8, 8, 3)


def test_the_seed_of_the_data_chooses_the_patches(tmp_path):
    first, again, other = (load(tmp_path, seed=seed).patches.ids for seed in (0, 0, 1))
    assert first == again != other


def test_of_many_lines_some_at_equal_distances_are_scored(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "saltjax")
    monkeypatch.setattr(cutting, "MAX_SCORED", 3 * 20 * 24)
    found = load(tmp_path, gap=1, split=(0.3, 0.2, 0.5))
    (val,), (test,) = found.blocks["val"], found.blocks["test"]
    assert (val, test) == ((0, 6), (16, 30))
    numbers = [int(name.rpartition("_")[2]) for name in found.lines.ids]
    assert numbers == [0, 2, 5, 16, 22, 29]
    assert "3 of 14 inlines of test are scored" in caplog.text


def test_ids_of_patches_have_the_numbers_of_their_lines(tmp_path):
    expected = load(tmp_path, direction="both").patches.ids
    paths = [
        volume_files.write_segy(tmp_path / f"{name}.sgy", array, 5)
        for name, array in zip(("volume", "labels"), volume_files.make())
    ]
    found = volumes.load(config(*paths, direction="both")).patches.ids
    for a, b in zip(found, expected, strict=True):
        number, kind, line, trace, row = b.split("_")
        numbers = [INLINES, CROSSLINES] if kind == "inline" else [CROSSLINES, INLINES]
        line, trace = (own[int(i)] for own, i in zip(numbers, (line, trace)))
        assert a == f"{number}_{kind}_{line}_{trace}_{row}"


def test_facts_are_of_the_parts(tmp_path, monkeypatch):
    volume, labels = volume_files.make()
    made = config(*volume_files.write_npy(tmp_path))
    facts = volumes.load(made).facts
    assert facts["blocks"] == {"val": [[0, 3]], "train": [[6, 23]], "test": [[26, 29]]}
    volume, labels = (np.delete(x, 3, axis=1) for x in (volume, labels))  # dead
    shares = {"val": labels[:4], "train": labels[6:24], "test": labels[26:]}
    assert facts["salt"] == pytest.approx({k: np.mean(v) for k, v in shares.items()})
    high = np.percentile(np.abs(volume[6:24]), 99)
    assert facts["amplitudes"] == pytest.approx([-high, high])

    def correlation(*pairs):
        return np.mean(
            [np.corrcoef(*volume[list(p)].reshape(2, -1))[0, 1] for p in pairs]
        )

    monkeypatch.setattr(volumes, "PAIRS", 3)
    assert volumes.load(made).facts["correlation"] == pytest.approx(
        {
            "neighbours": correlation((6, 7), (14, 15), (22, 23)),
            "validation–training": correlation((3, 6)),
            "training–test": correlation((23, 26)),
        }
    )
    made.predict.normalize = "minmax"
    ends = volume[6:24].min(), volume[6:24].max()
    assert volumes.load(made).facts["amplitudes"] == list(ends)
