"""Speed of a config's U-Net in saltjax and in PyTorch, in turn, on this machine.

python -m benchmarks.pytorch --config=configs/unet.py --steps=4

The last line printed is a JSON object: for each precision the medians over the rounds, in images per
second, and the speed of a matrix product of 2048 rows and columns, which no convolution exceeds.
saltjax is measured by `python -m saltjax.benchmark` in a process of its own, its tiles resized in every
step; and its evaluation with OpenVINO too, where that is installed. PyTorch is measured on a batch that
is resized beforehand, with Adam, in every layout and number of tiles at a time, of which the fastest
counts; its bfloat16 is autocast.
"""

import functools
import itertools
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from saltjax import commandline
from saltjax.inference.engine import OpenVINO
from saltjax.inference.windows import SectionModel
from saltjax.networks import network as networks
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
PRECISIONS = ("float32", "bfloat16")
LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
TILES_AT_A_TIME = 8
PRODUCT_SIZE = 2048  # rows and columns
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
    if other:
        raise InputError(
            f"{', '.join(other)}: PyTorch's network here has not; expected a config with "
            f"{', '.join(f'model.{k}={v}' for k, v in MODEL.items())}"
        )
    model = config.model
    return UNet(tuple(model.features), model.downsample == "strided", model.skip)


def train_step(network: UNet, optimizer: torch.optim.Optimizer, parts):
    """Returns the mean loss of a batch, and updates the weights.

    Args:
      network: in PyTorch.
      optimizer: of its parameters.
      parts: the (image, label) that the batch consists of, of equal size: gradients are accumulated.
    """
    optimizer.zero_grad()
    total = 0.0
    for image, label in parts:
        logits = network(image).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, label)
        (loss / len(parts)).backward()
        total += loss.detach() / len(parts)
    optimizer.step()
    return total


@torch.no_grad()
def eval_step(network: UNet, parts):
    """Returns the mean loss and the accuracy at 0.5 of a batch, which is as in `train_step`."""
    means = []
    for image, label in parts:
        logits = network(image).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, label)
        means.append((loss, ((logits >= 0) == (label > 0)).float().mean()))
    return tuple(sum(m) / len(parts) for m in zip(*means))


def measure(
    config: ConfigDict, precision: str, batch_size: int, timed_steps: int
) -> dict[str, tuple[float, str]]:
    """Returns images per second of training and of evaluation, of a median step, and how.

    Each is the fastest of NCHW and channels-last, with the whole batch or TILES_AT_A_TIME tiles at a
    time, or as many as divide both.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    autocast = torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")
    size = config.data.image_size
    found: dict[str, list[tuple[float, str]]] = {"train": [], "eval": []}
    for layout, at_a_time in itertools.product(
        LAYOUTS, sorted({math.gcd(TILES_AT_A_TIME, batch_size), batch_size})
    ):
        torch.manual_seed(0)
        memory_format = LAYOUTS[layout]
        network = create(config).to(device=device, memory_format=memory_format)
        shape = batch_size // at_a_time, at_a_time, 3, size, size
        parts = [
            (
                image.to(device, memory_format=memory_format),
                (image[:, :1] < 0.5).float().to(device),
            )
            for image in torch.rand(shape)
        ]
        adam = torch.optim.Adam(network.parameters(), lr=config.optim.learning_rate)
        how = f"{layout}, {at_a_time} at a time"
        for part, step in (
            ("train", functools.partial(train_step, network, adam, parts)),
            ("eval", functools.partial(eval_step, network, parts)),
        ):
            # Within each step: autocast keeps its copies of the weights until it ends.
            rate = batch_size / seconds(autocast(step), timed_steps)
            found[part].append((rate, how))
    return {part: max(rates) for part, rates in found.items()}


def seconds(step: Callable[[], object], timed_steps: int) -> float:
    """Returns the seconds of a median step, after steps that warm up."""
    taken = []
    for _ in range(WARM_UP_STEPS + timed_steps):
        start = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[WARM_UP_STEPS:])


def peak_gflops(precision: str, timed_steps: int) -> float:
    """Returns the speed of a matrix product in PyTorch, in 10^9 operations per second."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, precision)
    matrix = torch.rand(PRODUCT_SIZE, PRODUCT_SIZE, device=device).to(dtype)
    return 2 * PRODUCT_SIZE**3 / seconds(lambda: matrix @ matrix, timed_steps) / 1e9


def measure_openvino(
    config: ConfigDict, precision: str, batch_size: int, timed_steps: int
) -> float | None:
    """Returns images per second of saltjax's evaluation with OpenVINO, None where it cannot be had."""
    config = config.copy_and_resolve_references()
    config.train.dtype = "float32"
    network = networks.create_network(config)
    size = network.image_size
    model = SectionModel(network, network.init(0), (size, size), batch_size, tta=False)
    images = np.random.default_rng(0).random(
        (batch_size, size, size, network.channels), np.float32
    )
    try:
        computed = OpenVINO(precision)
        rate = seconds(lambda: computed(model, images, False), timed_steps)
    except InputError as error:
        console.say(f"Without OpenVINO: {error}")
        return None
    return batch_size / rate


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


def without_flag(name: str, words: list[str]) -> list[str]:
    """Returns the words of a command line without a flag and its value.

    >>> without_flag("rounds", ["--rounds", "2", "--steps=3", "-rounds=1"])
    ['--steps=3']
    """
    kept, names = [], (f"--{name}", f"-{name}")
    for i, word in enumerate(words):
        value = i > 0 and words[i - 1] in names
        if not value and word.split("=")[0] not in names:
            kept.append(word)
    return kept


def compare(
    rounds: list[tuple[dict[str, float], dict[str, tuple[float, str]]]],
) -> dict[str, float | str]:
    """Returns medians of (saltjax's, PyTorch's) measurements, their ratios, and how PyTorch's were.

    >>> rounds = [({"train": 4.0, "eval": 9.0}, {"train": (2.0, "NCHW"), "eval": (6.0, "NCHW")})]
    >>> compare(rounds)  # doctest: +NORMALIZE_WHITESPACE
    {'saltjax_train': 4.0, 'pytorch_train': 2.0, 'train_ratio': 2.0, 'pytorch_train_how': 'NCHW',
     'saltjax_eval': 9.0, 'pytorch_eval': 6.0, 'eval_ratio': 1.5, 'pytorch_eval_how': 'NCHW'}
    """
    figures: dict[str, float | str] = {}
    for part in ("train", "eval"):
        ours = statistics.median(saltjax[part] for saltjax, _ in rounds)
        theirs = statistics.median(pytorch[part][0] for _, pytorch in rounds)
        hows = [pytorch[part][1] for _, pytorch in rounds]
        figures[f"saltjax_{part}"] = round(ours, 2)
        figures[f"pytorch_{part}"] = round(theirs, 2)
        figures[f"{part}_ratio"] = round(ours / theirs, 3)
        figures[f"pytorch_{part}_how"] = statistics.mode(hows)
    return figures


def define_flags() -> None:
    """Defines the flags besides --config."""
    flags.DEFINE_integer("steps", 4, "Steps that are timed.", lower_bound=1)
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
    words = without_flag("rounds", sys.argv[1:])
    words += [f"--steps={steps}", f"--batch={batch}"]
    rounds: dict[str, list] = {precision: [] for precision in PRECISIONS}
    openvino: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in range(flags.FLAGS.rounds):
        for precision, found in rounds.items():
            ours = measure_saltjax([*words, f"--config.train.dtype={precision}"])
            found.append((ours, measure(config, precision, batch, steps)))
            console.say(
                f"{precision}: saltjax, PyTorch {torch.__version__}: {found[-1]}"
            )
            if rate := measure_openvino(config, precision, batch, steps):
                openvino[precision].append(rate)
    figures = {precision: compare(found) for precision, found in rounds.items()}
    for precision, row in figures.items():
        if rates := openvino[precision]:
            row["openvino_eval"] = round(statistics.median(rates), 2)
        row["product_gflops_per_s"] = round(peak_gflops(precision, steps))
    console.say(json.dumps(figures))


if __name__ == "__main__":
    commandline.start(
        define_flags, main, lambda: f"{__doc__}{flags.FLAGS.main_module_help()}"
    )
