import dataclasses

import numpy as np
import pytest
import reference
from variables import draw_variables

from saltjax.data import feed as feeds
from saltjax.data import synthetic
from saltjax.data.tiles import UNLABELLED, Tiles
from saltjax.inference import evaluation, windows
from saltjax.inference.windows import SectionModel
from saltjax.networks import resize
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.scoring import scores
from saltjax.scoring.postprocess import Postprocessing
from saltjax.system import devices

UNET = UNet(features=(4, 8))
VARIABLES = draw_variables(UNET)


@pytest.fixture(scope="module")
def tiles():
    return synthetic.make_tiles(7, seed=0)


def make_model(method="nearest", size=16, tile=(101, 101), tta=False, batch_size=4):
    network = Network(UNET, size, method)
    return SectionModel(network, VARIABLES, tile, batch_size, tta)


def predict(tiles, **options):
    return evaluation.predict_tiles(tiles, np.arange(len(tiles)), make_model(**options))


def numpy_logits(image):
    """Returns logits float64[B, H, W] for image [B, H, W, 3] in [0, 1]."""
    params = VARIABLES["params"]
    return reference.unet(image, params, levels=2, strided=False, skip=True)[..., 0]


def make_tiles(count, height, width):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, height, width, 3), np.uint8)
    labels = rng.integers(0, 2, (count, height, width, 1), np.uint8)
    return Tiles(tuple(map(str, range(count))), images, labels, "folder")


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize("shape", [(16, 16), (32, 24)])
def test_outputs_are_those_of_the_numpy_network(shape, tta):
    """Of tiles of the network's size, and of larger ones, when nothing is resized."""
    tiles = make_tiles(3, *shape)
    found = predict(tiles, tile=(16, 16), tta=tta)
    image, label = tiles.images / 255, tiles.labels[..., 0]
    prob = 1 / (1 + np.exp(-numpy_logits(image)))
    if tta:
        other = 1 / (1 + np.exp(-numpy_logits(image[:, :, ::-1])[:, :, ::-1]))
        prob = (prob + other) / 2
    loss = -np.where(label, np.log(prob), np.log1p(-prob))
    np.testing.assert_allclose(found.prob, prob, rtol=1e-5)
    np.testing.assert_array_equal(found.label, label)
    assert (found.label.dtype, found.prob_native.dtype) == (np.uint8, np.float32)
    assert found.loss == pytest.approx(loss.mean(), rel=1e-5)
    assert found.accuracy == pytest.approx(np.mean((prob >= 0.5) == label))
    np.testing.assert_allclose(found.prob_native, prob, atol=1e-5)


def test_colours_are_no_lines_for_a_network_of_several_lines():
    """They become grey; the channels of the tiles of a volume are lines."""
    tiles = make_tiles(2, 16, 16)
    model = make_model(tile=(16, 16))
    network = dataclasses.replace(model.network, context=1)
    model = dataclasses.replace(model, network=network)
    for source, image in (
        ("folder", np.float32(tiles.images).mean(axis=3, keepdims=True).repeat(3, 3)),
        ("volume", tiles.images),
    ):
        given = dataclasses.replace(tiles, source=source)
        found = evaluation.predict_tiles(given, np.arange(2), model)
        prob = 1 / (1 + np.exp(-numpy_logits(image / 255)))
        np.testing.assert_allclose(found.prob, prob, rtol=1e-5)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "pad"])
def test_labels_are_resized_as_images_are(method):
    """Tiles of twice the size that the network was trained on have twice its resolution."""
    tiles = make_tiles(2, 24, 20)
    found = predict(tiles, method=method, tile=(12, 10))
    shape = {"pad": (2, 24, 20)}.get(method, (2, 32, 32))
    assert found.prob.shape == found.label.shape == shape
    assert found.prob_native.shape == (2, 24, 20)
    # Bright where salt is: label and image have salt at the same places.
    white = dataclasses.replace(tiles, images=tiles.labels.repeat(3, axis=3) * 255)
    section = windows.to_section(white.images[0])[None]
    image = resize.image_to_network(section, (12, 10), 16, method)[0, :, :, 0]
    if method == "pad":  # 2 and 2 rows, 3 and 3 columns were added
        image = image[2:-2, 3:-3]
    if method != "bilinear":
        np.testing.assert_array_equal(
            predict(white, method=method, tile=(12, 10)).label[0], image
        )
    else:
        assert np.corrcoef(found.label[0].ravel(), image.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("method", ["nearest", "bilinear", "pad"])
def test_loss_and_accuracy_of_the_test_are_those_of_validation(method):
    tiles, mesh = make_tiles(5, 12, 10), devices.data_mesh()
    feed = feeds.create(tiles, mesh, 4, resident=False)
    validated = scores.mean_scores(
        feed,
        devices.replicate(VARIABLES, mesh),
        np.arange(5),
        Network(UNET, 16, method),
        lambda: None,
        kaggle_map=False,
    )
    tested = predict(tiles, method=method, tile=(12, 10))
    assert tested.loss == pytest.approx(validated["loss"], rel=1e-5)
    assert tested.accuracy == pytest.approx(validated["accuracy"])


def test_pixels_added_by_pad_count_in_no_score():
    tiles = make_tiles(5, 12, 10)
    found = predict(tiles, method="pad", tile=(12, 10))
    labels = tiles.labels[..., 0]
    np.testing.assert_array_equal(found.label, labels)
    np.testing.assert_allclose(found.prob, found.prob_native, atol=1e-5)
    logits = numpy_logits(
        np.pad(tiles.images / 255, ((0, 0), (2, 2), (3, 3), (0, 0)), mode="reflect")
    )[:, 2:-2, 3:-3]
    loss = np.log1p(np.exp(np.where(labels, -logits, logits))).mean()
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.accuracy == pytest.approx(np.mean((logits >= 0) == labels))
    test = scores.score(found, labels, Postprocessing(0.5, 0), seed=0)
    tp, fp, fn, tn = test.counts.sum(axis=0)
    assert test.scores.test.accuracy_at_threshold == pytest.approx((tp + tn) / 600)
    assert test.scores.test.f1 == pytest.approx(2 * tp / (2 * tp + fp + fn))


@pytest.mark.parametrize("sign", [1, -1])
def test_loss_of_certain_predictions_is_not_rounded(sign):
    """Logits of ±30, whose probabilities are 1 in float32, or 1e-13."""
    tiles = make_tiles(2, 16, 16)
    head = {
        "kernel": np.zeros((1, 1, 4, 1), np.float32),
        "bias": np.float32([30 * sign]),
    }
    params = VARIABLES["params"] | {"head": head}
    model = dataclasses.replace(
        make_model(tile=(16, 16)), variables={"params": params, "batch_stats": {}}
    )
    found = evaluation.predict_tiles(tiles, np.arange(2), model)
    wrong = np.mean(tiles.labels != (sign > 0))
    assert found.loss == pytest.approx(30 * wrong, rel=1e-5)
    assert found.accuracy == pytest.approx(1 - wrong)


def mirrored(tiles):
    images, labels = (
        np.ascontiguousarray(x[:, :, ::-1]) for x in (tiles.images, tiles.labels)
    )
    return dataclasses.replace(tiles, images=images, labels=labels)


def test_tta_is_the_mean_over_a_tile_and_its_mirror_image(tiles):
    plain, both = predict(tiles), predict(tiles, tta=True)
    other = predict(mirrored(tiles))
    # 101 columns into 16: the nearest ones lie symmetrically.
    expected = (plain.prob + other.prob[:, :, ::-1]) / 2
    np.testing.assert_allclose(both.prob, expected, atol=1e-6)
    # So a tile and its mirror image have the same probabilities.
    turned = predict(mirrored(tiles), tta=True)
    np.testing.assert_allclose(turned.prob, both.prob[:, :, ::-1], atol=1e-6)


def test_outputs_are_in_the_order_of_the_indices(tiles):
    everything = predict(tiles)
    order = np.array([5, 0, 6, 3, 1])
    found = evaluation.predict_tiles(tiles, order, make_model())
    np.testing.assert_array_equal(found.indices, order)
    for name in ("prob", "label", "prob_native"):
        expected = getattr(everything, name)[order]
        np.testing.assert_allclose(getattr(found, name), expected, atol=2e-5)
    assert np.abs(np.diff(everything.prob, axis=0)).max() > 1e-3


def test_native_probabilities_are_multiples_of_sixteen_bits(tiles):
    native = predict(tiles).prob_native
    assert native.shape == (7, 101, 101)
    assert native.dtype == np.float32
    sixteen = np.uint16(np.rint(native * 65535))
    np.testing.assert_array_equal(np.float32(sixteen) / np.float32(65535), native)
    assert len(np.unique(sixteen)) > 100


def test_scores_do_not_depend_on_batches(tiles):
    found = []
    for batch_size in (1, 4, 7, 20):
        outputs = predict(tiles, batch_size=batch_size)
        labels = tiles.labels[..., 0]
        found.append(scores.score(outputs, labels, Postprocessing(0.4, 3), seed=0))
    for test in found[1:]:
        np.testing.assert_array_equal(test.counts, found[0].counts)
        assert test.scores.test_native == found[0].scores.test_native
        expected = pytest.approx(vars(found[0].scores.test), rel=1e-6)
        assert vars(test.scores.test) == expected
    assert found[0].counts.sum() == 7 * 101 * 101


def test_the_loss_of_a_perfect_network_is_zero_without_a_sign():
    salt = np.float32([[1, 0]])
    loss, accuracy = evaluation._means(salt, 1 - salt, np.uint8([[1, 0]]))
    assert (str(loss), accuracy) == ("0.0", 1.0)


def test_unlabelled_pixels_count_in_no_mean():
    tiles = make_tiles(3, 16, 16)
    labels = tiles.labels.copy()
    labels[0, :, 3:] = labels[1, 5] = UNLABELLED
    tiles = dataclasses.replace(tiles, labels=labels)
    found = predict(tiles, tile=(16, 16))
    np.testing.assert_array_equal(found.label, labels[..., 0])
    prob = 1 / (1 + np.exp(-numpy_logits(tiles.images / 255)))
    known = found.label != UNLABELLED
    prob, label = prob[known], found.label[known]
    loss = -np.where(label, np.log(prob), np.log1p(-prob))
    assert found.loss == pytest.approx(loss.mean(), rel=1e-5)
    assert found.accuracy == pytest.approx(np.mean((prob >= 0.5) == label))


def test_a_tile_that_is_not_labelled_anywhere_has_no_score():
    tiles = make_tiles(3, 16, 16)
    tiles.labels[1] = UNLABELLED
    with pytest.raises(ValueError, match="1 has no labelled pixel; expected one"):
        predict(tiles, tile=(16, 16))


def test_a_tile_may_lose_its_labelled_pixels_at_a_coarser_resolution():
    tiles = make_tiles(2, 32, 32)
    tiles.labels[0] = UNLABELLED
    tiles.labels[0, :, 0] = 1  # the nearest pixels are the odd columns
    both, other = (
        evaluation.predict_tiles(tiles, np.array(rows), make_model(tile=(32, 32)))
        for rows in ([0, 1], [1])
    )
    assert (both.label[0] == UNLABELLED).all()
    assert both.loss == pytest.approx(other.loss, rel=1e-6)
    assert both.accuracy == pytest.approx(other.accuracy)
