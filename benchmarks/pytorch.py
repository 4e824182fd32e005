"""Speed of a config's U-Net in saltjax and in PyTorch, in turn, on this machine.

python -m benchmarks.pytorch --config=configs/unet.py --steps=8

The last line printed is a JSON object: medians over the rounds, in images per second. saltjax is
measured by `python -m saltjax.benchmark` in a process of its own, its tiles resized in every step;
PyTorch on a batch that is resized beforehand, with Adam, in NCHW and float32.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict

from saltjax import commandline
from saltjax.runs import settings
from saltjax.system import console
from saltjax.system.errors import InputError

try:
    import torch
except ImportError:  # not among the requirements
    raise SystemExit(
        "benchmarks/pytorch.py compares with PyTorch, which is not installed: pip install torch"
    ) from None

WARM_UP_STEPS = 2
# What of a config's model PyTorch's has too.
MODEL = {"name": "unet", "upsample": "transposed", "norm": "none", "dropout": 0.0}


class UNet(torch.nn.Module):
    """The U-Net of `saltjax.networks.unet`, of the study's variants."""

    def __init__(self, features: tuple[int, ...], strided: bool, skip: bool):
        """Takes the channels of each level, and whether it has strided convolutions and skips."""
        super().__init__()
        self.levels, self.strided, self.skip = len(features), strided, skip
        self.layers = torch.nn.ModuleDict()
        before = 3
        for i, channels in enumerate(features):
            if strided and i > 0:
                self._add(f"down{i}", "conv", before, before, 3, 2)
            self._add_block(f"encoder{i}", before, channels)
            before = channels
        for i in reversed(range(self.levels - 1)):
            channels = features[i]
            self.layers[f"up{i}_conv"] = torch.nn.ConvTranspose2d(
                features[i + 1], channels, 2, stride=2
            )
            self._add_block(f"decoder{i}", channels * (2 if skip else 1), channels)
        self.layers["head"] = torch.nn.Conv2d(features[0], 1, 1)

    def _add(self, name, layer, before, channels, size, stride=1):
        self.layers[f"{name}_{layer}"] = torch.nn.Conv2d(
            before, channels, size, stride, padding=size // 2
        )

    def _add_block(self, name, before, channels):
        self._add(name, "conv1", before, channels, 3)
        self._add(name, "conv2", channels, channels, 3)

    def _block(self, name, x):
        for layer in ("conv1", "conv2"):
            x = torch.relu(self.layers[f"{name}_{layer}"](x))
        return x

    def forward(self, x):
        """Returns logits float32[B, 1, H, W] for images float32[B, 3, H, W]."""
        skips = []
        for i in range(self.levels):
            if i > 0:
                skips.append(x)
                if self.strided:
                    x = self.layers[f"down{i}_conv"](x)
                else:
                    x = torch.nn.functional.max_pool2d(x, 2)
            x = self._block(f"encoder{i}", x)
        for i in reversed(range(self.levels - 1)):
            x = self.layers[f"up{i}_conv"](x)
            if self.skip:
                x = torch.cat([x, skips[i]], dim=1)
            x = self._block(f"decoder{i}", x)
        return self.layers["head"](x)


def create(config: ConfigDict) -> UNet:
    """Returns the network of a config.

    Raises:
      InputError: if the config has settings that PyTorch's network has not.
    """
    other = [
        f"model.{key}={config.model[key]!r}"
        for key, value in MODEL.items()
        if config.model[key] != value
    ]
    if config.train.dtype != "float32":
        other.append(f"train.dtype={config.train.dtype!r}")
    if other:
        raise InputError(
            f"{', '.join(other)}: PyTorch's network here has not; expected a config with "
            f"{', '.join(f'model.{k}={v}' for k, v in MODEL.items())}, train.dtype=float32"
        )
    model = config.model
    return UNet(tuple(model.features), model.downsample == "strided", model.skip)


def train_step(network: UNet, adam: torch.optim.Optimizer, image, label):
    """Returns the mean loss of a batch, and updates the weights."""
    adam.zero_grad()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(network(image), label)
    loss.backward()
    adam.step()
    return loss.detach()


@torch.no_grad()
def eval_step(network: UNet, image, label):
    """Returns the mean loss and the accuracy at 0.5 of a batch."""
    logits = network(image)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, label)
    return loss, ((logits >= 0) == (label > 0)).float().mean()


def measure(config: ConfigDict, batch_size: int, timed_steps: int) -> dict[str, float]:
    """Returns images per second of training and of evaluation: of a median step."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network = create(config).to(device)
    size = config.data.image_size
    image = torch.rand(batch_size, 3, size, size, device=device)
    label = (torch.rand(batch_size, 1, size, size, device=device) < 0.5).float()
    adam = torch.optim.Adam(network.parameters(), lr=config.optim.learning_rate)

    def seconds(step: Callable[[], object]) -> float:
        taken = []
        for _ in range(WARM_UP_STEPS + timed_steps):
            start = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
        return statistics.median(taken[WARM_UP_STEPS:])

    train = seconds(lambda: train_step(network, adam, image, label))
    evaluation = seconds(lambda: eval_step(network, image, label))
    return {"train": batch_size / train, "eval": batch_size / evaluation}


def measure_saltjax(words: list[str]) -> dict[str, float]:
    """Returns the same of saltjax, for these words of the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "saltjax.benchmark", *words],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise InputError("python -m saltjax.benchmark has failed, see above")
    found = json.loads(done.stdout.splitlines()[-1])
    return {part: found[f"{part}_images_per_s"] for part in ("train", "eval")}


def compare(
    rounds: list[tuple[dict[str, float], dict[str, float]]],
) -> dict[str, float]:
    """Returns medians of (saltjax's, PyTorch's) measurements, and their ratios.

    >>> compare([({"train": 4.0, "eval": 9.0}, {"train": 2.0, "eval": 6.0})])
    {'saltjax_train': 4.0, 'pytorch_train': 2.0, 'train_ratio': 2.0, \
'saltjax_eval': 9.0, 'pytorch_eval': 6.0, 'eval_ratio': 1.5}
    """
    figures = {}
    for part in ("train", "eval"):
        ours, theirs = (statistics.median(r[i][part] for r in rounds) for i in (0, 1))
        figures[f"saltjax_{part}"] = round(ours, 2)
        figures[f"pytorch_{part}"] = round(theirs, 2)
        figures[f"{part}_ratio"] = round(ours / theirs, 3)
    return figures


def define_flags() -> None:
    """Defines the flags besides --config."""
    flags.DEFINE_integer("steps", 8, "Steps that are timed.", lower_bound=1)
    flags.DEFINE_integer(
        "batch", 0, "Tiles in a batch; 0: train.batch_size.", lower_bound=0
    )
    flags.DEFINE_integer("rounds", 3, "Measurements of each, in turn.", lower_bound=1)


def main() -> None:
    """Prints the measurements for the config as JSON."""
    config = commandline.required_config()
    settings.check(config)
    steps, batch = flags.FLAGS.steps, flags.FLAGS.batch or config.train.batch_size
    # The last of a repeated flag counts.
    words = [
        word for word in sys.argv[1:] if not word.startswith(("--rounds", "-rounds"))
    ]
    words += [f"--steps={steps}", f"--batch={batch}"]
    rounds = []
    for _ in range(flags.FLAGS.rounds):
        rounds.append((measure_saltjax(words), measure(config, batch, steps)))
        console.say(f"saltjax, PyTorch {torch.__version__}: {rounds[-1]}")
    console.say(json.dumps(compare(rounds)))


if __name__ == "__main__":
    commandline.start(
        define_flags, main, lambda: f"{__doc__}{flags.FLAGS.main_module_help()}"
    )
