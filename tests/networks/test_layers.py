import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from variables import draw_variables

from saltjax.networks import layers


def values_and_gradients(function, *args):
    """Returns the function's value, and its gradient by each argument for a fixed cotangent."""
    value, pullback = jax.vjp(function, *args)
    cotangent = np.random.default_rng(9).standard_normal(value.shape).astype(np.float32)
    return value, pullback(cotangent)


def assert_same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)


def test_max_pool_equals_linens():
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 3)).astype(np.float32)
    plain = values_and_gradients(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    assert_same(values_and_gradients(layers.max_pool_2x2, x), plain)


@pytest.mark.parametrize("shape", [(2, 6, 8), (3, 5, 1), (1, 1, 7)])
def test_kernel_gradient_equals_the_convolutions(shape):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((*shape, 4)).astype(np.float32)
    cotangent = rng.standard_normal((*shape, 5)).astype(np.float32)
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.empty((3, 3, 4, 5))
    for i, j in np.ndindex(3, 3):
        window = padded[:, i : i + shape[1], j : j + shape[2]]
        expected[i, j] = np.einsum("bhwc,bhwf->cf", window, cotangent)
    gradient = layers.kernel_gradient_3x3(x, cotangent)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)
    half = layers.kernel_gradient_3x3(
        x.astype(jnp.bfloat16), cotangent.astype(jnp.bfloat16)
    )
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), expected, rtol=0.02, atol=0.1)


def test_conv_3x3_is_exported_for_any_size():
    channels = layers.PRODUCT_CHANNELS
    kernel = np.random.default_rng(0).normal(size=(3, 3, channels, channels))
    kernel = kernel.astype(np.float32)
    shape = jax.export.symbolic_shape(f"1, h, w, {channels}")
    exported = jax.export.export(jax.jit(lambda x: layers.conv_3x3(x, kernel)))(
        jax.ShapeDtypeStruct(shape, np.float32)
    )
    x = np.ones((1, 5, 4, channels), np.float32)
    expected = layers.conv_3x3(x, kernel)
    np.testing.assert_allclose(exported.call(x), expected, rtol=1e-5, atol=1e-4)


def test_conv_3x3_has_the_gradients_of_linens(monkeypatch):
    monkeypatch.setattr(layers, "PRODUCT_CHANNELS", 4)
    monkeypatch.setattr(layers, "PRODUCT_PIXELS", 6 * 8)
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 5, 4)).astype(np.float32)
    conv = nn.Conv(4, (3, 3), padding=1, use_bias=False)

    def linens(x, kernel):
        return conv.apply({"params": {"kernel": kernel}}, x)

    for rows, product in ((6, True), (5, False)):
        x = rng.standard_normal((2, rows, 8, 5)).astype(np.float32)
        jaxpr = str(jax.make_jaxpr(layers.conv_3x3)(x, kernel))
        assert ("custom_vjp" in jaxpr) is product
        computed = values_and_gradients(jax.jit(layers.conv_3x3), x, kernel)
        assert_same(computed, values_and_gradients(linens, x, kernel))


def test_max_pool_of_equal_values():
    x = np.random.default_rng(0).integers(0, 3, (2, 6, 8, 3)).astype(np.float32)
    windows = x.reshape(2, 3, 2, 4, 2, 3)
    assert (windows == windows.max(axis=(2, 4), keepdims=True)).sum() > 1.5 * x.size / 4
    np.testing.assert_array_equal(layers.max_pool_2x2(x), windows.max(axis=(2, 4)))
    # Equal values share the gradient, first within a row, then between the rows; PyTorch gives it
    # to the first of them. After ReLU these are zeros, whose gradient is 0 either way.
    tied = (
        jnp.array([[1, 1], [1, 1]]),
        jnp.array([[0, 2], [2, 1]]),
        jnp.ones((2, 2)).at[0, 0].set(0),
    )
    shares = (
        [[0.25, 0.25], [0.25, 0.25]],
        [[0, 0.5], [0.5, 0]],
        [[0, 0.5], [0.25, 0.25]],
    )
    for window, expected in zip(tied, shares):
        pooled = jax.grad(lambda x: layers.max_pool_2x2(x[None, :, :, None]).sum())
        np.testing.assert_array_equal(pooled(window.astype(jnp.float32)), expected)
        rectified = jax.grad(
            lambda x: layers.max_pool_2x2(nn.relu(x)[None, :, :, None]).sum()
        )
        np.testing.assert_array_equal(rectified(-window.astype(jnp.float32)), 0)


def test_transposed_conv_equals_linens():
    x = np.random.default_rng(0).standard_normal((2, 5, 7, 6)).astype(np.float32)
    fast = layers.TransposedConv2x2(4)
    params = draw_variables(fast, x.shape)["params"]
    plain = nn.ConvTranspose(4, (2, 2), (2, 2))
    shapes = jax.eval_shape(plain.init, jax.random.key(0), x)["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)

    def apply_plain(params, x):
        # Linen's kernel runs against the output's direction; ours, like PyTorch's, along it.
        flipped = params | {"kernel": params["kernel"][::-1, ::-1]}
        return plain.apply({"params": flipped}, x)

    fast_values = values_and_gradients(
        lambda p, x: fast.apply({"params": p}, x), params, x
    )
    plain_values = values_and_gradients(apply_plain, params, x)
    assert fast_values[0].shape == (2, 10, 14, 4)
    assert_same(fast_values, plain_values)


@pytest.mark.parametrize("kind", ["max_pool", "strided"])
def test_downsample_halves_the_resolution(kind):
    init = layers.Downsample(kind).init_with_output
    y, _ = jax.eval_shape(init, jax.random.key(0), jnp.ones((1, 6, 4, 3)))
    assert y.shape == (1, 3, 2, 3)


def test_strided_conv_pads_one_on_both_sides():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(1.0)
    params = {"conv": {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.zeros(1)}}
    y = layers.Downsample("strided").apply({"params": params}, x)
    # Only the window centred on row 0, column 0 sees that pixel.
    np.testing.assert_array_equal(y[0, :, :, 0], [[1, 0], [0, 0]])


def draw_block(norm, features, x):
    """Returns a block and random parameters of it."""
    block = layers.ConvBlock(features, norm)
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, False, None))
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: np.float32(rng.normal(0, 0.3, leaf.shape)), shapes["params"]
    )
    return block, params


def normalized(x, mean, variance, eps, layer):
    x = (x - mean) / np.sqrt(variance + eps)
    return x * layer["scale"] + layer["bias"]


@pytest.mark.parametrize(("features", "groups"), [(12, 4), (16, 8), (3, 1)])
def test_group_norm_equals_numpy(features, groups):
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 3)).astype(np.float32)
    block, params = draw_block("group", features, x)
    # The channels of a group are neighbours; statistics are over them and the image.
    y = np.float64(x)
    for i in (1, 2):
        y = reference.conv3x3(y, params[f"conv{i}"])
        y = reference.normalize(y, params[f"norm{i}"], groups, eps=1e-6)
        y = np.maximum(y, 0)
    found = block.apply({"params": params}, x, False, None)
    np.testing.assert_allclose(found, y, atol=1e-5)


def test_batch_norm_equals_numpy():
    x = np.random.default_rng(0).standard_normal((3, 5, 4, 3)).astype(np.float32)
    block, params = draw_block("batch", 6, x)
    rng = np.random.default_rng(2)
    before = {
        f"norm{i}": {
            "mean": np.float32(rng.normal(0, 1, 6)),
            "var": np.float32(rng.uniform(0.5, 1, 6)),
        }
        for i in (1, 2)
    }
    variables = {"params": params, "batch_stats": before}
    trained, after = block.apply(variables, x, True, None, mutable=["batch_stats"])
    tested = block.apply(variables, x, False, None)
    for train, found in ((True, trained), (False, tested)):
        y = np.float64(x)
        for i in (1, 2):
            assert "bias" not in params[f"conv{i}"]
            y = reference.conv3x3(y, params[f"conv{i}"] | {"bias": 0})
            mean, variance = before[f"norm{i}"]["mean"], before[f"norm{i}"]["var"]
            if train:
                # Running means move a tenth of the way to those of the batch.
                running = mean * 0.9, variance * 0.9
                mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
                stats = after["batch_stats"][f"norm{i}"]
                for name, old, new in zip(("mean", "var"), running, (mean, variance)):
                    np.testing.assert_allclose(stats[name], old + new / 10, atol=1e-5)
            y = np.maximum(normalized(y, mean, variance, 1e-5, params[f"norm{i}"]), 0)
        np.testing.assert_allclose(found, y, atol=1e-5)
