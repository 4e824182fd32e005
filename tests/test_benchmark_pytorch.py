"""The comparison of speed with PyTorch, where it is installed; it is not a requirement."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from program import ROOT, assert_refused
from variables import draw_variables

from configs import quickstart, unet
from saltjax.networks import network as networks
from saltjax.networks.unet import UNet
from saltjax.system.errors import InputError
from saltjax.training import losses

TINY = ("--config.data.image_size=16", "--config.model.features=(4,8)", "--batch=4")


def start(*args, env=None):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.pytorch", *args],
        check=False,
        cwd=ROOT,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_without_pytorch_the_message_says_so(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError")
    done = start("--config=configs/unet.py", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr == (
        "benchmarks/pytorch.py compares with PyTorch, which is not installed: "
        "pip install torch\n"
    )


def with_weights(network, params):
    """Gives the network in PyTorch the parameters of saltjax's."""
    torch = pytest.importorskip("torch")
    state = {}
    for name, part in params.items():
        for conv, layer in {"": part}.items() if "kernel" in part else part.items():
            key = f"layers.{name}_{conv}".removesuffix("_")
            kernel = np.asarray(layer["kernel"])
            order = (2, 3, 0, 1) if name.startswith("up") else (3, 2, 0, 1)
            state[f"{key}.weight"] = torch.tensor(kernel.transpose(order).copy())
            state[f"{key}.bias"] = torch.tensor(np.asarray(layer["bias"]))
    network.load_state_dict(state)  # refuses what is missing or left
    return network


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("kind", ["max_pool", "strided"])
def test_both_networks_are_the_same_function(kind, skip):
    torch = pytest.importorskip("torch")
    from benchmarks import pytorch

    config = unet.get_config()
    config.model.features = (4, 8, 16)
    config.model.downsample, config.model.skip = kind, skip
    model = UNet(features=(4, 8, 16), downsample=kind, skip=skip)
    params = draw_variables(model)["params"]
    network = with_weights(pytorch.create(config), params)
    count = sum(p.numel() for p in network.parameters())
    assert count == networks.count_parameters(params)
    rng = np.random.default_rng(0)
    image = rng.random((2, 32, 32, 3), np.float32)
    label = np.float32(rng.random((2, 32, 32, 1)) < 0.5)

    @jax.value_and_grad
    def loss(params):
        logits = model.apply({"params": params}, image)
        return losses.tile_means(logits, label)["loss"].mean()

    expected, gradient = jax.jit(loss)(params)
    batch = [torch.tensor(x.transpose(0, 3, 1, 2).copy()) for x in (image, label)]
    parts = list(zip(*(x.split(1) for x in batch)))  # two tiles, one at a time
    evaluated, accuracy = pytorch.eval_step(network, parts)
    assert float(evaluated) == pytest.approx(float(expected), rel=1e-5)
    logits = jax.jit(model.apply)({"params": params}, image)
    assert float(accuracy) == pytest.approx(np.mean((logits >= 0) == (label > 0)))
    # The step's gradient, from a step of gradient descent at rate 1.
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    descent = torch.optim.SGD(network.parameters(), lr=1.0)
    trained = pytorch.train_step(network, descent, parts)
    assert float(trained) == pytest.approx(float(expected), rel=1e-5)
    after = dict(network.named_parameters())
    steps = {name: (before[name] - after[name]).detach().numpy() for name in before}
    kernel = steps["layers.encoder0_conv1.weight"].transpose(2, 3, 1, 0)
    found = gradient["encoder0"]["conv1"]["kernel"]
    np.testing.assert_allclose(kernel, found, rtol=1e-3, atol=1e-5)
    bias = steps["layers.head.bias"]
    np.testing.assert_allclose(bias, gradient["head"]["bias"], rtol=1e-3, atol=1e-6)


def test_other_networks_are_refused():
    pytest.importorskip("torch")
    from benchmarks import pytorch

    with pytest.raises(InputError, match=r"model\.norm='group': PyTorch's network"):
        pytorch.create(quickstart.get_config())


@pytest.mark.slow
def test_both_are_measured_in_turn():
    pytest.importorskip("torch")
    done = start("--config=configs/unet.py", *TINY, "--steps=2", "--rounds=2")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures) == {"float32", "bfloat16"}
    for row in figures.values():
        assert all(value > 0 for value in row.values() if not isinstance(value, str))
        ratio = row["saltjax_train"] / row["pytorch_train"]
        assert row["train_ratio"] == pytest.approx(ratio, rel=0.01)
        assert "at a time" in row["pytorch_eval_how"]
    assert_refused(start("--config=configs/quickstart.py"), "model.norm='group'")
