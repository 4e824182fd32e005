import numpy as np
import pytest

from saltjax.runs import result
from saltjax.scoring import metrics, postprocess
from saltjax.scoring.postprocess import CHOOSE_AREA, Postprocessing


def picture(text):
    """Returns a mask bool[H, W], a row for each word, True where there is a #."""
    return np.array([[c == "#" for c in line] for line in text.split()])


def test_small_components_are_removed():
    mask = picture("##..# ..... #.... .#... ..#..")
    # Of 2 pixels, 1 and, along a diagonal, 3.
    expected = {
        0: mask,
        1: mask,
        2: picture("##... ..... #.... .#... ..#.."),
        3: picture("..... ..... #.... .#... ..#.."),
        4: np.zeros((5, 5), bool),
    }
    # Stacked with itself: components of different masks never join.
    stack = np.stack([mask, mask, mask])
    for area, kept in expected.items():
        for found in postprocess.remove_small_components(stack, area):
            np.testing.assert_array_equal(found, kept)


def test_a_pixel_at_the_threshold_is_salt():
    prob = np.float32([[[0.3, 0.30000001, 0.29999998]]])
    found = postprocess.salt_mask(prob, Postprocessing(0.3, 0))
    np.testing.assert_array_equal(found, [[[True, True, False]]])


def tiles(kinds):
    """Tiles of 8×8: a block of 16 pixels of salt ("s") or none, and 3 false ones at 0.6 ("f")."""
    label = np.zeros((len(kinds), 8, 8), np.uint8)
    prob = np.full(label.shape, 0.1, np.float32)
    for i, kind in enumerate(kinds):
        if "s" in kind:
            label[i, :4, :4] = 1
            prob[i, :4, :4] = 0.7
        if "f" in kind:
            prob[i, 6, 2:5] = 0.6
    return prob, label


def choose(kinds, metric, min_area=0):
    prob, label = tiles(kinds)
    curve = metrics.precision_recall(prob, label)
    return postprocess.choose(curve, prob, label, metric, min_area)


def test_the_threshold_is_the_best_of_its_metric():
    # At 0.61 and above, up to 0.7, nothing false is left.
    for metric in ("iou", "kaggle_map"):
        chosen, threshold = choose(["s", "sf", "f", ""], metric)
        assert chosen == Postprocessing(0.61, 0)
        assert threshold == result.Threshold(0.61, 1.0, metric, 1.0)
    chosen, threshold = choose(["s", "sf", "f", ""], "f1")
    assert chosen.threshold == threshold.value == np.float32(0.7)
    assert threshold.score == threshold.f1 == 1.0


def test_metrics_can_disagree():
    """False negatives in three tiles weigh more than one empty tile, or less."""
    label = np.zeros((4, 8, 8), np.uint8)
    label[:3, :4, :4] = 1
    prob = np.full(label.shape, 0.1, np.float32)
    prob[:3, :4, :4] = 0.4
    prob[:3, :3, :4] = 0.8  # without the rest: IoU 3/4
    prob[3, 0, 0] = 0.5  # false salt
    curve = metrics.precision_recall(prob, label)

    def chosen(metric):
        _, threshold = postprocess.choose(curve, prob, label, metric, 0)
        return threshold.value, threshold.score

    # Above 0.5: three tiles of 3/4 and an empty one of 1, better than 1, 1, 1 and 0 by IoU.
    assert chosen("iou") == (0.51, pytest.approx((3 * 0.75 + 1) / 4))
    # By the challenge's score 3/4 beats five thresholds of ten: 0.5, 0.5, 0.5, 1 < 1, 1, 1, 0.
    assert chosen("kaggle_map") == (0.11, pytest.approx(0.75))
    # Over all pixels: 2 · 48 / (2 · 48 + 1), the false pixel included.
    assert chosen("f1") == (pytest.approx(0.4), pytest.approx(96 / 97))


def test_minimum_size_is_chosen_where_it_helps():
    # At any threshold that finds the salt, at 0.55, the false components of 3 pixels remain.
    kinds = ["s", "sf", "f", ""]
    prob, label = tiles(kinds)
    prob[prob == np.float32(0.7)] = 0.55
    curve = metrics.precision_recall(prob, label)
    for metric in ("kaggle_map", "iou", "f1"):
        chosen, _ = postprocess.choose(curve, prob, label, metric, CHOOSE_AREA)
        assert chosen.min_area == 4
        found = metrics.confusion(postprocess.salt_mask(prob, chosen), label)
        assert metrics.mean_score(found, metric) == 1
    # Without a gain it is 0; a number is taken as it is.
    assert choose(["s", ""], "kaggle_map", CHOOSE_AREA)[0].min_area == 0
    assert choose(kinds, "kaggle_map", 7)[0].min_area == 7
