"""Inference on sections of any size: overlapping windows, batched on the devices, blended."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from saltjax.inference import axes, scaling
from saltjax.networks import resize
from saltjax.networks.network import Network, predict_step
from saltjax.system import devices

# While the first section waits for its batch to be full, the others may have as many windows as that
# many batches.
MAX_WAITING = 4


class Engine(Protocol):
    """What computes probabilities in the place of JAX, such as `engine.OpenVINO`."""

    def takes(self, height: int, width: int) -> bool:
        """Returns whether it computes windows of that size, always the same."""

    def __call__(
        self, model: "SectionModel", windows: np.ndarray, complement: bool
    ) -> np.ndarray:
        """Returns the probabilities of windows float32[B, H, W, C], see `network.predict_step`."""


@dataclasses.dataclass(frozen=True)
class SectionModel:
    """A trained network that can be applied to sections.

    Attributes:
      network: the model and its resolution.
      variables: its params and batch_stats, as numpy arrays.
      tile: height and width in pixels of the tiles that it was trained on, which set the scale.
      batch_size: training tiles in a batch; larger windows are fewer.
      tta: average the probabilities of each window and of its mirror image, left to right.
      placed: the weights on the devices, by the number of devices.
      engine: computes the probabilities instead of `network.predict_step`; None for JAX.
      scale: by how much sections are stretched before they are those of `tile`.
    """

    network: Network
    variables: dict[str, Any]
    tile: tuple[int, int]
    batch_size: int
    tta: bool
    placed: dict[int, tuple[Mesh, Any]] = dataclasses.field(default_factory=dict)
    engine: Engine | None = None
    scale: scaling.Scale = scaling.NONE

    def on_devices(self, count: int) -> tuple[Mesh, Any]:
        """Returns a mesh of that many devices, with the variables on them."""
        if count not in self.placed:
            mesh = devices.local_mesh(count)
            self.placed[count] = mesh, devices.replicate(self.variables, mesh)
        return self.placed[count]


class Canvas:
    """A section at the network's resolution, and the sum of its windows' weighted probabilities.

    Attributes:
      extent: its height and width at the network's resolution.
      prob: float32[K, H', W'], of salt and, if K is 2, of no salt; H' and W' include padding.
      count: of its windows.
      remaining: windows that are not yet part of the sum.
    """

    def __init__(self, section: np.ndarray, model: SectionModel, complement: bool):
        """Takes a section float32[H, W, 1 or C] in [0, 1] at its own resolution."""
        self.shape, network = section.shape[:2], model.network
        image = resize.image_to_network(
            section[None], model.tile, network.image_size, network.resize
        )[0]
        self.extent = image.shape[:2]
        self.rows, self.cols = (axes.windows_of(n, network) for n in self.extent)
        padding = (
            (0, self.rows.padded - self.extent[0]),
            (0, self.cols.padded - self.extent[1]),
            (0, 0),
        )
        # As the model itself pads images to a multiple of its stride.
        self.image = np.pad(image, padding, mode="symmetric")
        self.count = self.remaining = len(self.rows.starts) * len(self.cols.starts)
        self.single = self.count == 1
        # Of a single window the probabilities are taken as they are.
        empty = np.empty if self.single else np.zeros
        self.prob = empty((1 + complement, *self.image.shape[:2]), np.float32)

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
        """Adds the probabilities float32[K, h, w] of a window, from its first row and column."""
        rows, cols = self.rows.weights[r], self.cols.weights[c]
        prob = prob[:, : len(rows), : len(cols)]
        if self.single:  # its weights are 1
            self.prob[:] = prob
        else:
            self.prob[:, *self.place(r, c)] += rows[:, None] * cols * prob
        self.remaining -= 1

    def at_network(self) -> np.ndarray:
        """Returns the probabilities float32[K, h, w] at the network's resolution."""
        height, width = self.extent
        return self.prob[:, :height, :width]

    def native(self, model: SectionModel) -> np.ndarray:
        """Returns the probabilities of salt float32[H, W] at the section's own resolution."""
        native = resize.probability_to_native(
            self.at_network()[:1, :, :, None],
            self.shape,
            model.tile,
            model.network.image_size,
            model.network.resize,
        )
        return np.clip(np.asarray(native)[0, :, :, 0], 0, 1)


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of the windows of a batch, for which a program is compiled.

    Attributes:
      height, width, channels: of the arrays.
      cropped: whether windows may be smaller than the arrays that hold them.
      engine: whether the model's engine computes them.
    """

    height: int
    width: int
    channels: int
    cropped: bool
    engine: bool


def to_section(image: np.ndarray) -> np.ndarray:
    """Returns float32[H, W, 1 or C] in [0, 1] for an image uint8[H, W, C].

    An image of equal channels becomes one of one channel.
    """
    if (image == image[:, :, :1]).all():
        image = image[:, :, :1]
    return image.astype(np.float32) / 255


def predict_sections(
    sections: Iterable[np.ndarray], model: SectionModel
) -> Iterator[np.ndarray]:
    """Yields the probabilities of salt float32[H, W] of each section.

    Sections are float32[H, W, 1 or C] in [0, 1], at their own resolution, C the network's channels;
    one channel stands for C equal ones. Windows of consecutive
    sections share batches, so results come some sections late; memory does not grow with the number
    of sections.
    """
    shapes: collections.deque[tuple[int, ...]] = collections.deque()

    def stretched() -> Iterator[np.ndarray]:
        for section in sections:
            shapes.append(section.shape[:2])
            yield model.scale.stretch(section)

    scaled = model.scale != scaling.NONE
    for canvas in predict_canvases(stretched() if scaled else sections, model):
        prob = canvas.native(model)
        yield model.scale.restore(prob, shapes.popleft()) if scaled else prob


def predict_images(
    images: Iterable[np.ndarray], model: SectionModel
) -> Iterator[np.ndarray]:
    """Yields the probabilities of salt float32[H, W] of images float32[H, W, 1 or 3] in [0, 1]."""
    return predict_sections(without_colours(images, model.network), model)


def without_colours(
    images: Iterable[np.ndarray], network: Network
) -> Iterable[np.ndarray]:
    """Returns images float32[H, W, 1 or 3] as sections for a network.

    If its channels are lines, colours become grey, and each image is its own neighbour.
    """
    if not network.context:
        return images
    return (image.mean(axis=2, keepdims=True) for image in images)


def predict_image(image: np.ndarray, models: Sequence[SectionModel]) -> np.ndarray:
    """Returns the mean probabilities of salt float32[H, W] of models for an image uint8[H, W, 3]."""
    probs = [next(predict_images([to_section(image)], model)) for model in models]
    return np.mean(probs, axis=0)


def predict_canvases(
    sections: Iterable[np.ndarray], model: SectionModel, complement: bool = False
) -> Iterator[Canvas]:
    """Yields each section with its probabilities at the network's resolution.

    Arguments are those of `predict_sections`; `complement` is that of `network.predict_step`.
    """
    canvases: collections.deque[Canvas] = collections.deque()
    batches: dict[Shape, list[tuple[Canvas, int, int]]] = {}
    delayed = devices.Delayed(_add)
    waiting = 0  # windows of the canvases before the last

    def start(shape):
        batch = batches.pop(shape)
        delayed.put(batch, _start(batch, shape, model))

    def finished():
        nonlocal waiting
        while canvases and not canvases[0].remaining:
            waiting -= canvases[0].count
            yield canvases.popleft()

    for section in sections:
        canvas = Canvas(section, model, complement)
        shape, limit = _shape(canvas, model), _limit(model, _shape(canvas, model))
        canvases.append(canvas)
        for window in canvas.windows():
            batches.setdefault(shape, []).append((canvas, *window))
            if len(batches[shape]) == limit:
                start(shape)
        if waiting - canvases[0].count > MAX_WAITING * limit:
            for other in list(batches):
                start(other)
            delayed.flush()
        waiting += canvas.count
        yield from finished()
    for shape in list(batches):
        start(shape)
    delayed.flush()
    yield from finished()


def _shape(canvas: Canvas, model: SectionModel) -> Shape:
    """Returns the shape of a section's windows in a batch."""
    lengths = canvas.rows.weights.shape[1], canvas.cols.weights.shape[1]
    channels = canvas.image.shape[2]
    if model.engine is not None and model.engine.takes(*lengths):
        # It takes no extents.
        return Shape(*lengths, channels, cropped=False, engine=True)
    height, width = (round_up(n, model.network) for n in lengths)
    cropped = not set(lengths) <= _common_lengths(model.network)
    return Shape(height, width, channels, cropped, engine=False)


def round_up(n: int, network: Network) -> int:
    """Returns the length in a batch of a window's axis of n pixels, at most an eighth longer.

    So sections of similar sizes share a compiled program.
    """
    if n in _common_lengths(network):
        return n
    step = max(network.stride, 2 ** max(0, n.bit_length() - 4))
    return -(-n // step) * step


def _common_lengths(network: Network) -> set[int]:
    """Returns the lengths of a training tile and of the windows of a large section."""
    tile = -(-network.image_size // network.stride) * network.stride
    return {tile, axes.layout(network)[0]}


def _limit(model: SectionModel, shape: Shape) -> int:
    """Returns how many windows a batch has at most: a power of two, or one for each device."""
    pixels = model.batch_size * model.network.image_size**2
    fit = max(1, pixels // (shape.height * shape.width))
    return max(jax.device_count(), 2 ** (fit.bit_length() - 1))


def _batch_size(count: int, limit: int) -> int:
    """Returns the number of windows, padding included, of a batch of `count`.

    Each number is a program to compile, so there are few; up to one window a device, none is empty.
    """
    if count <= jax.device_count():
        return count
    return min(limit, 2 ** (count - 1).bit_length())


def _start(
    batch: list[tuple[Canvas, int, int]], shape: Shape, model: SectionModel
) -> jax.Array | np.ndarray:
    """Starts a batch of windows on the devices; returns its probabilities."""
    complement = len(batch[0][0].prob) == 2
    limit = _limit(model, shape)
    if shape.engine and model.engine is not None:
        # A program for fewer windows would take longer to make than the empty ones to compute.
        windows, _ = _arrays(batch, limit, shape)
        return model.engine(model, windows, complement)
    size = _batch_size(len(batch), limit)
    mesh, variables = model.on_devices(min(size, jax.local_device_count()))
    windows, extent = _arrays(batch, devices.padded_batch_size(size, mesh), shape)
    return predict_step(
        variables,
        devices.shard(windows, mesh),
        devices.shard(extent, mesh) if shape.cropped else None,
        model=model.network.model,
        channels=model.network.channels,
        tta=model.tta,
        complement=complement,
    )


def _arrays(
    batch: list[tuple[Canvas, int, int]], size: int, shape: Shape
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the windows float32[size, H, W, C] of a batch and their extents int32[size, 2]."""
    windows = np.empty((size, shape.height, shape.width, shape.channels), np.float32)
    windows[len(batch) :] = 0
    extent = np.full((size, 2), (shape.height, shape.width), np.int32)
    for i, (canvas, r, c) in enumerate(batch):
        window = canvas.image[canvas.place(r, c)]
        extent[i] = height, width = window.shape[:2]
        if shape.cropped:
            windows[i] = 0
        windows[i, :height, :width] = window
    return windows, extent


def _add(batch: list[tuple[Canvas, int, int]], probs: jax.Array | np.ndarray) -> None:
    """Adds the probabilities of a batch of windows to their canvases."""
    fetched: np.ndarray = jax.device_get(probs)
    both = fetched.ndim == 4  # salt and no salt
    fetched = np.moveaxis(fetched, 1, 0) if both else fetched[:, None]
    for (canvas, r, c), prob in zip(batch, fetched):
        canvas.add(r, c, prob)
