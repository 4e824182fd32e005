"""The same network and schedule in PyTorch, where it is installed; it is not a requirement."""

import jax
import numpy as np
import pytest
from variables import draw_variables

from saltjax.networks import network as networks
from saltjax.networks.unet import UNet
from saltjax.training import schedules

torch = pytest.importorskip("torch")


class TorchUNet(torch.nn.Module):
    """The study's U-Net; its modules are made from the parameters of `unet.UNet`."""

    def __init__(self, params, strided):
        super().__init__()
        self.levels = sum(name.startswith("encoder") for name in params)
        self.strided = strided
        self.convs = torch.nn.ModuleDict()
        for name, part in params.items():
            for conv, layer in {"": part}.items() if "kernel" in part else part.items():
                key = f"{name}_{conv}"
                self.convs[key] = self.make(
                    np.asarray(layer["kernel"]), layer["bias"], name
                )

    @staticmethod
    def make(kernel, bias, name):
        size, _, cin, cout = kernel.shape
        if name.startswith("up"):
            conv, order = torch.nn.ConvTranspose2d(cin, cout, 2, stride=2), (2, 3, 0, 1)
        else:
            stride = 2 if name.startswith("down") else 1
            conv, order = (
                torch.nn.Conv2d(cin, cout, size, stride, padding=size // 2),
                (3, 2, 0, 1),
            )
        conv.weight.data = torch.tensor(kernel.transpose(order).copy())
        conv.bias.data = torch.tensor(np.asarray(bias))
        return conv

    def block(self, name, x):
        for conv in ("conv1", "conv2"):
            x = torch.relu(self.convs[f"{name}_{conv}"](x))
        return x

    def forward(self, x):
        skips = []
        for i in range(self.levels):
            if i > 0:
                skips.append(x)
                down = (
                    self.convs[f"down{i}_conv"]
                    if self.strided
                    else torch.nn.MaxPool2d(2)
                )
                x = down(x)
            x = self.block(f"encoder{i}", x)
        for i in reversed(range(self.levels - 1)):
            x = torch.cat([self.convs[f"up{i}_conv"](x), skips[i]], dim=1)
            x = self.block(f"decoder{i}", x)
        return self.convs["head_"](x)


@pytest.mark.parametrize("kind", ["max_pool", "strided"])
def test_logits_equal_pytorchs(kind):
    model = UNet(features=(16, 32, 64, 128, 256), downsample=kind)
    image = np.random.default_rng(0).random((2, 128, 128, 3), np.float32)
    variables = draw_variables(model)
    params = variables["params"]
    network = TorchUNet(params, kind == "strided")
    assert sum(p.numel() for p in network.parameters()) == networks.count_parameters(
        params
    )
    with torch.no_grad():
        expected = network(torch.tensor(image.transpose(0, 3, 1, 2)))
    found = jax.jit(model.apply)(variables, image)
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)


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
