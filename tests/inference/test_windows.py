import dataclasses
import functools

import jax
import numpy as np
import pytest
from variables import draw_variables

from saltjax.inference import axes, windows
from saltjax.inference.windows import SectionModel
from saltjax.networks import resize
from saltjax.networks.fcn import FCN
from saltjax.networks.network import Network, predict_step
from saltjax.networks.unet import UNet

SMALL = UNet(features=(4, 4, 8))


def make_model(unet, size=32, method="nearest", tile=(25, 25), tta=False):
    """Returns a model of small batches with random weights."""
    network = Network(unet, size, method)
    return SectionModel(network, draw_variables(unet), tile, 8, tta)


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
    axis = axes.divide(n, window, margin, ramp, 16)
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
@pytest.mark.parametrize(
    ("method", "tta"),
    # A mean with mirror images is that of the image itself, too.
    [("nearest", False), ("nearest", True), ("bilinear", True), ("pad", True)],
)
def test_windows_give_the_probabilities_of_the_whole_section(monkeypatch, method, tta):
    """Up to rounding: pixels that depend on what lies outside their window have weight 0."""
    monkeypatch.setattr(axes, "WINDOW", 96)
    monkeypatch.setattr(axes, "RAMP", 8)
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
    monkeypatch.setattr(axes, "WINDOW", 96)
    monkeypatch.setattr(axes, "RAMP", 8)
    monkeypatch.setattr(axes, "MAX_MARGIN", 0)
    model = make_model(SMALL)
    section = noise(150, 230)
    (found,) = windows.predict_sections([section], model)
    assert np.abs(found - at_once(section, model)).max() > 1e-3


def test_windows_of_group_norm_have_the_size_of_training():
    model = make_model(UNet(features=(4, 8), norm="group"))
    rows = axes.windows_of(100, model.network)
    assert rows.weights.shape[1] == 32
    assert np.diff(rows.starts).max() == 16
    (found,) = windows.predict_sections([noise(120, 90)], model)
    assert np.isfinite(found).all()
    # At least two pixels of the coarsest feature map, so that windows overlap.
    deep = UNet(features=(4,) * 6, norm="group")
    rows = axes.windows_of(300, make_model(deep, size=20).network)
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


def count_programs(monkeypatch):
    """Returns a list that grows by one whenever JAX traces a new program of the prediction step."""
    traced = []

    def traces(*args, **kwargs):
        traced.append(1)
        return predict_step.__wrapped__(*args, **kwargs)

    names = ("model", "channels", "tta", "complement")
    monkeypatch.setattr(windows, "predict_step", jax.jit(traces, static_argnames=names))
    return traced


LAYERS = [
    UNet(features=(4, 4, 8)),
    UNet(features=(4, 8, 4), downsample="strided", upsample="bilinear", norm="batch"),
    UNet(features=(4, 8, 8), skip=False, norm="group", upsample="bilinear"),
    FCN(features=(4, 4)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("unet", "tta"), list(zip(LAYERS, [True, False, True, False])))
def test_sections_that_share_a_program_have_their_own_probabilities(
    monkeypatch, unet, tta
):
    """Sections smaller than the array that holds them end where they do alone."""
    model = make_model(unet, size=80, tile=(60, 62), tta=tta)
    sections = [noise(h, w, seed=h) for h, w in ((50, 54), (51, 52))]
    compiled = count_programs(monkeypatch)
    found = list(windows.predict_sections(sections, model))
    assert len(compiled) == 1
    for section, prob in zip(sections, found):
        expected = at_once(section, model)
        if tta:
            expected = (expected + at_once_mirrored(section, model)) / 2
        np.testing.assert_allclose(prob, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("unet", [SMALL, FCN(features=(4,))])
def test_sections_of_similar_sizes_compile_few_programs(monkeypatch, unet):
    model = make_model(unet, method="pad")
    compiled = count_programs(monkeypatch)
    for n in range(100, 140, 3):
        (prob,) = windows.predict_sections([noise(40, n)], model)
        assert prob.shape == (40, n)
    assert len(compiled) == 5


def test_length_in_a_batch_is_at_most_an_eighth_longer():
    for unet in (SMALL, FCN(features=(4,))):
        network = Network(unet, 101, "nearest")
        lengths = range(network.stride, 769, network.stride)
        rounded = {n: windows.round_up(n, network) for n in lengths}
        assert all(n <= m <= n + max(0, n // 8) for n, m in rounded.items())
        assert all(m % network.stride == 0 for m in rounded.values())
        assert len(set(rounded.values())) <= 64
        # The training size, and that of whole windows.
        full = {SMALL: 104}.get(unet, 101)
        assert (rounded[full], rounded[768]) == (full, 768)


def record_batches(monkeypatch):
    """Returns a list that will hold (windows, height, width, devices) of each batch."""
    batches, step = [], windows.predict_step

    def recorded(variables, image, *args, **kwargs):
        batches.append((*image.shape[:3], len(image.devices())))
        return step(variables, image, *args, **kwargs)

    monkeypatch.setattr(windows, "predict_step", recorded)
    return batches


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [(1, 1)]),
        (3, [(3, 3)]),
        (4, [(4, 4)]),
        (5, [(8, 4)]),
        (8, [(8, 4)]),
        (17, [(16, 4), (1, 1)]),
        (22, [(16, 4), (8, 4)]),
    ],
)
def test_batches_are_as_large_as_they_need_to_be(monkeypatch, count, expected):
    """Of at most 20 windows of the training size, on four devices."""
    model = make_model(UNet(features=(2, 4)), size=16, tile=(16, 16))
    model = dataclasses.replace(model, batch_size=20)
    batches = record_batches(monkeypatch)
    sections = [noise(16, 16, seed=i) for i in range(count)]
    found = list(windows.predict_sections(sections, model))
    assert [(b[0], b[3]) for b in batches] == expected
    for section, prob in zip(sections, found):
        np.testing.assert_allclose(prob, at_once(section, model), atol=1e-5)


def test_large_windows_use_every_device_and_no_empty_ones(monkeypatch):
    """A batch of training tiles has fewer pixels than one such window."""
    monkeypatch.setattr(axes, "WINDOW", 96)
    monkeypatch.setattr(axes, "RAMP", 8)
    model = make_model(SMALL, size=16, tile=(16, 16))
    assert model.batch_size * 16 * 16 < 96 * 96
    batches = record_batches(monkeypatch)
    section = noise(150, 150)
    (found,) = windows.predict_sections([section], model)
    rows = axes.windows_of(150, model.network).starts
    assert len(rows) == 3
    assert batches == [(4, 96, 96, 4), (4, 96, 96, 4), (1, 96, 96, 1)]
    np.testing.assert_allclose(found, at_once(section, model), atol=1e-5)


def test_weights_are_placed_once_on_each_number_of_devices():
    model = make_model(SMALL)
    mesh, variables = model.on_devices(2)
    assert mesh.size == 2
    assert model.on_devices(2)[1] is variables
    assert model.on_devices(4)[0].size == 4
    kernel = variables["params"]["head"]["kernel"]
    assert len(kernel.devices()) == 2
    np.testing.assert_array_equal(kernel, model.variables["params"]["head"]["kernel"])


class CountingEngine:
    """Takes a few sizes of windows; its probability of a pixel is the pixel's value."""

    def __init__(self, sizes):
        self.sizes, self.calls = sizes, []

    def takes(self, height, width):
        return (height, width) in self.sizes

    def __call__(self, model, windows, complement):
        self.calls.append(windows.shape)
        return windows[:, :, :, 0].copy()


def test_windows_of_different_shapes_fill_batches_of_their_own():
    engine = CountingEngine({(32, 32), (32, 64)})
    model = make_model(UNet((4, 8)), tile=(32, 32))
    model = dataclasses.replace(model, engine=engine)
    sections = [noise(32, 64 if i % 2 else 32, seed=i) for i in range(64)]
    found = list(windows.predict_sections(iter(sections), model))
    for section, prob in zip(sections, found, strict=True):
        np.testing.assert_array_equal(prob, section[:, :, 0])
    # Batches of 8 tiles, or 4 windows of twice the size.
    assert engine.calls.count((8, 32, 32, 1)) == 32 // 8
    assert engine.calls.count((4, 32, 64, 1)) == 32 // 4
    assert len(engine.calls) == 12


def test_few_sections_wait_for_a_batch_that_does_not_become_full():
    engine = CountingEngine({(32, 32), (32, 64)})
    model = make_model(UNet((4, 8)), tile=(32, 32))
    model = dataclasses.replace(model, engine=engine)
    read = 0

    def sections():
        nonlocal read
        for i in range(200):
            read += 1
            yield noise(32, 32 if i else 64, seed=i)

    next(windows.predict_sections(sections(), model))
    assert read <= 8 * (windows.MAX_WAITING + 1)


def test_windows_that_the_engine_does_not_take_are_computed_by_jax():
    model = make_model(UNet((4, 8)), tile=(32, 32))
    engine = CountingEngine({(32, 64)})
    other = dataclasses.replace(model, engine=engine)
    sections = [noise(32, width, seed=width) for width in (32, 64, 40)]
    expected = list(windows.predict_sections(iter(sections), model))
    found = list(windows.predict_sections(iter(sections), other))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(found[2], expected[2], atol=1e-6)
    np.testing.assert_array_equal(found[1], sections[1][:, :, 0])
    assert len(engine.calls) == 1
