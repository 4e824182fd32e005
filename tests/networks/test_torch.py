"""The same network and schedule in PyTorch, where it is installed; it is not a requirement."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import TOLERANCE, VARIANTS, draw_batch, gradient
from variables import draw_variables

from saltjax.networks import layers
from saltjax.networks.fcn import FCN
from saltjax.networks.unet import UNet
from saltjax.training import schedules

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def conv(x, layer, stride=1):
    kernel = layer["kernel"].permute(3, 2, 0, 1)
    padding = kernel.shape[-1] // 2
    return functional.conv2d(x, kernel, layer.get("bias"), stride, padding)


def block(x, params, norm):
    for i in (1, 2):
        x = conv(x, params[f"conv{i}"])
        if norm == "group":
            groups = math.gcd(8, x.shape[1])
            x = functional.group_norm(x, groups, *scale_and_bias(params, i), eps=1e-6)
        elif norm == "batch":
            scale, bias = scale_and_bias(params, i)
            x = functional.batch_norm(x, None, None, scale, bias, True, eps=1e-5)
        x = torch.relu(x)
    return x


def scale_and_bias(params, i):
    return params[f"norm{i}"]["scale"], params[f"norm{i}"]["bias"]


def torch_logits(model, params, x):
    """Returns the logits [B, 1, H, W] of a `UNet` or an `FCN` for tensors of its parameters."""
    levels = range(len(model.features))
    if isinstance(model, FCN):
        for i in levels:
            x = block(x, params[f"block{i}"], model.norm)
        return conv(x, params["head"])
    skips = []
    for i in levels:
        if i > 0:
            skips.append(x)
            if model.downsample == "strided":
                x = conv(x, params[f"down{i}"]["conv"], stride=2)
            else:
                x = functional.max_pool2d(x, 2)
        x = block(x, params[f"encoder{i}"], model.norm)
    for i in reversed(levels[:-1]):
        layer = params[f"up{i}"]["conv"]
        if model.upsample == "transposed":
            kernel = layer["kernel"].permute(2, 3, 0, 1)
            x = functional.conv_transpose2d(x, kernel, layer["bias"], stride=2)
        else:
            x = functional.interpolate(
                conv(x, layer), scale_factor=2, mode="bilinear", align_corners=False
            )
        if model.skip:
            x = torch.cat([x, skips[i]], dim=1)
        x = block(x, params[f"decoder{i}"], model.norm)
    return conv(x, params["head"])


def tensor(x, dtype):
    return torch.tensor(np.asarray(x), dtype=dtype)


@pytest.mark.parametrize("kind", ["max_pool", "strided"])
def test_logits_equal_pytorchs(kind):
    model = UNet(features=(16, 32, 64, 128, 256), downsample=kind)
    image = np.random.default_rng(0).random((2, 128, 128, 3), np.float32)
    variables = draw_variables(model)
    params = jax.tree.map(lambda x: tensor(x, torch.float32), variables["params"])
    expected = torch_logits(model, params, tensor(image.transpose(0, 3, 1, 2), None))
    found = jax.jit(model.apply)(variables, image)
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def torch_gradient(model, params, image, label, dtype):
    """Returns the gradient of the mean binary cross-entropy."""
    tensors = jax.tree.map(lambda x: tensor(x, dtype).requires_grad_(), params)
    image, label = (tensor(x.transpose(0, 3, 1, 2), dtype) for x in (image, label))
    logits = torch_logits(model, tensors, image)
    functional.binary_cross_entropy_with_logits(logits, label).backward()
    return jax.tree.map(lambda x: np.float64(x.grad.numpy()), tensors)


def relative_error(found, expected):
    found, expected = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
        for tree in (found, expected)
    )
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("size", [16, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS)
def test_gradients_equal_pytorchs(model, size):
    params, image, label = draw_batch(model, size)
    found = gradient(model, params, image, label)
    for dtype in (torch.float64, torch.float32):
        expected = torch_gradient(model, params, image, label, dtype)
        assert relative_error(found, expected) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS)
def test_gradients_at_the_size_of_training_are_as_good_as_pytorchs(model):
    """Both in float32, against float64; the sums have 32,768 terms.

    Rounding moves some of so many pixels across the kink of a ReLU, or changes which of two pixels
    a max-pooling takes. Each changes the gradient by a step, which bounds no rounding error:
    PyTorch's error was up to 2e-3, that of JAX up to 4e-4.
    """
    params, image, label = draw_batch(model, 128)
    expected = torch_gradient(model, params, image, label, torch.float64)
    assert relative_error(gradient(model, params, image, label), expected) < 2e-3


@pytest.mark.parametrize(
    ("layer", "shape", "order"),
    [
        (lambda: torch.nn.Conv2d(12, 20, 3), (3, 3, 12, 20), (2, 3, 1, 0)),
        (lambda: torch.nn.ConvTranspose2d(12, 20, 2), (2, 2, 12, 20), (2, 3, 0, 1)),
    ],
    ids=["conv", "transposed"],
)
def test_initial_weights_have_the_distribution_of_pytorchs(layer, shape, order):
    torch.manual_seed(0)
    made = [layer() for _ in range(200)]
    for name, expected in (
        ("kernel", [m.weight.detach().permute(order).numpy() for m in made]),
        ("bias", [m.bias.detach().numpy() for m in made]),
    ):
        expected = np.array(expected)
        fan_in = 9 * 12 if shape[0] == 3 else 4 * 20
        init = layers.initializers("torch_default", fan_in)[f"{name}_init"]
        size = expected.shape[1:]
        assert size == (shape if name == "kernel" else shape[-1:])
        found = init(jax.random.key(0), (200, *size), jnp.float32)
        assert np.abs(found).max() == pytest.approx(np.abs(expected).max(), rel=0.005)
        assert np.var(found) == pytest.approx(expected.var(), rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_learning_rates_equal_pytorchs(seed):
    rng = np.random.default_rng(seed)
    losses = 0.3 + 0.5 * np.exp(-np.arange(80) / 10) + 0.01 * rng.standard_normal(80)
    # Some repeat exactly.
    losses = np.where(rng.random(80) < 0.2, np.roll(losses, 1), losses)
    weight = torch.nn.Parameter(torch.zeros(1))
    adam = torch.optim.Adam([weight], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        adam, "min", factor=0.1, patience=5
    )
    plateau, found, expected = schedules.Plateau(1e-3), [], []
    for loss in losses:
        scheduler.step(float(loss))
        plateau = plateau.update(float(loss), 0.1, 5)
        expected.append(adam.param_groups[0]["lr"])
        found.append(plateau.learning_rate)
    assert found == expected
    assert len(set(found)) > 2
