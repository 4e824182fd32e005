"""Test tiles of several runs beside each other: which are chosen, and what each run predicts."""

import logging

import numpy as np
import pytest
import tested_run

from saltjax.reporting import paired, shared_tiles
from saltjax.runs import completed
from saltjax.runs.saved_outputs import SavedOutputs


def find(folder, reference=""):
    runs = completed.read_runs(folder)
    return shared_tiles.find(runs, paired.read_all(runs), reference)


def iou_of(mask, label):
    union = (mask | label).sum()
    return (mask & label).sum() / union if union else 1.0


def test_predictions_are_those_at_each_runs_own_threshold_and_size(tmp_path):
    chosen = {"a": (0.3, 0), "b": (0.6, 5)}
    saved = {}
    for number, (name, choice) in enumerate(chosen.items()):
        saved[name] = tested_run.outputs(0.2, number)
        tested_run.write(tmp_path / name, saved[name], chosen=choice)
    found = find(tmp_path)
    assert found.ids == sorted(saved["a"].ids)
    assert (found.total, found.spread, found.common) == (40, 0, True)
    assert np.array_equal(found.labels, saved["a"].labels)
    assert set(found.runs) == {"a", "b"}
    for name, choice in chosen.items():
        masks = tested_run.masks_of(saved[name].prob, *choice)
        for i, tile in enumerate(found.ids):
            one = found.runs[name][tile]
            assert np.array_equal(one.mask, masks[i])
            expected = iou_of(masks[i], saved[name].labels[i].astype(bool))
            assert one.iou == pytest.approx(expected, abs=1e-12)
            # 13107 and 52428 are 0.2 and 0.8 of 65535, so 51 and 204 of 255.
            assert np.array_equal(
                one.prob, np.where(saved[name].prob[i] == 13107, 51, 204)
            )


def test_order_of_the_outputs_does_not_matter(tmp_path):
    tested_run.write(tmp_path / "a", tested_run.outputs(0.2, 1))
    turned = tested_run.outputs(0.2, 1, range(39, -1, -1))
    tested_run.write(tmp_path / "b", turned)
    found = find(tmp_path)
    for tile in found.ids:
        a, b = found.runs["a"][tile], found.runs["b"][tile]
        assert np.array_equal(a.mask, b.mask)
        assert a.iou == b.iou


def test_tiles_of_two_or_more_runs_are_shown(tmp_path):
    tested_run.write(tmp_path / "a", tested_run.outputs(0.1, 1, range(0, 20)))
    tested_run.write(tmp_path / "b", tested_run.outputs(0.1, 2, range(15, 30)))
    tested_run.write(tmp_path / "c", tested_run.outputs(0.1, 3, range(18, 40)))
    found = find(tmp_path)
    assert found.ids == [f"t{i:02d}" for i in range(15, 30)]
    assert found.common
    assert sorted(found.runs["a"]) == [f"t{i:02d}" for i in range(15, 20)]
    assert sorted(found.runs["c"]) == [f"t{i:02d}" for i in range(18, 30)]


def test_runs_that_share_no_tile_have_all_of_theirs(tmp_path):
    tested_run.write(tmp_path / "a", tested_run.outputs(0.1, 1, range(0, 3)))
    tested_run.write(tmp_path / "b", tested_run.outputs(0.1, 2, range(30, 32)))
    found = find(tmp_path)
    assert found.ids == ["t00", "t01", "t02", "t30", "t31"]
    assert not found.common
    assert list(found.runs["b"]) == ["t30", "t31"]


def test_what_cannot_be_beside_the_others_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    for number in range(2):
        tested_run.write(tmp_path / f"a{number}", tested_run.outputs(0.1, number))
    tested_run.write(tmp_path / "other", tested_run.outputs(0.1, 2), content="other")
    apart = tested_run.outputs(0.1, 3)
    others = SavedOutputs(
        [f"x{i}" for i in apart.ids], apart.prob, apart.labels, apart.units
    )
    tested_run.write(tmp_path / "apart", others)
    tested_run.write(tmp_path / "without", None)
    odd = SavedOutputs(apart.ids, apart.prob, 1 - apart.labels, apart.units)
    tested_run.write(tmp_path / "odd", odd)
    found = find(tmp_path)
    assert set(found.runs) == {"a0", "a1"}
    beside = "not among the tiles side by side"
    for text in (
        f"other: other data, {beside}",
        f"apart: no test tile in common, {beside}",
        f"odd: other labels for the same ids, {beside}",
    ):
        assert text in caplog.text
    tested_run.write(tmp_path / "other1", tested_run.outputs(0.1, 3), content="other")
    assert set(find(tmp_path, "other").runs) == {"other", "other1"}


def test_without_the_outputs_of_two_runs_there_is_nothing(tmp_path):
    tested_run.write(tmp_path / "a", None)
    assert find(tmp_path) is None
    tested_run.write(tmp_path / "b", tested_run.outputs(0.1, 1))
    assert find(tmp_path) is None


def test_of_many_tiles_the_most_disagreed_and_an_even_sample_are_shown(
    tmp_path, monkeypatch
):
    for name, seed in (("a", 1), ("b", 2)):
        tested_run.write(tmp_path / name, tested_run.outputs(0.2, seed))
    whole = find(tmp_path)
    spread = {
        tile: abs(whole.runs["a"][tile].iou - whole.runs["b"][tile].iou)
        for tile in whole.ids
    }
    # Eleven tiles of two runs.
    monkeypatch.setattr(shared_tiles, "MAX_PROBABILITIES", 11 * 2 * 64 + 63)
    found = find(tmp_path)
    assert (len(found.ids), found.total, found.spread) == (11, 40, 5)
    assert found.ids == sorted(found.ids)
    most = sorted(spread, key=lambda tile: (-spread[tile], tile))[:5]
    rest = [tile for tile in whole.ids if tile not in most]
    # Steps of 34 / 5 among the other 35.
    even = [rest[i] for i in (0, 7, 14, 20, 27, 34)]
    assert set(found.ids) == {*most, *even}
    monkeypatch.setattr(shared_tiles, "MAX_PIXELS", 3 * 64)
    assert len(find(tmp_path).ids) == 3


def test_images_are_taken_from_where_a_run_still_has_them(tile_folder, tmp_path):
    from PIL import Image

    runs = tmp_path / "runs"
    ids = ["t01", "t05"]
    labels = np.stack(
        [np.asarray(Image.open(tile_folder / f"masks/{i}.png")) > 0 for i in ids]
    ).astype(np.uint8)
    prob = np.full(labels.shape, 9, np.uint16)
    saved = SavedOutputs(ids, prob, labels, np.arange(2))
    tested_run.write(runs / "a", saved, {"data.dir": str(tmp_path / "moved")})
    tested_run.write(runs / "b", saved, {"data.dir": str(tile_folder)})
    found = completed.read_runs(runs)
    images = shared_tiles.find_images(find(runs), found)
    for image, tile in zip(images, ids):
        expected = np.asarray(
            Image.open(tile_folder / f"images/{tile}.png").convert("RGB")
        )
        assert np.array_equal(image, expected)


def test_unlabelled_pixels_count_in_the_size_of_a_page_and_in_no_iou(
    tmp_path, monkeypatch
):
    for name, seed in (("a", 1), ("b", 2)):
        saved = tested_run.outputs(0.2, seed)
        saved.labels[:, :, 2:] = 255
        tested_run.write(tmp_path / name, saved)
    monkeypatch.setattr(shared_tiles, "MAX_PIXELS", 3 * 64)
    found = find(tmp_path)
    assert len(found.ids) == 3
    assert found.has_unlabelled
    for tile, label in zip(found.ids, found.labels):
        one = found.runs["a"][tile]
        salt = label[:, :2].astype(bool)
        expected = iou_of(one.mask[:, :2].astype(bool), salt)
        assert one.iou == pytest.approx(expected, abs=1e-12)
