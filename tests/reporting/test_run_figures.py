import dataclasses

import msgspec
import numpy as np
import pytest
import written_run
from PIL import Image

from saltjax.data.tiles import Tiles
from saltjax.reporting import figures, run_figures
from saltjax.runs import result
from saltjax.scoring import metrics, scores
from saltjax.scoring.postprocess import Postprocessing

EMPTY, HIT, MISS = (0, 0, 0, 100), (50, 0, 0, 50), (0, 0, 50, 50)
RESULT = msgspec.convert(written_run.RESULT, result.Result)


def test_examples_are_the_middles_of_fifths_by_iou():
    # Intersections of 0 to 24 of 50 pixels, shuffled: the middles of fifths are 2, 7, 12 …
    hits = np.random.default_rng(0).permutation(25)
    counts = np.stack([hits, 0 * hits, 50 - hits, 50 + 0 * hits], axis=1)
    picked = run_figures.pick_examples(counts, seed=0)
    assert hits[picked].tolist() == [2, 7, 12, 17, 22]
    few = np.array([EMPTY, HIT, MISS])
    assert sorted(run_figures.pick_examples(few, 0)) == [0, 1, 2]
    # Among equals, the seed decides.
    equals = np.array([EMPTY] * 50)
    picks = {tuple(run_figures.pick_examples(equals, seed)) for seed in range(3)}
    assert len(picks) == 3


def test_worst_have_the_lowest_iou_and_then_most_wrong_pixels():
    counts = np.array([HIT, (0, 1, 0, 99), EMPTY, MISS, (25, 0, 25, 50)])
    assert run_figures.pick_worst(counts).tolist()[:3] == [3, 1, 4]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, by the names of their files."""
    found = {}

    def save(figure, path, write=None):
        found[path.name] = figure

    monkeypatch.setattr(figures, "save", save)
    return found


@pytest.fixture
def tiles():
    """Ten tiles of 8×8; tile i has brightness i, and salt in its first i % 5 rows."""
    images = np.tile(np.arange(10, dtype=np.uint8)[:, None, None, None], (1, 8, 8, 3))
    labels = np.zeros((10, 8, 8, 1), np.uint8)
    for i in range(10):
        labels[i, : i % 5] = 1
    ids = tuple(f"tile{i}" for i in range(10))
    return Tiles(ids, images, labels, "folder", "/data/tgs/train")


def brightness(axes):
    return int(np.asarray(axes.images[0].get_array()).ravel()[0])


def test_data_figures_show_tiles_with_their_ids(tiles, tmp_path, drawn):
    run_figures.draw_data(tiles, tmp_path / "plots", seed=0)
    assert drawn.keys() == {"examples.png", "coverage.png"}
    assert (tmp_path / "plots").is_dir()
    above = drawn["examples.png"].axes[:5]
    shown = [brightness(axes) for axes in above]
    assert [axes.get_title() for axes in above] == [f"tile{i}" for i in shown]
    assert len(set(shown)) == 5
    heights = [bar.get_height() for bar in drawn["coverage.png"].axes[0].patches]
    # None in two; one to four of eight rows in two each.
    assert heights == [2, 0, 2, 2, 2, 0, 2, 0, 0, 0, 0]
    for figure in drawn.values():
        assert figure.get_supxlabel() == "Data: tiles of tgs/train"
    run_figures.draw_data(tiles, tmp_path / "plots", seed=1)
    assert [brightness(axes) for axes in drawn["examples.png"].axes[:5]] != shown


def test_patches_are_titled_by_their_place(tiles):
    ids = ("0000567_crossline_2038_1025_31", *tiles.ids[1:])
    patches = dataclasses.replace(tiles, ids=ids, source="volume")
    title = "crossline 2038,\ninline 1025, sample 31"
    assert run_figures.title_of(patches, 0) == title
    assert run_figures.title_of(patches, 1) == "tile1"
    named = dataclasses.replace(tiles, ids=("b" * 30, *tiles.ids[1:]))
    assert run_figures.title_of(named, 0) == "bbbbbbbb…bbbbbbbbb"


def make_test(tiles, indices):
    """Returns the test of tiles: their first two rows are predicted as salt."""
    prob = np.zeros((len(indices), 8, 8), np.float32)
    prob[:, :2] = 0.75
    labels = tiles.labels[indices, :, :, 0]
    outputs = scores.Outputs(indices, 0.5, 0.9, prob, labels, prob)
    return scores.score(outputs, labels, Postprocessing(0.5, 0), seed=0)


def test_score_figures_show_the_tested_tiles(tiles, tmp_path, drawn):
    indices = np.array([9, 2, 5, 0, 6, 8, 3])
    test = make_test(tiles, indices)
    run_figures.draw_scores(
        {"these tiles": test.curve},
        test,
        Postprocessing(0.5, 0),
        tiles,
        "some tiles",
        0,
        tmp_path,
    )
    assert drawn.keys() == {
        "precision_recall.png",
        "by_coverage.png",
        "reliability.png",
        "predictions.png",
        "worst.png",
    }
    # Two rows are predicted, i % 5 are salt: IoU 0 for tiles 5 and 0, 1 for tile 2.
    iou = {9: 0.5, 2: 1.0, 5: 0.0, 0: 0.0, 6: 0.5, 8: 2 / 3, 3: 2 / 3}
    for name in ("predictions.png", "worst.png"):
        rows = np.reshape(drawn[name].axes[:20], (5, 4))[:, 0]
        for axes in rows:
            tile = brightness(axes)
            assert axes.get_ylabel() == f"tile{tile}\nIoU {iou[tile]:.2f}"
    worst = np.reshape(drawn["worst.png"].axes[:20], (5, 4))[:, 0]
    assert {brightness(axes) for axes in worst[:2]} == {0, 5}
    assert {brightness(axes) for axes in worst[2:4]} == {9, 6}
    heading = "Evenly spaced ranks by IoU of 7 tiles, mean IoU 0.48"
    assert drawn["predictions.png"].get_suptitle() == heading
    for figure in drawn.values():
        assert figure.get_supxlabel() == "Data: some tiles"


@pytest.mark.slow
def test_figures_of_a_run_are_png_files(tiles, tmp_path):
    test = make_test(tiles, np.arange(10))
    keys = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    row = dict.fromkeys((*keys, "learning_rate"), 0.5) | {"epoch": 1}
    run_figures.draw_training([row], 1, "x", tmp_path)
    run_figures.draw_thresholds(RESULT, test.curve, "x", tmp_path)
    curves = {"validation": test.curve, "test": test.curve}
    chosen = Postprocessing(0.5, 0)
    run_figures.draw_scores(curves, test, chosen, tiles, "x", 0, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        f"{stem}.png"
        for stem in (
            "curves",
            "thresholds",
            "precision_recall",
            "by_coverage",
            "reliability",
            "predictions",
            "worst",
        )
    }
    for name in names:
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 300


def test_test_without_any_salt_is_drawn(tiles, tmp_path, drawn):
    test = make_test(tiles, np.array([0, 5]))
    assert isinstance(test.curve, metrics.Curve)
    curves, chosen = {"these tiles": test.curve}, Postprocessing(0.5, 0)
    run_figures.draw_scores(curves, test, chosen, tiles, "x", 0, tmp_path)
    for figure in drawn.values():
        figure.canvas.draw()
