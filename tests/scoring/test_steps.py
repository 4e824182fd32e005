import numpy as np
import pytest
import reference
from variables import draw_variables

from saltjax.data import feed as feeds
from saltjax.data import synthetic
from saltjax.data.tiles import UNLABELLED, Tiles
from saltjax.networks import network as networks
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.scoring import steps
from saltjax.system import devices

NETWORK = Network(UNet(features=(2, 4)), 8, "nearest")


@pytest.fixture(scope="module")
def variables():
    return draw_variables(NETWORK.model)


def make_batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (3, 8, 8, 3), np.uint8),
        "label": rng.integers(0, 2, (3, 8, 8, 1), np.uint8),
    }


def numpy_prob(variables, image):
    """Returns the probabilities float64[B, H, W] by the numpy network."""
    logits = reference.unet(
        image / 255, variables["params"], levels=2, strided=False, skip=True
    )
    return 1 / (1 + np.exp(-logits[..., 0]))


def test_means_are_those_of_the_numpy_network(variables):
    batch = make_batch()
    means = steps.score_step(variables, batch, network=NETWORK, count=False)
    prob, label = numpy_prob(variables, batch["image"]), batch["label"][..., 0]
    loss = -np.where(label, np.log(prob), np.log1p(-prob))
    assert means.keys() == {"loss", "accuracy"}
    np.testing.assert_allclose(means["loss"], loss.mean(axis=(1, 2)), rtol=1e-5)
    correct = (prob >= 0.5) == label
    np.testing.assert_allclose(means["accuracy"], correct.mean(axis=(1, 2)))


@pytest.mark.slow
def test_calls_give_each_tile_the_same_means(variables):
    """Five tiles in batches of two, on four devices: the last batch has one tile."""
    tiles, mesh = synthetic.make_tiles(6, seed=0), devices.data_mesh()
    everything = {"image": tiles.images, "label": tiles.labels}
    expected = steps.score_step(variables, everything, network=NETWORK, count=True)
    placed = devices.replicate(variables, mesh)
    order = np.array([5, 1, 3, 0, 2])
    for resident in (False, True):
        feed = feeds.create(tiles, mesh, 2, resident)
        parts = []
        for batch, valid in feeds.calls(feed, order):
            means = steps.score_call(feed, placed, batch, NETWORK, count=True)
            assert means["loss"].shape == ((3, 4) if resident else (4,))
            parts.append(feeds.valid_means(means, valid))
        for name in ("loss", "accuracy", "tp", "fp", "fn"):
            found = np.concatenate([part[name] for part in parts])
            np.testing.assert_allclose(found, expected[name][order], rtol=1e-5)


@pytest.mark.parametrize(
    ("a", "b"), [(0.0, 0.0), (3.0, -1.0), (90.0, 80.0), (-95.0, 2.0)]
)
def test_average_logits_are_those_of_the_mean_probability(a, b):
    # In float64 by numpy, from the smaller of p and 1 - p.
    x = np.array([a, b])
    salt, none = np.mean(1 / (1 + np.exp(-x))), np.mean(1 / (1 + np.exp(x)))
    expected = np.log(salt) - np.log(none)
    found = networks.average_logits(a, b)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def with_unlabelled(label):
    """Returns labels of which the first is unlabelled in half of its pixels, the last altogether."""
    label = label.copy()
    label[0, :, ::2] = label[-1] = UNLABELLED
    return label


def test_unlabelled_pixels_count_in_no_mean_and_no_count(variables):
    batch = make_batch()
    prob, label = numpy_prob(variables, batch["image"]), batch["label"][..., 0]
    batch["label"] = with_unlabelled(batch["label"])
    labelled = batch["label"][..., 0] != UNLABELLED
    means = steps.score_step(
        variables, batch, network=NETWORK, count=True, unlabelled=True
    )
    assert means["labelled"].tolist() == [32, 64, 0]
    loss = -np.where(label, np.log(prob), np.log1p(-prob))
    predicted = prob >= 0.5
    for name, pixels in (
        ("loss", loss),
        ("accuracy", predicted == label),
    ):
        expected = [x[w].mean() if w.any() else 0 for x, w in zip(pixels, labelled)]
        np.testing.assert_allclose(means[name], expected, rtol=1e-5)
    for name, pixels in (
        ("tp", predicted & (label == 1)),
        ("fp", predicted & (label == 0)),
        ("fn", ~predicted & (label == 1)),
    ):
        expected = (pixels & labelled).sum(axis=(1, 2))
        assert means[name].tolist() == expected.tolist()


@pytest.mark.parametrize("resident", [False, True])
def test_calls_leave_the_unlabelled_pixels_of_a_feed_out(variables, resident):
    batch = make_batch()
    labels = with_unlabelled(batch["label"])
    tiles = Tiles(("a", "b", "c"), batch["image"], labels, "folder")
    mesh = devices.data_mesh()
    feed = feeds.create(tiles, mesh, 3, resident)
    placed = devices.replicate(variables, mesh)
    ((call, valid),) = feeds.calls(feed, np.arange(3))
    means = steps.score_call(feed, placed, call, NETWORK, count=False)
    assert feeds.valid_means(means, valid)["labelled"].tolist() == [32, 64, 0]
