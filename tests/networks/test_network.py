import importlib
import itertools
import pathlib
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from variables import draw_variables

from configs import default, unet_strided
from saltjax.networks import network as networks
from saltjax.networks.fcn import FCN
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet

# The parameters of every config that is shipped.
PARAMETERS = {
    "default": 1_941_105,
    "unet": 1_941_105,
    "unet_strided": 2_137_185,
    "fcn": 1_179_025,
    "final": 2_137_185,
    "best": 1_942_577,
    "quickstart": 133_681,
}


def parameters_of(config):
    model = networks.create_model(**config.model)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    return networks.count_parameters(shapes["params"])


def test_parameter_counts_of_every_config():
    files = {path.stem for path in pathlib.Path(default.__file__).parent.glob("*.py")}
    assert files - {"__init__"} == set(PARAMETERS)
    for name, expected in PARAMETERS.items():
        config = importlib.import_module(f"configs.{name}").get_config()
        assert parameters_of(config) == expected, name


def test_parameter_count_without_skip_connections():
    config = unet_strided.get_config()
    config.model.skip = False
    assert parameters_of(config) == 1_941_345


def test_create_network_passes_every_setting_on():
    model = {
        "name": "unet",
        "features": [4, 6],
        "downsample": "strided",
        "skip": False,
        "upsample": "bilinear",
        "norm": "group",
        "dropout": 0.25,
        "init": "torch_default",
    }
    config = default.get_config()
    config.model.update(model)
    config.train.update(dtype="bfloat16", matmul_precision="tensorfloat32")
    config.data.update(image_size=48, resize="pad", context=2)
    found = networks.create_network(config)
    unet = UNet(
        (4, 6),
        "strided",
        False,
        "bilinear",
        "group",
        0.25,
        "bfloat16",
        "torch_default",
        "tensorfloat32",
    )
    assert found == Network(unet, 48, "pad", context=2)
    config.model.name = "fcn"
    config.data.update(resize="nearest", context=0)
    found = networks.create_network(config)
    fcn = FCN((4, 6), "group", 0.25, "bfloat16", "torch_default", "tensorfloat32")
    assert found == Network(fcn, 48, "nearest")


def test_networks_of_equal_settings_share_compiled_programs():
    a, b = (Network(UNet(features=(4, 6)), 16, "nearest") for _ in range(2))
    assert a.stride == 2  # cached in one of the two
    assert a == b
    assert hash(a) == hash(b)
    assert a != Network(UNet(features=(4, 6)), 16, "bilinear")
    assert a != Network(UNet(features=(4, 6)), 16, "nearest", context=1)


def test_inputs_are_scaled_and_brought_to_the_networks_size():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 4, 4, 3), np.uint8)
    label = rng.integers(0, 2, (2, 4, 4, 1), np.uint8)
    network = Network(FCN(features=(1,)), 8, "nearest")
    found = network.inputs(networks.unit_image(image), label)
    # Twice as large: each pixel becomes a square of four.
    for array, values in zip(found, (image / 255, label)):
        assert array.dtype == jnp.float32
        expected = values.repeat(2, axis=1).repeat(2, axis=2)
        np.testing.assert_allclose(array, expected, atol=1e-7)


def test_initial_variables_follow_from_the_seed():
    network = Network(FCN(features=(2,), norm="batch"), 8, "nearest")
    found = network.init(3)
    expected = jax.jit(network.model.init)(jax.random.key(3), jnp.zeros((1, 8, 8, 3)))
    jax.tree.map(np.testing.assert_array_equal, found, dict(expected))
    other = network.init(4)["params"]["head"]["kernel"]
    assert not np.allclose(other, found["params"]["head"]["kernel"])
    shapes = jax.eval_shape(network.init, 0)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, shapes)
    plain = Network(FCN(features=(2,)), 8, "nearest")
    assert jax.eval_shape(plain.init, 0)["batch_stats"] == {}


@pytest.mark.parametrize(("context", "channels"), [(0, 3), (1, 3), (2, 5)])
def test_a_network_of_several_lines_has_a_channel_for_each(context, channels):
    for model in (FCN(features=(2,)), UNet(features=(2, 4))):
        network = Network(model, 8, "nearest", context)
        shapes = jax.eval_shape(network.init, 0)["params"]
        first = shapes["block0" if isinstance(model, FCN) else "encoder0"]
        assert network.channels == channels
        assert first["conv1"]["kernel"].shape == (3, 3, channels, 2)
        assert network.receptive_radius == Network(model, 8, "pad").receptive_radius


def farthest(model, shape, positions, seed=0):
    """Returns how far away, along either axis, inputs have a gradient, for each output position.

    All weights are positive and so is the input: no ReLU is 0 and no terms of a gradient cancel.
    The random input has no ties, so max-pooling passes the gradient to one of four pixels.
    """
    variables = jax.tree.map(np.abs, draw_variables(model))
    image = np.random.default_rng(seed).random((*shape, 3), np.float32)
    images = np.repeat(image[None], len(positions), axis=0)
    rows, columns = np.array(positions).T

    def logits(images):
        return model.apply(variables, images)[np.arange(len(rows)), rows, columns].sum()

    distances = []
    for gradient, row, column in zip(jax.grad(logits)(images), rows, columns):
        found_rows, found_columns, _ = np.nonzero(np.asarray(gradient))
        distances.append(
            (np.abs(found_rows - row).max(), np.abs(found_columns - column).max())
        )
    return np.array(distances)


UNETS = [
    UNet(features=(2,) * levels, downsample=downsample, upsample=upsample, skip=skip)
    for levels, downsample, upsample, skip in itertools.product(
        (2, 3), ("max_pool", "strided"), ("transposed", "bilinear"), (True, False)
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    UNETS,
    ids=lambda m: f"{len(m.features)}-{m.downsample}-{m.upsample}-skip={m.skip}",
)
def test_radius_of_unets_is_the_support_of_gradients(model):
    radius = networks.receptive_radius(model, model.stride)
    size = 64 if model.stride == 4 else 32
    # Around the centre, every place relative to the coarsest pixels, by row and column; and others.
    centre = range(size // 2 - model.stride // 2, size // 2 + model.stride // 2)
    assert radius < centre[0]
    inner = [(i, i) for i in centre]
    outer = [(0, 0), (size - 1, size - 1), (5, centre[-1]), (centre[0], size - 8)]
    distances = farthest(model, (size, size), inner + outer)
    assert (distances <= radius).all()
    # The nearest bound: some output of each network sees as far along rows, and along columns.
    assert distances[: len(inner)].max(axis=0).tolist() == [radius, radius]


@pytest.mark.slow
def test_radius_holds_for_images_that_are_mirrored_at_their_edges():
    model = UNet(features=(2, 2, 2), downsample="strided", upsample="bilinear")
    radius = networks.receptive_radius(model, model.stride)
    positions = [(60, 57), (57, 60), (30, 58), (59, 29), (31, 31)]
    distances = farthest(model, (61, 61), positions)
    assert (distances <= radius).all()
    assert distances.max() > radius - model.stride


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_radius_of_fcns_is_the_support_of_gradients(blocks):
    model = FCN(features=(2,) * blocks)
    assert networks.receptive_radius(model, 1) == 2 * blocks
    distances = farthest(model, (16, 16), [(7, 8), (0, 0), (15, 3)])
    assert distances[0].tolist() == [2 * blocks, 2 * blocks]
    assert (distances <= 2 * blocks).all()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # Two 3×3 convolutions at strides 1, 2, 4, 8, on both sides, and 16, and four upsamplings.
        (UNet((16, 32, 64, 128, 256)), 2 * 2 * (1 + 2 + 4 + 8) + 2 * 16 + 15),
        (UNet((8, 16, 32), "strided"), 2 * 2 * (1 + 2) + 2 * 4 + 3 + 3),
        (UNet((8, 16, 32), norm="batch", dropout=0.5), 2 * 2 * (1 + 2) + 2 * 4 + 3),
        (UNet((8,)), 2),
        (FCN((16, 32), norm="batch"), 4),
        # Its statistics are over the whole image.
        (UNet((8, 16), norm="group"), None),
        (FCN((8,), norm="group"), None),
    ],
)
def test_radius_by_hand(model, expected):
    assert networks.receptive_radius(model, model.stride) == expected
    assert Network(model, 32, "nearest").receptive_radius == expected


def test_stride_is_that_of_the_coarsest_level():
    assert Network(UNet((2, 2, 2, 2)), 32, "nearest").stride == 8
    assert Network(UNet((2,)), 32, "nearest").stride == 1
    assert Network(FCN((2, 2)), 32, "nearest").stride == 1


@pytest.mark.parametrize(
    "model",
    [UNet((4, 6), "strided"), UNet((4, 6), dtype="bfloat16"), FCN((4,), "group")],
    ids=["strided", "bfloat16", "fcn"],
)
def test_matmul_precision_is_that_of_every_product_and_changes_no_bit_on_a_cpu(model):
    """Of convolutions and matrix products, and those of the gradients."""
    variables = draw_variables(model, (2, 8, 8, 3))
    image = np.random.default_rng(6).random((2, 8, 8, 3), np.float32)
    # XLA's names; "HIGH" is the one for which GPUs use TensorFloat-32.
    names, outcomes = {"float32": "HIGHEST", "tensorfloat32": "HIGH"}, []
    for precision, name in names.items():
        changed = model.clone(matmul_precision=precision)

        def loss(variables, changed=changed):
            return jnp.sum(changed.apply(variables, image) ** 2)

        lowered = jax.jit(jax.value_and_grad(loss)).lower(variables)
        products = [
            re.findall(r"\b(?:DEFAULT|HIGH|HIGHEST)\b", line)
            for line in lowered.as_text().splitlines()
            if "stablehlo.convolution" in line or "stablehlo.dot_general" in line
        ]
        assert len(products) >= 8
        assert all(found == [name, name] for found in products)
        outcomes.append(jax.device_get(lowered.compile()(variables)))
    jax.tree.map(np.testing.assert_array_equal, *outcomes)


def test_applying_a_network_leaves_jaxs_own_precision_alone():
    before = jax.config.jax_default_matmul_precision
    model = FCN((2,), matmul_precision="tensorfloat32")
    variables = draw_variables(model)
    for precision in (None, "bfloat16"):
        with jax.default_matmul_precision(precision):
            model.apply(variables, np.zeros((1, 8, 8, 3), np.float32))
            assert jax.config.jax_default_matmul_precision == precision
    assert jax.config.jax_default_matmul_precision == before


class WithPlainConv(nn.Module):
    """A model with a layer that does not state how far it reaches."""

    @nn.compact
    def __call__(self, image):
        return nn.Conv(1, (3, 3), name="smooth")(image)


def test_layer_without_reach_is_an_error():
    message = "layer smooth of WithPlainConv states no reach"
    with pytest.raises(TypeError, match=message):
        networks.receptive_radius(WithPlainConv(), 1)
