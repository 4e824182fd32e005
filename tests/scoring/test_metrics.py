import numpy as np
import pytest
import sklearn.metrics

from saltjax.runs import result
from saltjax.scoring import metrics


def counts(tp, fp, fn, tn):
    return np.array([[tp, fp, fn, tn]])


def test_confusion_by_hand():
    prob = np.float32([[[0.9, 0.5], [0.2, 0.4]], [[0.0, 0.0], [0.0, 0.0]]])
    label = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]]], np.uint8)
    found = metrics.confusion(prob >= 0.5, label)
    np.testing.assert_array_equal(found, [[1, 1, 1, 1], [0, 0, 0, 4]])


@pytest.mark.parametrize(
    ("cells", "iou", "dice", "kaggle_map"),
    [
        ((10, 0, 0, 90), 1.0, 1.0, 1.0),
        # Empty mask: an empty prediction scores 1, a single pixel 0.
        ((0, 0, 0, 100), 1.0, 1.0, 1.0),
        ((0, 1, 0, 99), 0.0, 0.0, 0.0),
        # Salt there, none predicted.
        ((0, 0, 1, 99), 0.0, 0.0, 0.0),
        # One pixel of salt, predicted.
        ((1, 0, 0, 99), 1.0, 1.0, 1.0),
        # A full mask, 3/4 of it predicted: 0.75 exceeds 0.5, 0.55, 0.6, 0.65, 0.7 and not 0.75.
        ((75, 0, 25, 0), 0.75, 6 / 7, 0.5),
        # IoU 0.5 is not greater than 0.5.
        ((50, 25, 25, 0), 0.5, 2 / 3, 0.0),
        # IoU 0.55 is greater than 0.5 alone, though 0.5 + 0.05 is less than 0.55 in floats.
        ((55, 25, 20, 0), 0.55, 110 / 155, 0.1),
        ((95, 5, 0, 0), 0.95, 190 / 195, 0.9),
        ((96, 4, 0, 0), 0.96, 192 / 196, 1.0),
    ],
)
def test_tile_scores_by_hand(cells, iou, dice, kaggle_map):
    scores = metrics.tile_scores(counts(*cells))
    assert scores["iou"] == pytest.approx(iou)
    assert scores["dice"] == pytest.approx(dice)
    assert scores["kaggle_map"] == pytest.approx(kaggle_map)


def test_pooled_scores_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    label = (rng.random((5, 6, 7)) < 0.3).astype(np.uint8)
    prob = rng.random((5, 6, 7), np.float32)
    predicted, actual = prob.ravel() >= 0.6, label.ravel()
    found = metrics.pooled_scores(metrics.confusion(prob >= 0.6, label).sum(axis=0))
    assert found["accuracy"] == pytest.approx(
        sklearn.metrics.accuracy_score(actual, predicted)
    )
    assert found["precision"] == pytest.approx(
        sklearn.metrics.precision_score(actual, predicted)
    )
    assert found["recall"] == pytest.approx(
        sklearn.metrics.recall_score(actual, predicted)
    )
    assert found["f1"] == pytest.approx(sklearn.metrics.f1_score(actual, predicted))
    assert found["mean_iou"] == pytest.approx(
        sklearn.metrics.jaccard_score(actual, predicted, average="macro")
    )
    assert found["mean_class_accuracy"] == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(actual, predicted)
    )
    assert metrics.accuracy(prob, label, 0.6) == pytest.approx(float(found["accuracy"]))


def test_pooled_scores_without_salt_are_zero():
    found = metrics.pooled_scores(np.array([0, 0, 0, 9]))
    assert {k: float(v) for k, v in found.items()} == {
        "accuracy": 1.0,
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        # Of background alone.
        "mean_iou": 1.0,
        "mean_class_accuracy": 1.0,
    }


def test_curve_and_its_best_point():
    # By hand: at >= 0.4 two of three predicted are salt (F1 0.8), at >= 0.6 one of two (0.5),
    # at >= 0.8 one of one (2/3), at >= 0.1 two of four (2/3).
    label = np.array([0, 1, 0, 1], np.uint8)
    prob = np.float32([0.1, 0.4, 0.6, 0.8])
    curve = metrics.precision_recall(prob, label)
    np.testing.assert_allclose(curve.precision, [0.5, 2 / 3, 0.5, 1.0])
    np.testing.assert_allclose(curve.recall, [1.0, 1.0, 0.5, 0.5])
    assert curve.thresholds[curve.best] == np.float32(0.4)
    assert curve.best_f1 == pytest.approx(0.8)
    expected = sklearn.metrics.average_precision_score(label, prob)
    assert curve.average_precision == pytest.approx(expected)
    assert curve.salt_share == 0.5


def test_best_threshold_maximizes_f1_of_predictions():
    rng = np.random.default_rng(1)
    label = (rng.random((4, 8, 8)) < 0.3).astype(np.uint8)
    prob = np.clip(0.4 * label + 0.7 * rng.random((4, 8, 8)), 0, 1).astype(np.float32)
    curve = metrics.precision_recall(prob, label)
    threshold = float(curve.thresholds[curve.best])
    f1 = {
        t: sklearn.metrics.f1_score(label.ravel(), prob.ravel() >= np.float32(t))
        for t in [threshold, *np.linspace(0.01, 0.99, 99)]
    }
    assert max(f1.values()) == pytest.approx(f1[threshold])
    assert curve.best_f1 == pytest.approx(f1[threshold])


def test_labels_without_salt_give_no_curve():
    curve = metrics.precision_recall(np.float32([0.2, 0.7]), np.zeros(2, np.uint8))
    assert curve.average_precision == curve.best_f1 == 0
    assert curve.thresholds[curve.best] == 0.5
    assert curve.salt_share == 0


def test_intervals_are_the_percentiles_of_resampled_tiles():
    rng = np.random.default_rng(2)
    cells = rng.integers(1, 50, (40, 4))
    scores = metrics.native_scores(cells, seed=3, resamples=400)
    assert scores == metrics.native_scores(cells, seed=3, resamples=400)
    assert scores.iou != metrics.native_scores(cells, seed=4, resamples=400).iou
    # Independently: draw tiles one resample at a time, from other random numbers.
    iou, recall = [], []
    for _ in range(4000):
        drawn = cells[rng.integers(0, 40, 40)]
        tp, fp, fn = drawn[:, 0], drawn[:, 1], drawn[:, 2]
        iou.append(np.mean(tp / (tp + fp + fn)))
        recall.append(tp.sum() / (tp + fn).sum())
    for name, values in (("iou", iou), ("recall", recall)):
        low, high = np.percentile(values, (2.5, 97.5))
        width = high - low
        found = getattr(scores, name)
        assert found.low == pytest.approx(low, abs=0.15 * width)
        assert found.high == pytest.approx(high, abs=0.15 * width)
        assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("cells", "mean_iou", "class_accuracy"),
    [
        ((6, 2, 2, 10), (6 / 10 + 10 / 14) / 2, (6 / 8 + 10 / 12) / 2),
        ((0, 3, 0, 7), (0 + 7 / 10) / 2, 7 / 10),  # no salt, some predicted
        ((4, 0, 6, 0), (4 / 10 + 0) / 2, 4 / 10),  # salt everywhere, some missed
        ((5, 0, 0, 0), 1, 1),
    ],
)
def test_means_over_classes_by_hand(cells, mean_iou, class_accuracy):
    found = metrics.pooled_scores(np.array(cells))
    assert found["mean_iou"] == pytest.approx(mean_iou)
    assert found["mean_class_accuracy"] == pytest.approx(class_accuracy)
    actual, predicted = np.repeat([[1, 1], [0, 1], [1, 0], [0, 0]], cells, axis=0).T
    jaccard = sklearn.metrics.jaccard_score(actual, predicted, average="macro")
    assert found["mean_iou"] == pytest.approx(jaccard)
    if actual.min() < actual.max():  # scikit-learn warns of absent classes
        balanced = sklearn.metrics.balanced_accuracy_score(actual, predicted)
        assert found["mean_class_accuracy"] == pytest.approx(balanced)


def test_tiles_are_drawn_as_before_there_were_units():
    # The bootstrap of version 0.1.0: intervals of its runs are repeated bit for bit.
    expected = np.random.default_rng(3).multinomial(9, np.full(9, 1 / 9), size=50)
    found = metrics.bootstrap_weights(np.arange(9), 3, 50)
    np.testing.assert_array_equal(found, expected)
    cells = np.random.default_rng(0).integers(1, 50, (9, 4))
    iou = metrics.tile_scores(cells)["iou"]
    weights = np.random.default_rng(3).multinomial(9, np.full(9, 1 / 9), size=1000)
    low, high = np.percentile(weights.astype(float) @ iou / 9, (2.5, 97.5))
    found = metrics.native_scores(cells, 3).iou
    assert (found.low, found.high) == (low, high)


def test_intervals_of_groups_are_the_percentiles_of_resampled_groups():
    rng = np.random.default_rng(2)
    # 15 groups of 1 to 7 tiles, in no order, and similar within a group.
    group = np.repeat(np.arange(15), rng.integers(1, 8, 15))
    rng.shuffle(group)
    cells = rng.integers(1, 60, (15, 4))[group] + rng.integers(0, 5, (len(group), 4))
    found = metrics.native_scores(cells, 3, units=group * 7 + 100)
    iou, recall = [], []
    for _ in range(4000):
        drawn = np.concatenate(
            [cells[group == g] for g in rng.integers(0, 15, 15)], axis=0
        )
        tp, fp, fn = drawn[:, 0], drawn[:, 1], drawn[:, 2]
        iou.append(np.mean(tp / (tp + fp + fn)))
        recall.append(tp.sum() / (tp + fn).sum())
    for name, values in (("iou", iou), ("recall", recall)):
        low, high = np.percentile(values, (2.5, 97.5))
        score = getattr(found, name)
        assert score.low == pytest.approx(low, abs=0.15 * (high - low))
        assert score.high == pytest.approx(high, abs=0.15 * (high - low))
        # Resampled one by one, the tiles would give a narrower interval.
        alone = getattr(metrics.native_scores(cells, 3), name)
        assert alone.high - alone.low < 0.7 * (high - low)


def test_copies_of_tiles_add_no_information():
    cells = np.random.default_rng(1).integers(1, 50, (30, 4))
    plain = metrics.native_scores(cells, 0)
    copied = metrics.native_scores(np.repeat(cells, 5, 0), 0, np.repeat(range(30), 5))
    for name, score in vars(plain).items():
        assert vars(getattr(copied, name)) == pytest.approx(vars(score), rel=1e-12)


def test_scores_of_two_tiles_by_hand():
    cells = np.array([[6, 2, 2, 10], [0, 0, 5, 15]])
    scores = metrics.native_scores(cells, seed=0)
    values = {name: score.value for name, score in vars(scores).items()}
    # IoU 0.6 exceeds 0.5 and 0.55 alone, as 0.6 does not exceed itself; the second tile is missed.
    assert values == {
        "iou": pytest.approx((0.6 + 0) / 2),
        "dice": pytest.approx((12 / 16 + 0) / 2),
        "kaggle_map": pytest.approx((0.2 + 0) / 2),
        "accuracy": pytest.approx(31 / 40),
        "precision": pytest.approx(6 / 8),
        "recall": pytest.approx(6 / 13),
        "f1": pytest.approx(12 / 21),
        "mean_iou": pytest.approx((6 / 15 + 25 / 34) / 2),
        "mean_class_accuracy": pytest.approx((6 / 13 + 25 / 27) / 2),
    }
    assert metrics.mean_score(cells, "f1") == pytest.approx(12 / 21)
    assert metrics.mean_score(cells, "iou") == pytest.approx(0.3)
    assert metrics.mean_score(cells, "kaggle_map") == pytest.approx(0.1)


def test_interval_of_one_tile_has_no_width():
    scores = metrics.native_scores(counts(75, 0, 25, 0), seed=0)
    assert scores.iou == result.Interval(0.75, 0.75, 0.75)


def test_confusion_over_thresholds_equals_confusion_at_each():
    rng = np.random.default_rng(4)
    label = (rng.random((3, 4, 5)) < 0.4).astype(np.uint8)
    # Many probabilities equal a threshold, which counts as salt.
    prob = np.float32(rng.integers(0, 11, (3, 4, 5)) / 10)
    thresholds = np.arange(1, 10) / 10
    found = metrics.confusion_over(prob, label, thresholds)
    assert found.shape == (3, 9, 4)
    for k, threshold in enumerate(thresholds):
        expected = metrics.confusion(prob >= np.float32(threshold), label)
        np.testing.assert_array_equal(found[:, k], expected)


def test_f1_at_thresholds_of_the_curve_and_between():
    label = np.array([0, 1, 0, 1], np.uint8)
    curve = metrics.precision_recall(np.float32([0.1, 0.4, 0.6, 0.8]), label)
    # At >= 0.5 one of two predicted is salt, and one of two is found.
    for threshold, f1 in ((0.4, 0.8), (0.5, 0.5), (0.6, 0.5), (0.7, 2 / 3), (0.9, 0)):
        assert curve.f1_at(threshold) == pytest.approx(f1)
    # Above all probabilities there is no point.
    assert [curve.index(t) for t in (0.1, 0.4, 0.5, 0.6, 0.7, 0.9)] == [
        0,
        1,
        2,
        2,
        3,
        4,
    ]


def test_calibration_by_hand():
    prob = np.float32([0.0, 0.1, 0.6, 0.7, 1.0])
    label = np.array([0, 1, 1, 0, 1], np.uint8)
    found = metrics.calibration(prob, label, bins=2)
    # Below a half: mean 0.05, half of them salt. Above: mean 2.3 / 3, two of three salt.
    ece = (2 * 0.45 + 3 * abs(2.3 / 3 - 2 / 3)) / 5
    assert found.ece == pytest.approx(ece)
    lower, upper = found.bins
    assert lower == result.CalibrationBin(0.0, 0.5, 2, pytest.approx(0.05), 0.5)
    assert (upper.pixels, upper.low, upper.high) == (3, 0.5, 1.0)
    assert upper.mean_probability == pytest.approx(2.3 / 3)
    assert upper.salt_share == pytest.approx(2 / 3)


def test_calibration_omits_empty_bins_and_is_zero_for_a_perfect_forecast():
    prob = np.float32([0.25] * 4 + [0.75] * 4)
    label = np.array([1, 0, 0, 0, 1, 1, 1, 0], np.uint8)
    found = metrics.calibration(prob, label)
    assert found.ece == 0
    assert [row.low for row in found.bins] == [0.2, 0.7]
