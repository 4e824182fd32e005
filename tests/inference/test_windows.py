import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.inference import windows as sections
from saltjax.networks import resize
from saltjax.networks import unet as models
from saltjax.training import steps

UNET = models.UNet(features=(4, 4, 8))


def make_predictor(model, size=32, method="nearest", tile=(25, 25), tta=False):
    """A predictor of small batches, its weights those that training would begin with."""
    network = steps.Network(model, size, method)
    shape = jnp.zeros((1, size, size, 3))
    variables = jax.device_get(jax.jit(model.init)(jax.random.key(1), shape))
    return sections.Predictor(network, variables, tile, 8 * size * size, tta)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random((*shape, 1), np.float32)


def at_once(section, predictor):
    """The whole section in one call of the model."""
    network = predictor.network
    options = predictor.tile, network.image_size, network.resize
    image = resize.image_to_network(section[None], *options)
    image = np.repeat(image, 3, axis=3)
    prob = jax.nn.sigmoid(network.model.apply(predictor.variables, image))
    return resize.probability_to_native(prob, section.shape[:2], *options)[0, :, :, 0]


@pytest.mark.parametrize("n", [1, 16, 100, 101, 250, 999])
@pytest.mark.parametrize(
    ("window", "margin", "ramp"), [(64, 8, 16), (64, 0, 32), (48, 5, 7)]
)
def test_weights_sum_to_one_and_leave_margins_out(n, window, margin, ramp):
    axis = sections.divide(n, window, margin, ramp, 16)
    assert n <= axis.padded < n + 16
    total, covered = np.zeros(axis.padded), 0
    for i, (start, weights) in enumerate(zip(axis.starts, axis.weights)):
        assert start % 16 == 0
        assert len(weights) == min(window, axis.padded)
        total[start : start + len(weights)] += weights
        assert (weights >= 0).all()
        if i > 0:
            assert not weights[:margin].any()
            # No step: from one pixel to the next the weight changes by what sin² over the ramp does.
            assert np.abs(np.diff(weights)).max() < 2 / ramp
        if start + len(weights) < axis.padded and margin:
            assert not weights[-margin:].any()
        covered = start + len(weights)
    assert covered == axis.padded
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        UNET,
        models.UNet(features=(4, 4, 8), downsample="strided", skip=False),
        models.UNet(features=(4, 8), upsample="bilinear"),
        models.UNet(features=(4, 8), downsample="strided", norm="batch"),
        models.FCN(features=(4, 4)),
    ],
    ids=["unet", "strided", "bilinear", "batch", "fcn"],
)
def test_no_pixel_beyond_the_radius_matters(model):
    radius, size = models.receptive_radius(model), 128
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    # Every path open: no ReLU of these weights and inputs is shut, and no maximum hides a pixel.
    variables = jax.tree.map(jnp.ones_like, variables)

    @jax.jit
    @jax.grad
    def reached(image, place):
        return model.apply(variables, image)[0, place, place, 0]

    image = jnp.asarray(np.random.default_rng(0).random((1, size, size, 3), np.float32))
    reach = 0
    for place in range(64, 72):
        gradient = reached(image, place)[0].sum(axis=-1)
        rows, cols = np.nonzero(gradient)
        reach = max(reach, np.abs(rows - place).max(), np.abs(cols - place).max())
    assert reach <= radius
    # Nor is the radius much more than what is needed.
    assert reach > radius / 2


@pytest.mark.parametrize("method", ["nearest", "bilinear", "pad"])
@pytest.mark.parametrize("tta", [False, True])
def test_windows_give_what_the_whole_section_at_once_gives(monkeypatch, method, tta):
    """To rounding: what a window cannot see right, within its margin, counts nothing."""
    monkeypatch.setattr(sections, "WINDOW", 96)
    monkeypatch.setattr(sections, "RAMP", 8)
    predictor = make_predictor(UNET, method=method, tta=tta)
    shapes = (150, 230), (25, 25), (300, 20), (150, 230), (7, 3)
    inputs = [noise(*shape, seed=i) for i, shape in enumerate(shapes)]
    found = list(sections.predict_sections(iter(inputs), predictor))
    assert len(found) == len(inputs)
    for section, prob in zip(inputs, found):
        assert prob.shape == section.shape[:2]
        assert prob.dtype == np.float32
        assert (0 <= prob.min()) & (prob.max() <= 1)
        expected = at_once(section, predictor)
        if tta:
            mirrored = at_once_mirrored(section, predictor)
            expected = (expected + mirrored) / 2
        np.testing.assert_allclose(prob, expected, atol=1e-5)


def at_once_mirrored(section, predictor):
    network = predictor.network
    options = predictor.tile, network.image_size, network.resize
    image = np.asarray(resize.image_to_network(section[None], *options))
    height, width = image.shape[1:3]
    step = models.coarsest_pixel(network.model)
    padding = ((0, 0), (0, -height % step), (0, -width % step), (0, 0))
    image = np.repeat(np.pad(image, padding, mode="symmetric"), 3, axis=3)[:, :, ::-1]
    prob = jax.nn.sigmoid(network.model.apply(predictor.variables, image))[:, :, ::-1]
    prob = prob[:, :height, :width]
    return resize.probability_to_native(prob, section.shape[:2], *options)[0, :, :, 0]


def test_without_a_margin_there_would_be_seams(monkeypatch):
    """The test above can fail."""
    monkeypatch.setattr(sections, "WINDOW", 96)
    monkeypatch.setattr(sections, "RAMP", 8)
    monkeypatch.setattr(sections, "MAX_MARGIN", 0)
    predictor = make_predictor(UNET)
    section = noise(150, 230)
    (found,) = sections.predict_sections([section], predictor)
    assert np.abs(found - at_once(section, predictor)).max() > 1e-3


def test_group_norm_sees_windows_of_the_size_of_training():
    predictor = make_predictor(models.UNet(features=(4, 8), norm="group"))
    rows = sections.windows_of(100, predictor.network)
    assert rows.weights.shape[1] == 32
    assert np.diff(rows.starts).max() == 16
    (found,) = sections.predict_sections([noise(120, 90)], predictor)
    assert np.isfinite(found).all()
    # Not smaller than what the depth needs for windows to overlap.
    deep = models.UNet(features=(4,) * 6, norm="group")
    rows = sections.windows_of(300, make_predictor(deep, size=20).network)
    assert rows.weights.shape[1] == 64


def test_color_is_seen():
    predictor = make_predictor(UNET)
    grey = noise(25, 25)
    color = np.concatenate([grey, grey, 1 - grey], axis=2)
    same = np.concatenate([grey, grey, grey], axis=2)
    one, three, other = (
        next(sections.predict_sections([x], predictor)) for x in (grey, same, color)
    )
    np.testing.assert_allclose(one, three, atol=1e-6)
    assert np.abs(one - other).max() > 1e-3
