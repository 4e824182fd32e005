import numpy as np
import pytest

from saltjax.scoring import metrics
from saltjax.scoring import postprocess as masks


def picture(text):
    return np.array([[c == "#" for c in line] for line in text.split()])


def test_small_bodies_are_left_out():
    mask = picture("##..# ..... #.... .#... ..#..")
    # Of 2 pixels, 1 and, along a diagonal, 3.
    expected = {
        0: mask,
        1: mask,
        2: picture("##... ..... #.... .#... ..#.."),
        3: picture("..... ..... #.... .#... ..#.."),
        4: np.zeros((5, 5), bool),
    }
    # The same mask above and below: bodies of two masks never join.
    stack = np.stack([mask, mask, mask])
    for area, kept in expected.items():
        for found in masks.drop_small(stack, area):
            np.testing.assert_array_equal(found, kept)


def test_a_pixel_at_the_threshold_is_salt():
    prob = np.float32([[[0.3, 0.30000001, 0.29999998]]])
    found = masks.salt_mask(prob, masks.Rule(0.3, 0))
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


def choose(kinds, metric, min_area="0"):
    prob, label = tiles(kinds)
    curve = metrics.precision_recall(prob, label)
    return masks.choose_rule(curve, prob, label, metric, min_area)


def test_the_threshold_is_the_best_of_its_metric():
    # At 0.61 and above, up to 0.7, nothing false is left.
    for metric in ("iou", "kaggle_map"):
        rule, record = choose(["s", "sf", "f", ""], metric)
        assert rule == masks.Rule(0.61, 0)
        assert record == {"value": 0.61, "f1": 1.0, "metric": metric, "score": 1.0}
    rule, record = choose(["s", "sf", "f", ""], "f1")
    assert rule.threshold == np.float32(0.7)
    assert record["score"] == record["f1"] == 1.0


def test_metrics_can_disagree():
    """What is missed in three tiles weighs more than one empty tile, or less."""
    label = np.zeros((4, 8, 8), np.uint8)
    label[:3, :4, :4] = 1
    prob = np.full(label.shape, 0.1, np.float32)
    prob[:3, :4, :4] = 0.4
    prob[:3, :3, :4] = 0.8  # without the rest: IoU 3/4
    prob[3, 0, 0] = 0.5  # false salt
    curve = metrics.precision_recall(prob, label)

    def chosen(metric):
        rule, record = masks.choose_rule(curve, prob, label, metric, "0")
        return rule.threshold, record["score"]

    # Above 0.5: three tiles of 3/4 and an empty one of 1, better than 1, 1, 1 and 0 by IoU.
    assert chosen("iou") == (0.51, pytest.approx((3 * 0.75 + 1) / 4))
    # By the challenge's score 3/4 beats five thresholds of ten: 0.5, 0.5, 0.5, 1 < 1, 1, 1, 0.
    assert chosen("kaggle_map") == (0.11, pytest.approx(0.75))
    assert chosen("f1")[0] == pytest.approx(0.4)


def test_the_least_area_is_chosen_where_it_helps():
    # At any threshold that finds the salt, at 0.5, the false bodies of 3 pixels are there too.
    kinds = ["s", "sf", "f", ""]
    prob, label = tiles(kinds)
    prob[prob == np.float32(0.7)] = 0.55
    curve = metrics.precision_recall(prob, label)
    for metric in ("kaggle_map", "iou", "f1"):
        rule, _ = masks.choose_rule(curve, prob, label, metric, "auto")
        assert rule.min_area == 4
        found = metrics.confusion(masks.salt_mask(prob, rule), label)
        assert metrics.mean_score(found, metric) == 1
    # Where nothing is gained it stays 0; a number is taken as it is.
    assert choose(["s", ""], "kaggle_map", "auto")[0].min_area == 0
    assert choose(kinds, "kaggle_map", "7")[0].min_area == 7
