import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.data import feed as pipeline
from saltjax.data import synthetic
from saltjax.networks import unet as models
from saltjax.scoring import postprocess as masks
from saltjax.scoring import scores as scoring
from saltjax.system import devices
from saltjax.training import steps


@pytest.fixture(scope="module")
def untrained():
    """A network, its variables, and seven tiles on the devices' doorstep."""
    network = steps.Network(models.UNet(features=(4, 8)), 16, "nearest")
    mesh = devices.data_mesh()
    feed = pipeline.create(synthetic.make_tiles(7, seed=0), mesh, 4, resident=False)
    variables = jax.jit(network.model.init)(
        jax.random.key(0), jnp.zeros((1, 16, 16, 3))
    )
    return network, devices.replicate(variables, mesh), feed


def predict(untrained, tiles=None, tta=False):
    network, variables, feed = untrained
    if tiles is not None:
        feed = pipeline.create(tiles, feed.mesh, feed.batch_size, resident=False)
    order = np.arange(len(feed.tiles))
    return scoring.predict_tiles(feed, variables, order, network, tta)


def mirrored(tiles):
    return synthetic_like(tiles, tiles.images[:, :, ::-1], tiles.labels[:, :, ::-1])


def synthetic_like(tiles, images, labels):
    return type(tiles)(tiles.ids, images.copy(), labels.copy(), tiles.source)


def test_flip_averaging_is_the_mean_over_a_tile_and_its_mirror_image(untrained):
    tiles = untrained[2].tiles
    plain, both = predict(untrained), predict(untrained, tta=True)
    other = predict(untrained, mirrored(tiles))
    # 101 columns into 16: the nearest ones lie symmetrically.
    expected = (plain.prob + other.prob[:, :, ::-1]) / 2
    np.testing.assert_allclose(both.prob, expected, atol=1e-6)
    # So it does not matter which way round a tile is.
    turned = predict(untrained, mirrored(tiles), tta=True)
    np.testing.assert_allclose(turned.prob, both.prob[:, :, ::-1], atol=1e-6)
    label, prob = both.label, np.float64(both.prob)
    loss = -np.mean(np.where(label, np.log(prob), np.log1p(-prob)))
    assert both.loss == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(
    ("a", "b"), [(0.0, 0.0), (3.0, -1.0), (90.0, 80.0), (-95.0, 2.0)]
)
def test_average_logits_are_those_of_the_mean_probability(a, b):
    # In float64 by numpy, from the smaller of p and 1 - p.
    x = np.array([a, b])
    salt, none = np.mean(1 / (1 + np.exp(-x))), np.mean(1 / (1 + np.exp(x)))
    expected = np.log(salt) - np.log(none)
    assert steps.average_logits(a, b) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_probabilities_are_those_that_sixteen_bits_hold(untrained):
    native = predict(untrained).prob_native
    assert native.dtype == np.float32
    sixteen = np.uint16(np.rint(native * 65535))
    np.testing.assert_array_equal(np.float32(sixteen) / np.float32(65535), native)
    assert len(np.unique(sixteen)) > 100


def test_scores_do_not_depend_on_batch_and_padding(untrained):
    network, variables, feed = untrained
    found = []
    for batch_size in (4, 7, 20):
        other = pipeline.create(feed.tiles, feed.mesh, batch_size, resident=False)
        outputs = predict((network, variables, other))
        labels = feed.tiles.labels[..., 0]
        test = scoring.score(outputs, labels, masks.Rule(0.4, 3), seed=0)
        found.append(test)
    for test in found[1:]:
        np.testing.assert_array_equal(test.counts, found[0].counts)
        assert test.scores["test_native"] == found[0].scores["test_native"]
        assert test.scores["test"] == pytest.approx(found[0].scores["test"], rel=1e-6)


def outputs_of(prob, label):
    indices = np.arange(len(prob))
    return scoring.Outputs(indices, 0.5, 0.9, prob, label, prob)


def test_classes_of_coverage_and_of_no_salt_by_hand():
    label = np.zeros((5, 10, 10), np.uint8)
    for i, rows in enumerate((0, 0, 1, 4, 5)):
        label[i, :rows] = 1
    prob = np.zeros(label.shape, np.float32)
    prob[1, 0, 0] = 0.8  # false salt in an empty tile
    prob[2, 0] = 0.8  # found
    prob[3, :3] = 0.8  # found to three quarters
    test = scoring.score(outputs_of(prob, label), label, masks.Rule(0.5, 0), seed=0)
    rows = {row["coverage"]: row for row in test.scores["by_coverage"]}
    assert {name: row["tiles"] for name, row in rows.items()} == {
        "0": 2,
        "0-0.1": 1,
        "0.1-0.4": 1,
        "0.4-1": 1,
    }
    values = {name: row["iou"]["value"] for name, row in rows.items()}
    assert values == {"0": 0.5, "0-0.1": 1.0, "0.1-0.4": 0.75, "0.4-1": 0.0}
    assert test.scores["test_native"]["iou"]["value"] == pytest.approx(2.75 / 5)
    assert test.scores["test_native"]["kaggle_map"]["value"] == pytest.approx(2.5 / 5)
    assert test.scores["test_no_salt"] == {"accuracy": 0.8, "kaggle_map": 0.4}
    # With a least area of two pixels the empty tile is right.
    test = scoring.score(outputs_of(prob, label), label, masks.Rule(0.5, 2), seed=0)
    assert test.scores["test_native"]["iou"]["value"] == pytest.approx(3.75 / 5)


def test_nothing_predicted_scores_the_share_of_empty_masks():
    label = np.zeros((8, 5, 5), np.uint8)
    label[:5, 2, 2] = 1
    prob = np.zeros(label.shape, np.float32)
    test = scoring.score(outputs_of(prob, label), label, masks.Rule(0.5, 0), seed=0)
    for name in ("kaggle_map", "iou", "dice"):
        assert test.scores["test_native"][name]["value"] == 3 / 8
