"""Scores of tiles with unlabelled pixels are those of scikit-learn for the labelled pixels alone."""

import dataclasses

import numpy as np
import pytest
import sklearn.metrics
from variables import draw_variables

from saltjax.data import feed as feeds
from saltjax.data import synthetic
from saltjax.data.tiles import UNLABELLED
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.scoring import metrics, postprocess, scores
from saltjax.scoring.postprocess import Postprocessing
from saltjax.scoring.scores import Outputs
from saltjax.system import devices

THRESHOLD = 0.6


@pytest.fixture(params=[0, 1])
def tiles(request):
    """Probabilities and labels of five tiles; in the unlabelled pixels salt is predicted."""
    rng = np.random.default_rng(request.param)
    shape = (5, 8, 9)
    label = (rng.random(shape) < 0.4).astype(np.uint8)
    label[4] = 0
    prob = np.float32(np.clip(0.4 * label + 0.7 * rng.random(shape), 0, 0.9))
    hidden = rng.random(shape) < np.array([0, 0.2, 0.5, 0.9, 0.5])[:, None, None]
    return np.where(hidden, np.float32(0.95), prob), np.where(hidden, 255, label)


def labelled(prob, label):
    """Returns probabilities and labels of the labelled pixels, tile by tile and together."""
    parts = [(p[y != 255], y[y != 255]) for p, y in zip(prob, label)]
    return parts, tuple(map(np.concatenate, zip(*parts)))


def test_precision_recall_curve(tiles):
    curve = metrics.precision_recall(*tiles)
    _, (prob, label) = labelled(*tiles)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(label, prob)
    np.testing.assert_array_equal(curve.precision, precision[:-1])
    np.testing.assert_array_equal(curve.recall, recall[:-1])
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    average = sklearn.metrics.average_precision_score(label, prob)
    assert curve.average_precision == pytest.approx(average)
    assert curve.salt_share == np.mean(label)


def test_accuracy(tiles):
    _, (prob, label) = labelled(*tiles)
    expected = sklearn.metrics.accuracy_score(label, prob >= np.float32(THRESHOLD))
    assert metrics.accuracy(*tiles, THRESHOLD) == pytest.approx(expected)


def test_confusion_and_the_scores_of_each_tile(tiles):
    at = np.float32(THRESHOLD)
    counts = metrics.confusion(tiles[0] >= at, tiles[1])
    found = metrics.tile_scores(counts)
    parts, _ = labelled(*tiles)
    for i, (prob, label) in enumerate(parts):
        cells = sklearn.metrics.confusion_matrix(label, prob >= at, labels=[0, 1])
        assert counts[i].tolist() == cells.ravel()[[3, 1, 2, 0]].tolist()
        if label.any():
            assert found["iou"][i] == sklearn.metrics.jaccard_score(label, prob >= at)
            assert found["dice"][i] == sklearn.metrics.f1_score(label, prob >= at)
    thresholds = np.arange(1, 100) / 100
    over = metrics.confusion_over(*tiles, thresholds)
    for k in (0, 40, 59, 94, 98):
        expected = metrics.confusion(tiles[0] >= np.float32(thresholds[k]), tiles[1])
        np.testing.assert_array_equal(over[:, k], expected)


def test_salt_that_is_predicted_where_nothing_is_labelled_is_not_wrong():
    label = np.zeros((1, 4, 5), np.uint8)
    label[0, :2], label[0, 2:] = 1, UNLABELLED
    counts = metrics.confusion(np.ones(label.shape, bool), label)
    assert counts.tolist() == [[10, 0, 0, 0]]
    assert metrics.tile_scores(counts)["kaggle_map"].tolist() == [1]


def test_calibration(tiles):
    _, (prob, label) = labelled(*tiles)
    found = metrics.calibration(*tiles)
    assert sum(row.pixels for row in found.bins) == len(label)
    for row in found.bins:
        here = np.minimum((prob * 10).astype(int), 9) == round(10 * row.low)
        assert row.pixels == here.sum()
        assert row.salt_share == pytest.approx(label[here].mean())
        assert row.mean_probability == pytest.approx(prob[here].mean(), rel=1e-5)


@pytest.mark.parametrize("metric", ["f1", "iou", "kaggle_map"])
def test_choice_of_the_threshold(tiles, metric):
    """It is the same whatever is predicted for the unlabelled pixels."""
    prob, label = tiles

    def choose(prob):
        curve = metrics.precision_recall(prob, label)
        return postprocess.choose(curve, prob, label, metric, 0)

    assert choose(prob) == choose(np.where(label == UNLABELLED, np.float32(0), prob))
    none = label * (label == 1)
    curve = metrics.precision_recall(prob, none)
    assert choose(prob) != postprocess.choose(curve, prob, none, metric, 0)


def test_scores_of_a_test(tiles):
    prob, label = tiles
    outputs = Outputs(np.arange(5), 0.5, 0.9, prob, label, prob)
    found = scores.score(outputs, label, Postprocessing(THRESHOLD, 0), seed=0)
    _, (flat, actual) = labelled(prob, label)
    predicted = flat >= np.float32(THRESHOLD)
    for one in (vars(found.scores.test), vars(found.scores.test_native)):
        for name, score in (
            ("precision", sklearn.metrics.precision_score(actual, predicted)),
            ("recall", sklearn.metrics.recall_score(actual, predicted)),
            ("f1", sklearn.metrics.f1_score(actual, predicted)),
        ):
            value = one[name]
            assert getattr(value, "value", value) == pytest.approx(score)
    no_salt = found.scores.test_no_salt
    assert no_salt.accuracy == pytest.approx(1 - actual.mean())
    assert no_salt.kaggle_map == np.mean([not (y == 1).any() for y in label])


def test_mean_scores_weigh_tiles_by_their_labelled_pixels():
    network = Network(UNet(features=(2,)), 16, "nearest")
    variables, mesh = draw_variables(network.model), devices.data_mesh()
    tiles = synthetic.make_tiles(3, seed=0)
    labels = tiles.labels.copy()
    labels[0, :, :60] = labels[1] = UNLABELLED
    variables = devices.replicate(variables, mesh)

    def mean(labels, indices):
        feed = feeds.create(dataclasses.replace(tiles, labels=labels), mesh, 2, False)
        indices = np.array(indices)
        return scores.mean_scores(
            feed, variables, indices, network, lambda: None, False
        )

    one, other = mean(labels, [0]), mean(tiles.labels, [2])
    # Of the sixteen columns the last six show others than the first 60 of 101.
    for name, value in mean(labels, [0, 1, 2]).items():
        expected = (6 * one[name] + 16 * other[name]) / 22
        assert value == pytest.approx(expected, rel=1e-6)
