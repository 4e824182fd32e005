"""Probabilities for sections of any size: overlapping windows, batched on the devices, blended."""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from saltjax.networks import resize
from saltjax.networks import unet as models
from saltjax.system import devices
from saltjax.training import steps

# Pixels at the network's scale. Large windows waste less on their margins, small ones less memory.
WINDOW = 768
# Only networks of six levels and more look further.
MAX_MARGIN = 256
RAMP = 32


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A network, ready to look at sections.

    Attributes:
      network: the model and its resolution.
      variables: its weights, as numpy arrays.
      tile: height and width of the tiles that it was trained on, which set the scale.
      pixels: at the network's scale, of a batch.
      tta: average the probabilities of each window and of its mirror image, left to right.
      placed: the weights on the devices, by the number of these.
    """

    network: steps.Network
    variables: dict
    tile: tuple[int, int]
    pixels: int
    tta: bool
    placed: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Axis:
    """How one axis of a section is divided into windows.

    Attributes:
      padded: pixels after padding.
      starts: of the windows.
      weights: float32[K, length], of each window's pixels; at any pixel they sum to 1.
    """

    padded: int
    starts: tuple[int, ...]
    weights: np.ndarray


@functools.cache
def divide(n: int, window: int, margin: int, ramp: int, multiple: int) -> Axis:
    """Returns the windows of an axis of n pixels.

    Windows start and end at multiples of `multiple`. `margin` pixels at each edge of a window count
    nothing, but at the ends of the axis: what lies beyond a window could change them. Over the next
    `ramp` pixels one window gives way to the other, as sin² does.
    """
    padded = -(-n // multiple) * multiple
    if padded <= window:
        return Axis(padded, (0,), np.ones((1, padded), np.float32))
    stride = (window - 2 * margin - ramp) // multiple * multiple
    count = -(-(padded - window) // stride) + 1
    starts = [min(k * stride, padded - window) for k in range(count)]
    rise = np.sin(np.pi / 2 * (np.arange(ramp) + 0.5) / ramp) ** 2
    weights = np.ones((count, window))
    weights[1:, :margin], weights[1:, margin : margin + ramp] = 0, rise
    weights[:-1] *= np.concatenate(
        [np.ones(window - margin - ramp), rise[::-1], np.zeros(margin)]
    )
    total = np.zeros(padded)
    for start, weight in zip(starts, weights):
        total[start : start + window] += weight
    for start, weight in zip(starts, weights):
        weight /= total[start : start + window]
    return Axis(padded, tuple(starts), weights.astype(np.float32))


class Canvas:
    """A section at the network's scale, and what its windows have added to it so far."""

    def __init__(self, section: np.ndarray, predictor: Predictor):
        self.shape, network = section.shape[:2], predictor.network
        image = resize.image_to_network(
            section[None], predictor.tile, network.image_size, network.resize
        )[0]
        self.extent = image.shape[:2]
        self.rows, self.cols = (windows_of(n, network) for n in self.extent)
        padding = (
            (0, self.rows.padded - self.extent[0]),
            (0, self.cols.padded - self.extent[1]),
            (0, 0),
        )
        # As the model itself pads what its depth does not divide.
        self.image = np.pad(image, padding, mode="symmetric")
        self.prob = np.zeros(self.image.shape[:2], np.float32)
        self.left = len(self.rows.starts) * len(self.cols.starts)

    def windows(self) -> Iterator[tuple[int, int]]:
        """Yields the (row, column) of each window, in numbers of windows."""
        for r in range(len(self.rows.starts)):
            for c in range(len(self.cols.starts)):
                yield r, c

    def place(self, r: int, c: int) -> tuple[slice, slice]:
        """Returns where a window lies."""
        top, left = self.rows.starts[r], self.cols.starts[c]
        height, width = self.rows.weights.shape[1], self.cols.weights.shape[1]
        return slice(top, top + height), slice(left, left + width)

    def add(self, r: int, c: int, prob: np.ndarray) -> None:
        """Adds a window's probabilities."""
        weight = self.rows.weights[r][:, None] * self.cols.weights[c]
        self.prob[self.place(r, c)] += weight * prob
        self.left -= 1

    def native(self, predictor: Predictor) -> np.ndarray:
        """Returns the probabilities float32[H, W] at the section's own resolution."""
        height, width = self.extent
        native = resize.probability_to_native(
            self.prob[None, :height, :width, None],
            self.shape,
            predictor.tile,
            predictor.network.image_size,
            predictor.network.resize,
        )
        return np.clip(np.asarray(native)[0, :, :, 0], 0, 1)


def windows_of(n: int, network: steps.Network) -> Axis:
    """Returns how an axis of n pixels at the network's scale is divided."""
    multiple = models.coarsest_pixel(network.model)
    margin = models.receptive_radius(network.model)
    if margin is None:
        # The whole window decides, as in training: windows of that size, half of each overlapped.
        size = max(-(-network.image_size // multiple), 2) * multiple
        return divide(n, size, 0, size // 2, multiple)
    return divide(n, WINDOW, min(margin, MAX_MARGIN), RAMP, multiple)


def predict_sections(
    sections: Iterable[np.ndarray], predictor: Predictor
) -> Iterator[np.ndarray]:
    """Yields the probabilities of salt float32[H, W] of each section float32[H, W, 1 or 3] in [0, 1].

    Windows of successive sections share batches, so the answers come some sections late; memory does
    not grow with the number of sections.
    """
    canvases, batch, working = collections.deque(), [], None
    for section in sections:
        canvas = Canvas(section, predictor)
        canvases.append(canvas)
        for r, c in canvas.windows():
            window = canvas.image[canvas.place(r, c)]
            if batch and (
                len(batch) == _batch_size(predictor, batch[0][3])
                or batch[0][3].shape != window.shape
            ):
                working = _exchange(working, batch, predictor)
                batch = []
            batch.append((canvas, r, c, window))
        yield from _finished(canvases, predictor)
    if batch:
        working = _exchange(working, batch, predictor)
    _exchange(working, [], predictor)
    yield from _finished(canvases, predictor)


def _finished(canvases, predictor):
    while canvases and not canvases[0].left:
        yield canvases.popleft().native(predictor)


def _batch_size(predictor: Predictor, window: np.ndarray) -> int:
    """Returns how many windows of that shape make a batch."""
    return max(1, predictor.pixels // (window.shape[0] * window.shape[1]))


def _exchange(working, batch, predictor):
    """Hands a batch to the devices, and adds up the one that they worked on until now."""
    started = None
    if batch:
        size = _batch_size(predictor, batch[0][3])
        mesh, variables = _on_devices(predictor, min(size, jax.device_count()))
        size = devices.padded_batch_size(size, mesh)
        windows = np.zeros((size, *batch[0][3].shape), np.float32)
        for i, (*_, window) in enumerate(batch):
            windows[i] = window
        prob = steps.predict_step(
            variables,
            devices.shard(windows, mesh),
            model=predictor.network.model,
            tta=predictor.tta,
        )
        started = batch, prob
    if working:
        batch, prob = working
        for (canvas, r, c, _), found in zip(batch, devices.fetch(prob)):
            canvas.add(r, c, found)
    return started


def _on_devices(predictor: Predictor, count: int) -> tuple[Mesh, dict]:
    """Returns a mesh of so many devices, with the variables on them."""
    if count not in predictor.placed:
        mesh = devices.data_mesh(count)
        predictor.placed[count] = mesh, devices.replicate(predictor.variables, mesh)
    return predictor.placed[count]
