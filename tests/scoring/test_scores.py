import numpy as np
import pytest
import reference
import sklearn.metrics
from variables import draw_variables

from saltjax.data import feed as feeds
from saltjax.data import synthetic
from saltjax.data.tiles import Tiles
from saltjax.networks.network import Network, unit_image
from saltjax.networks.unet import UNet
from saltjax.runs import result
from saltjax.scoring import scores
from saltjax.scoring.postprocess import Postprocessing
from saltjax.system import devices


@pytest.fixture(scope="module")
def untrained():
    """A network, its variables, and a feed of seven tiles."""
    network = Network(UNet(features=(4, 8)), 16, "nearest")
    mesh = devices.data_mesh()
    feed = feeds.create(synthetic.make_tiles(7, seed=0), mesh, 4, resident=False)
    return network, devices.replicate(draw_variables(network.model), mesh), feed


def test_mean_scores_are_the_means_over_the_tiles(untrained):
    network, variables, feed = untrained
    order, called = np.array([6, 2, 3, 0, 1]), []
    batch = {"image": feed.tiles.images[order], "label": feed.tiles.labels[order]}
    image, label = network.inputs(unit_image(batch["image"]), batch["label"])
    logits = reference.unet(
        np.asarray(image), variables["params"], levels=2, strided=False, skip=True
    )
    prob = 1 / (1 + np.exp(-logits))
    loss = -np.mean(np.where(label, np.log(prob), np.log1p(-prob)))
    for resident in (False, True):
        other = feeds.create(feed.tiles, feed.mesh, feed.batch_size, resident)
        found = scores.mean_scores(
            other, variables, order, network, lambda: called.append(1), False
        )
        assert found == {
            "loss": pytest.approx(loss, rel=1e-5),
            "accuracy": pytest.approx(np.mean((prob >= 0.5) == label)),
        }
    # After each call: two batches from the host, or one call with both.
    assert len(called) == 3


def to_native(prob, method):
    """Returns [B, 8, 8] for probabilities [B, 16, 16] of tiles of 8 × 8 pixels."""
    if method == "pad":  # by four pixels on every side
        return prob[:, 4:12, 4:12]
    return prob.reshape(len(prob), 8, 2, 8, 2).mean(axis=(2, 4))


@pytest.mark.parametrize("method", ["nearest", "pad"])
def test_kaggle_map_is_that_of_masks_at_the_tiles_own_resolution(method):
    network = Network(UNet(features=(4, 8)), 16, method)
    variables = draw_variables(network.model)
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 256, (9, 8, 8, 1), np.uint8)
    image = network.inputs(unit_image(grey.repeat(3, 3)), grey)[0]
    logits = reference.unet(
        np.asarray(image), variables["params"], levels=2, strided=False, skip=True
    )
    # Around the median of all pixels, so that masks are neither empty nor full.
    head = variables["params"]["head"]
    head["bias"] = head["bias"] - np.float32(np.median(logits))
    logits = logits - np.median(logits)
    native = to_native(1 / (1 + np.exp(-logits[..., 0])), method)
    found = native >= 0.5
    # Masks of which more and more pixels are wrong; one is empty.
    wrong = rng.random(found.shape) < np.linspace(0, 0.4, 9)[:, None, None]
    truth = found ^ wrong
    truth[4] = False
    expected = [reference.kaggle_precision(t, f) for t, f in zip(truth, found)]
    assert len(set(expected)) > 3
    labels = truth[..., None].astype(np.uint8)
    tiles = Tiles(tuple("abcdefghi"), grey.repeat(3, 3), labels, "folder")
    mesh = devices.data_mesh()
    placed = devices.replicate(variables, mesh)
    for resident in (False, True):
        feed = feeds.create(tiles, mesh, 4, resident)
        means = scores.mean_scores(
            feed, placed, np.arange(9), network, lambda: None, True
        )
        assert means.keys() == {"loss", "accuracy", "kaggle_map"}
        assert means["kaggle_map"] == pytest.approx(np.mean(expected))


def test_mean_scores_end_where_the_function_raises(untrained):
    network, variables, feed = untrained

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scores.mean_scores(feed, variables, np.arange(7), network, stop, False)


def outputs_of(prob, label):
    indices = np.arange(len(prob))
    return scores.Outputs(indices, 0.5, 0.9, prob, label, prob)


def test_scores_by_coverage_and_of_no_salt_by_hand():
    label = np.zeros((5, 10, 10), np.uint8)
    for i, rows in enumerate((0, 0, 1, 4, 5)):
        label[i, :rows] = 1
    prob = np.zeros(label.shape, np.float32)
    prob[1, 0, 0] = 0.8  # a false positive in an empty tile
    prob[2, 0] = 0.8  # all of its salt
    prob[3, :3] = 0.8  # three quarters of its salt
    test = scores.score(outputs_of(prob, label), label, Postprocessing(0.5, 0), seed=0)
    rows = {row.coverage: row for row in test.scores.by_coverage}
    assert {name: row.tiles for name, row in rows.items()} == {
        "0": 2,
        "0-0.1": 1,
        "0.1-0.4": 1,
        "0.4-1": 1,
    }
    values = {name: row.iou.value for name, row in rows.items()}
    assert values == {"0": 0.5, "0-0.1": 1.0, "0.1-0.4": 0.75, "0.4-1": 0.0}
    assert test.scores.test_native.iou.value == pytest.approx(2.75 / 5)
    assert test.scores.test_native.kaggle_map.value == pytest.approx(2.5 / 5)
    assert test.scores.test_no_salt == result.NoSalt(accuracy=0.8, kaggle_map=0.4)
    # With a minimum component size of two pixels the empty tile is correct.
    test = scores.score(outputs_of(prob, label), label, Postprocessing(0.5, 2), seed=0)
    assert test.scores.test_native.iou.value == pytest.approx(3.75 / 5)
    assert not test.masks[1].any()


def test_empty_prediction_scores_the_share_of_empty_masks():
    label = np.zeros((8, 5, 5), np.uint8)
    label[:5, 2, 2] = 1
    prob = np.zeros(label.shape, np.float32)
    test = scores.score(outputs_of(prob, label), label, Postprocessing(0.5, 0), seed=0)
    for name in ("kaggle_map", "iou", "dice"):
        assert getattr(test.scores.test_native, name).value == 3 / 8


def random_outputs(seed):
    rng = np.random.default_rng(seed)
    label = (rng.random((4, 8, 8)) < 0.3).astype(np.uint8)
    prob = np.float32(np.clip(0.4 * label + 0.7 * rng.random((4, 8, 8)), 0, 1))
    return outputs_of(prob, label)


def test_scores_at_the_networks_resolution_are_those_of_scikit_learn():
    outputs = random_outputs(0)
    test = scores.score(outputs, outputs.label, Postprocessing(0.6, 0), seed=0)
    actual, predicted = outputs.label.ravel(), outputs.prob.ravel() >= 0.6
    assert vars(test.scores.test) == {
        "loss": 0.5,
        "accuracy": 0.9,
        "accuracy_at_threshold": pytest.approx(
            sklearn.metrics.accuracy_score(actual, predicted)
        ),
        "precision": pytest.approx(sklearn.metrics.precision_score(actual, predicted)),
        "recall": pytest.approx(sklearn.metrics.recall_score(actual, predicted)),
        "f1": pytest.approx(sklearn.metrics.f1_score(actual, predicted)),
        "average_precision": pytest.approx(
            sklearn.metrics.average_precision_score(actual, outputs.prob.ravel())
        ),
    }


def test_validation_chooses_on_the_validation_tiles_alone():
    val, test = random_outputs(0), random_outputs(1)
    chosen, curve, found = scores.validate(val, test, val.label, "f1", 0)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(
        val.label.ravel(), val.prob.ravel()
    )
    f1 = (2 * precision * recall / (precision + recall))[:-1]
    assert chosen.threshold == pytest.approx(thresholds[np.argmax(f1)])
    assert (chosen.min_area, found.min_area) == (0, 0)
    assert found.threshold == result.Threshold(
        chosen.threshold, pytest.approx(f1.max()), "f1", pytest.approx(f1.max())
    )
    assert found.average_precision == curve.average_precision
    assert curve.average_precision == pytest.approx(
        sklearn.metrics.average_precision_score(val.label.ravel(), val.prob.ravel())
    )
    for row, threshold in zip(
        found.thresholds, (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), strict=True
    ):
        at = np.float32(threshold)
        assert row == result.ThresholdAccuracy(
            threshold,
            pytest.approx(np.mean((val.prob >= at) == val.label)),
            pytest.approx(np.mean((test.prob >= at) == test.label)),
        )
    other, *_ = scores.validate(val, random_outputs(2), val.label, "f1", 0)
    assert other == chosen


def test_scores_of_salt_are_none_where_there_is_none():
    prob, label = np.full((2, 8, 8), 0.2, np.float32), np.zeros((2, 8, 8), np.uint8)
    prob[1, 0] = 0.8
    chosen, outputs = Postprocessing(0.5, 0), outputs_of(prob, label)
    test = scores.score(outputs, label, chosen, seed=0).scores
    (empty,) = test.by_coverage
    for found in (test.test, test.test_native, empty):
        assert (found.precision, found.recall, found.f1) == (None, None, None)
    assert test.test.average_precision is None
    assert test.test.accuracy_at_threshold == test.test_native.accuracy.value == 15 / 16
    label[0, 0] = 1  # which is missed
    test = scores.score(outputs, label, chosen, seed=0).scores
    assert test.test.precision == test.test.f1 == 0
    assert [row.coverage for row in test.by_coverage] == ["0", "0.1-0.4"]
    empty, other = test.by_coverage
    assert empty.f1 is None
    assert other.f1 == test.test_native.recall == result.Interval(0, 0, 0)
