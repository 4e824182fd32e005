"""Inference on sections of any size: overlapping windows, batched on the devices, blended."""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from saltjax.networks import resize
from saltjax.networks.network import Network, predict_step
from saltjax.system import devices

# Pixels at the network's resolution. Large windows waste less on their margins, small ones less
# memory.
WINDOW = 768
# Only U-Nets of 7 and more levels, or of 6, strided and bilinear, have larger receptive radii.
MAX_MARGIN = 256
RAMP = 32


@dataclasses.dataclass(frozen=True)
class SectionModel:
    """A trained network that can be applied to sections.

    Attributes:
      network: the model and its resolution.
      variables: its params and batch_stats, as numpy arrays.
      tile: height and width in pixels of the tiles that it was trained on, which set the scale.
      pixels: number of pixels in a batch, at the network's resolution.
      tta: average the probabilities of each window and of its mirror image, left to right.
      placed: the weights on the devices, by the number of devices.
    """

    network: Network
    variables: dict[str, Any]
    tile: tuple[int, int]
    pixels: int
    tta: bool
    placed: dict[int, tuple[Mesh, Any]] = dataclasses.field(default_factory=dict)

    def on_devices(self, count: int) -> tuple[Mesh, Any]:
        """Returns a mesh of that many devices, with the variables on them."""
        if count not in self.placed:
            mesh = devices.data_mesh(count)
            self.placed[count] = mesh, devices.replicate(self.variables, mesh)
        return self.placed[count]


@dataclasses.dataclass(frozen=True)
class Axis:
    """How one axis of a section is divided into windows.

    Attributes:
      padded: pixels after padding.
      starts: first pixel of each window.
      weights: float32[K, length], of each window's pixels; at any pixel they sum to 1.
    """

    padded: int
    starts: tuple[int, ...]
    weights: np.ndarray


@functools.cache
def divide(n: int, window: int, margin: int, ramp: int, multiple: int) -> Axis:
    """Returns the windows of an axis of n pixels.

    Windows start and end at multiples of `multiple`. The `margin` pixels at each edge of a window
    have weight 0, except at the ends of the axis, since pixels beyond the window could change them.
    Over the next `ramp` pixels the weight changes from one window to the next as sin².
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


def windows_of(n: int, network: Network) -> Axis:
    """Returns the windows of an axis of n pixels at the network's resolution."""
    multiple, margin = network.stride, network.receptive_radius
    if margin is None:
        # Group norm: every pixel of a window counts. Windows as in training, half overlapping.
        size = max(-(-network.image_size // multiple), 2) * multiple
        return divide(n, size, 0, size // 2, multiple)
    return divide(n, WINDOW, min(margin, MAX_MARGIN), RAMP, multiple)


class Canvas:
    """A section at the network's resolution, and the sum of its windows' weighted probabilities."""

    def __init__(self, section: np.ndarray, model: SectionModel):
        """Takes a section float32[H, W, 1 or 3] in [0, 1] at its own resolution."""
        self.shape, network = section.shape[:2], model.network
        image = resize.image_to_network(
            section[None], model.tile, network.image_size, network.resize
        )[0]
        self.extent = image.shape[:2]
        self.rows, self.cols = (windows_of(n, network) for n in self.extent)
        padding = (
            (0, self.rows.padded - self.extent[0]),
            (0, self.cols.padded - self.extent[1]),
            (0, 0),
        )
        # As the model itself pads images to a multiple of its stride.
        self.image = np.pad(image, padding, mode="symmetric")
        self.prob = np.zeros(self.image.shape[:2], np.float32)
        self.remaining = len(self.rows.starts) * len(self.cols.starts)

    def windows(self) -> Iterator[tuple[int, int]]:
        """Yields the (row, column) index of each window."""
        for r in range(len(self.rows.starts)):
            for c in range(len(self.cols.starts)):
                yield r, c

    def place(self, r: int, c: int) -> tuple[slice, slice]:
        """Returns the rows and columns of a window."""
        top, left = self.rows.starts[r], self.cols.starts[c]
        height, width = self.rows.weights.shape[1], self.cols.weights.shape[1]
        return slice(top, top + height), slice(left, left + width)

    def add(self, r: int, c: int, prob: np.ndarray) -> None:
        """Adds the probabilities float32[h, w] of a window."""
        weight = self.rows.weights[r][:, None] * self.cols.weights[c]
        self.prob[self.place(r, c)] += weight * prob
        self.remaining -= 1

    def native(self, model: SectionModel) -> np.ndarray:
        """Returns the probabilities float32[H, W] at the section's own resolution."""
        height, width = self.extent
        native = resize.probability_to_native(
            self.prob[None, :height, :width, None],
            self.shape,
            model.tile,
            model.network.image_size,
            model.network.resize,
        )
        return np.clip(np.asarray(native)[0, :, :, 0], 0, 1)


def predict_sections(
    sections: Iterable[np.ndarray], model: SectionModel
) -> Iterator[np.ndarray]:
    """Yields the probabilities of salt float32[H, W] of each section.

    Sections are float32[H, W, 1 or 3] in [0, 1], at their own resolution. Windows of consecutive
    sections share batches, so results come some sections late; memory does not grow with the number
    of sections.
    """
    canvases: collections.deque[Canvas] = collections.deque()
    batch: list[tuple[Canvas, int, int]] = []
    delayed = devices.Delayed(_add)
    for section in sections:
        canvas = Canvas(section, model)
        canvases.append(canvas)
        for window in canvas.windows():
            if batch and (
                len(batch) == _batch_size(model, batch[0])
                or _window(*batch[0]).shape != _window(canvas, *window).shape
            ):
                delayed.put(batch, _start(batch, model))
                batch = []
            batch.append((canvas, *window))
        yield from _finished(canvases, model)
    if batch:
        delayed.put(batch, _start(batch, model))
    delayed.flush()
    yield from _finished(canvases, model)


def _finished(canvases, model):
    while canvases and not canvases[0].remaining:
        yield canvases.popleft().native(model)


def _window(canvas: Canvas, r: int, c: int) -> np.ndarray:
    return canvas.image[canvas.place(r, c)]


def _batch_size(model: SectionModel, window: tuple[Canvas, int, int]) -> int:
    """Returns how many windows of that shape make a batch."""
    height, width, _ = _window(*window).shape
    return max(1, model.pixels // (height * width))


def _start(batch: list[tuple[Canvas, int, int]], model: SectionModel) -> jax.Array:
    """Starts a batch of windows on the devices; returns its probabilities."""
    size = _batch_size(model, batch[0])
    mesh, variables = model.on_devices(min(size, jax.device_count()))
    size = devices.padded_batch_size(size, mesh)
    windows = np.zeros((size, *_window(*batch[0]).shape), np.float32)
    for i, window in enumerate(batch):
        windows[i] = _window(*window)
    return predict_step(
        variables,
        devices.shard(windows, mesh),
        model=model.network.model,
        tta=model.tta,
    )


def _add(batch: list[tuple[Canvas, int, int]], probs: jax.Array) -> None:
    """Adds the probabilities of a batch of windows to their canvases."""
    for (canvas, r, c), prob in zip(batch, devices.fetch(probs)):
        canvas.add(r, c, prob)
