import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saltjax.networks import layers


def values_and_gradients(function, *args):
    """Returns the function's value, and its gradient by each argument for a fixed cotangent."""
    value, pullback = jax.vjp(function, *args)
    cotangent = np.random.default_rng(9).standard_normal(value.shape).astype(np.float32)
    return value, pullback(cotangent)


def assert_same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)


def test_max_pool_is_linens():
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 3)).astype(np.float32)
    plain = values_and_gradients(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    assert_same(values_and_gradients(layers.max_pool_2x2, x), plain)


def test_transposed_conv_is_linens():
    x = np.random.default_rng(0).standard_normal((2, 5, 7, 6)).astype(np.float32)
    fast = layers.TransposedConv2x2(4)
    params = fast.init(jax.random.key(0), x)["params"]
    params["bias"] = jnp.arange(4.0)
    plain = nn.ConvTranspose(4, (2, 2), (2, 2))
    assert jax.tree.map(
        jnp.shape, plain.init(jax.random.key(0), x)["params"]
    ) == jax.tree.map(jnp.shape, params)

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
def test_downsample_halves(kind):
    x = jnp.ones((1, 6, 4, 3))
    y, _ = layers.Downsample(kind).init_with_output(jax.random.key(0), x)
    assert y.shape == (1, 3, 2, 3)


def test_strided_conv_pads_one_on_both_sides():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(1.0)
    params = {"conv": {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.zeros(1)}}
    y = layers.Downsample("strided").apply({"params": params}, x)
    # Only the window centred on row 0, column 0 sees that pixel.
    np.testing.assert_array_equal(y[0, :, :, 0], [[1, 0], [0, 0]])
