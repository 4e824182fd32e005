import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from variables import draw_variables

from saltjax.networks.unet import UNet


def apply(model, variables, image):
    """Returns the logits, from one compiled program."""
    return jax.jit(model.apply)(variables, image)


@pytest.mark.parametrize(
    ("strided", "skip"), [(False, True), (True, True), (True, False)]
)
def test_unet_equals_numpy(strided, skip):
    kind = "strided" if strided else "max_pool"
    model = UNet(features=(4, 6, 10), downsample=kind, skip=skip)
    variables = draw_variables(model)
    image = np.random.default_rng(1).random((2, 16, 16, 3), np.float32)
    expected = reference.unet(image, variables["params"], 3, strided, skip)
    logits = apply(model, variables, image)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (8, 8), (101, 101)])
def test_any_height_and_width_is_padded_and_cropped_back(shape):
    model = UNet(features=(2, 3, 4), downsample="strided")
    variables = draw_variables(model)
    image = np.random.default_rng(2).random((1, *shape, 3), np.float32)
    logits = apply(model, variables, image)
    assert logits.shape == (1, *shape, 1)
    # The same as the mirrored image at a size that the depth divides.
    extra = [(0, -n % 4) for n in shape]
    mirrored = np.pad(image, ((0, 0), *extra, (0, 0)), mode="symmetric")
    whole = reference.unet(mirrored, variables["params"], 3, True, True)
    np.testing.assert_allclose(logits, whole[:, : shape[0], : shape[1]], atol=1e-5)


# Fan-in of kernels of U-Net(16, 64, 128), and how far the deviation of so many values may be off.
FAN_IN = {
    ("encoder2", "conv1"): (9 * 64, 0.02),
    ("decoder1", "conv1"): (9 * 128, 0.02),
    ("down2", "conv"): (9 * 64, 0.02),
    ("up1", "conv"): (4 * 128, 0.02),
    ("head",): (16, 0.7),  # sixteen values
}


def test_kernels_are_initialized_he_normal_and_biases_zero():
    model = UNet(features=(16, 64, 128), downsample="strided")

    @jax.jit  # which leaves out all other layers
    def layers():
        params = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
        return [params[path[0]].get(path[-1], params[path[0]]) for path in FAN_IN]

    for (fan_in, tolerance), layer in zip(FAN_IN.values(), layers()):
        expected = pytest.approx(np.sqrt(2 / fan_in), rel=tolerance)
        assert float(layer["kernel"].std()) == expected
        assert not layer["bias"].any()


def assert_uniform(x, fan_in):
    """Asserts that the values are uniform in ±1/√fan_in, as far as so many can show."""
    x, bound = np.ravel(x), fan_in**-0.5
    assert np.abs(x).max() <= bound
    # The largest of n is beyond bound · (1 - 8 / n) but for a probability of exp(-8).
    assert np.abs(x).max() > bound * (1 - 8 / x.size)
    deviation = bound / np.sqrt(3 * x.size)
    assert abs(x.mean()) < 4 * deviation
    assert x.var() == pytest.approx(bound**2 / 3, rel=4 / np.sqrt(x.size))


@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
def test_torch_default_is_uniform_within_the_root_of_the_fan_in(upsample):
    model = UNet(
        (16, 64, 128), "strided", upsample=upsample, initializer="torch_default"
    )
    init = jax.jit(model.init)
    params = init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    fan_in = {
        # Of the transposed convolution, the channels of its output.
        "up1": 4 * 64 if upsample == "transposed" else 128,
        "encoder0": 9 * 3,
        "encoder2": 9 * 64,
        "decoder1": 9 * 128,
        "down2": 9 * 64,
    }
    for name, expected in fan_in.items():
        layer = params[name].get("conv", params[name].get("conv1"))
        assert_uniform(layer["kernel"], expected)
        assert_uniform(layer["bias"], expected)
    assert np.abs(params["head"]["kernel"]).max() <= 1 / 4
    assert 0 < np.abs(params["head"]["bias"][0]) <= 1 / 4


@pytest.mark.parametrize(
    ("field", "value", "has"),
    [
        ("norm", "batch", ("encoder0", "norm2", "scale")),
        ("norm", "group", ("decoder0", "norm1", "bias")),
        ("upsample", "bilinear", ("up0", "conv", "kernel")),
    ],
)
def test_each_field_changes_the_network(field, value, has):
    plain = UNet(features=(4, 6))
    changed = plain.clone(**{field: value})
    image = np.random.default_rng(3).random((2, 8, 8, 3), np.float32)
    variables = draw_variables(changed, (2, 8, 8, 3))
    leaf = variables["params"]
    for key in has:
        leaf = leaf[key]
    assert apply(changed, variables, image).shape == (2, 8, 8, 1)
    plain_shapes = jax.eval_shape(plain.init, jax.random.key(0), image)["params"]
    assert jax.tree.map(np.shape, variables["params"]) != jax.tree.map(
        np.shape, plain_shapes
    )


def test_bilinear_upsampling_interpolates():
    model = UNet(features=(3, 4), upsample="bilinear", skip=False)
    variables = draw_variables(model, (1, 8, 8, 3))
    params = variables["params"]
    image = np.random.default_rng(4).random((1, 8, 8, 3), np.float32)
    expected = reference.unet(image, params, 2, strided=False, skip=False)
    np.testing.assert_allclose(apply(model, variables, image), expected, atol=1e-5)


def test_dropout_only_when_training():
    model = UNet(features=(4, 6))
    dropping = model.clone(dropout=0.5)
    variables = draw_variables(model, (1, 8, 8, 3))
    image = np.ones((1, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(
        apply(dropping, variables, image), apply(model, variables, image)
    )
    outputs = [
        dropping.apply(
            variables, image, train=True, rngs={"dropout": jax.random.key(i)}
        )
        for i in range(2)
    ]
    assert not np.allclose(*outputs)


@pytest.mark.slow
def test_batch_norm_leaves_out_invalid_examples():
    model = UNet(features=(4, 6), norm="batch")
    image = np.random.default_rng(5).random((3, 8, 8, 3), np.float32)
    variables = draw_variables(model, (3, 8, 8, 3))
    valid = jnp.array([True, True, False])
    spoiled = image.copy()
    spoiled[2] = 100
    (a, stats_a), (b, stats_b) = (
        model.apply(variables, x, train=True, valid=valid, mutable=["batch_stats"])
        for x in (image, spoiled)
    )
    np.testing.assert_allclose(a[:2], b[:2], atol=1e-5)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), stats_a, stats_b
    )
    alone, _ = model.apply(variables, image[:2], train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(a[:2], alone, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize(
    "fields",
    [{}, {"downsample": "strided", "upsample": "bilinear"}],
    ids=["max_pool", "strided"],
)
def test_bfloat16_has_float32_weights_and_logits_and_about_the_same_values(
    norm, fields
):
    plain = UNet(features=(4, 6), norm=norm, **fields)
    mixed = plain.clone(dtype="bfloat16")
    variables = draw_variables(mixed, (2, 8, 8, 3))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    image = np.random.default_rng(6).random((2, 8, 8, 3), np.float32)
    logits, expected = (apply(model, variables, image) for model in (mixed, plain))
    assert logits.dtype == jnp.float32
    # Eight bits of mantissa, a dozen layers.
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())
    intermediate = mixed.apply(variables, image, capture_intermediates=True)[1]
    blocks = intermediate["intermediates"]["encoder1"]["__call__"]
    assert blocks[0].dtype == jnp.bfloat16
