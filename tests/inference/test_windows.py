import functools

import jax
import numpy as np
import pytest
from variables import draw_variables

from saltjax.inference import windows
from saltjax.inference.windows import SectionModel
from saltjax.networks import resize
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet

SMALL = UNet(features=(4, 4, 8))


def make_model(unet, size=32, method="nearest", tile=(25, 25), tta=False):
    """Returns a model of small batches with random weights."""
    network = Network(unet, size, method)
    return SectionModel(network, draw_variables(unet), tile, 8 * size * size, tta)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random((*shape, 1), np.float32)


@functools.partial(jax.jit, static_argnames="unet")
def apply(variables, image, unet):
    return jax.nn.sigmoid(unet.apply(variables, image))


def at_once(section, model):
    """Returns the probabilities of the whole section from one call of the network."""
    network = model.network
    options = model.tile, network.image_size, network.resize
    image = resize.image_to_network(section[None], *options)
    image = np.repeat(image, 3, axis=3)
    prob = apply(model.variables, image, network.model)
    return resize.probability_to_native(prob, section.shape[:2], *options)[0, :, :, 0]


@pytest.mark.parametrize("n", [1, 16, 100, 101, 250, 999])
@pytest.mark.parametrize(
    ("window", "margin", "ramp"), [(64, 8, 16), (64, 0, 32), (48, 5, 7)]
)
def test_weights_sum_to_one_and_are_zero_in_margins(n, window, margin, ramp):
    axis = windows.divide(n, window, margin, ramp, 16)
    assert n <= axis.padded < n + 16
    total, covered = np.zeros(axis.padded), 0
    for i, (start, weights) in enumerate(zip(axis.starts, axis.weights)):
        assert start % 16 == 0
        assert len(weights) == min(window, axis.padded)
        total[start : start + len(weights)] += weights
        assert (weights >= 0).all()
        if i > 0:
            assert not weights[:margin].any()
            # From one pixel to the next the weight changes by no more than sin² over the ramp does.
            assert np.abs(np.diff(weights)).max() < 2 / ramp
        if start + len(weights) < axis.padded and margin:
            assert not weights[-margin:].any()
        covered = start + len(weights)
    assert covered == axis.padded
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nearest", "bilinear", "pad"])
@pytest.mark.parametrize("tta", [False, True])
def test_windows_give_the_probabilities_of_the_whole_section(monkeypatch, method, tta):
    """Up to rounding: pixels that depend on what lies outside their window have weight 0."""
    monkeypatch.setattr(windows, "WINDOW", 96)
    monkeypatch.setattr(windows, "RAMP", 8)
    model = make_model(SMALL, method=method, tta=tta)
    shapes = (150, 230), (25, 25), (300, 20), (150, 230), (7, 3)
    inputs = [noise(*shape, seed=i) for i, shape in enumerate(shapes)]
    found = list(windows.predict_sections(iter(inputs), model))
    assert len(found) == len(inputs)
    for section, prob in zip(inputs, found):
        assert prob.shape == section.shape[:2]
        assert prob.dtype == np.float32
        assert prob.min() >= 0
        assert prob.max() <= 1
        expected = at_once(section, model)
        if tta:
            mirrored = at_once_mirrored(section, model)
            expected = (expected + mirrored) / 2
        np.testing.assert_allclose(prob, expected, atol=1e-5)


def at_once_mirrored(section, model):
    """Returns the same from the mirror image of the section, padded as the windows are."""
    network = model.network
    options = model.tile, network.image_size, network.resize
    image = np.asarray(resize.image_to_network(section[None], *options))
    height, width = image.shape[1:3]
    step = network.stride
    padding = ((0, 0), (0, -height % step), (0, -width % step), (0, 0))
    image = np.repeat(np.pad(image, padding, mode="symmetric"), 3, axis=3)[:, :, ::-1]
    prob = apply(model.variables, image, network.model)[:, :, ::-1]
    prob = prob[:, :height, :width]
    return resize.probability_to_native(prob, section.shape[:2], *options)[0, :, :, 0]


def test_windows_without_a_margin_differ_from_the_whole_section(monkeypatch):
    """So that the test above can fail."""
    monkeypatch.setattr(windows, "WINDOW", 96)
    monkeypatch.setattr(windows, "RAMP", 8)
    monkeypatch.setattr(windows, "MAX_MARGIN", 0)
    model = make_model(SMALL)
    section = noise(150, 230)
    (found,) = windows.predict_sections([section], model)
    assert np.abs(found - at_once(section, model)).max() > 1e-3


def test_windows_of_group_norm_have_the_size_of_training():
    model = make_model(UNet(features=(4, 8), norm="group"))
    rows = windows.windows_of(100, model.network)
    assert rows.weights.shape[1] == 32
    assert np.diff(rows.starts).max() == 16
    (found,) = windows.predict_sections([noise(120, 90)], model)
    assert np.isfinite(found).all()
    # At least two pixels of the coarsest feature map, so that windows overlap.
    deep = UNet(features=(4,) * 6, norm="group")
    rows = windows.windows_of(300, make_model(deep, size=20).network)
    assert rows.weights.shape[1] == 64


def test_colour_channels_are_used():
    model = make_model(SMALL)
    grey = noise(25, 25)
    color = np.concatenate([grey, grey, 1 - grey], axis=2)
    same = np.concatenate([grey, grey, grey], axis=2)
    one, three, other = (
        next(windows.predict_sections([x], model)) for x in (grey, same, color)
    )
    np.testing.assert_allclose(one, three, atol=1e-6)
    assert np.abs(one - other).max() > 1e-3


def test_weights_are_placed_once_on_each_number_of_devices():
    model = make_model(SMALL)
    mesh, variables = model.on_devices(2)
    assert mesh.size == 2
    assert model.on_devices(2)[1] is variables
    assert model.on_devices(4)[0].size == 4
    kernel = variables["params"]["head"]["kernel"]
    assert len(kernel.devices()) == 2
    np.testing.assert_array_equal(kernel, model.variables["params"]["head"]["kernel"])
