"""Segments salt in seismic sections and volumes with numpy and onnxruntime alone.

    python NAME.py section.npy prob.npy

or in Python, with this file on the path: `NAME.Predictor().predict(section)`. saltjax wrote it beside
the network, NAME.onnx, which also holds the settings that it needs.
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime


class Predictor:
    """A trained network.

    Attributes:
      settings: what saltjax wrote into the model, such as `threshold` and `min_area`.
    """

    def __init__(self, model=None):
        """Opens a model: a path, by default that of this file with the suffix .onnx."""
        path = pathlib.Path(model or pathlib.Path(__file__).with_suffix(".onnx"))
        self._session = onnxruntime.InferenceSession(str(path))
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.settings = json.loads(metadata["saltjax"])

    def predict(self, array):
        """Returns the probabilities of salt, float32 of the array's shape, in [0, 1].

        Args:
          array: a section [samples, traces] or a volume [inline, crossline, sample] of amplitudes, which
            are scaled to [0, 1] by their own range; an array of uint8 has grey values, from 0 to 255.
            Traces that are all zero, all NaN or all masked are dead: their probability is 0. An array
            uint8[H, W, 3 or 4] is a colour image, a fourth channel its opacity, and has probabilities
            float32[H, W].

        Raises:
          ValueError: if it has another shape, is an image that is not opaque, or has traces that are
            masked or not finite in some samples only, or amplitudes that cannot be scaled.
        """
        if np.ma.is_masked(array):
            mask = np.ma.getmaskarray(array)
            axis = 0 if array.ndim == 2 else -1
            if (mask.any(axis=axis) & ~mask.all(axis=axis)).any():
                raise ValueError("traces of which only some samples are masked")
            array = np.ma.filled(array, 0)
        array = np.asarray(array)
        if array.dtype.kind not in "fiu" or not array.size:
            raise ValueError(
                f"an array of {array.dtype} of shape {array.shape}; expected numbers"
            )
        if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] in (3, 4):
            if array[:, :, 3:].size and array[:, :, 3:].min() < 255:
                raise ValueError("an image with transparent pixels")
            return self._section(array[:, :, :3].astype(np.float32) / 255)
        if array.ndim == 3 and array.shape[2] in (3, 4):
            raise ValueError(
                f"{array.dtype} of shape {array.shape}: a volume, or an image of uint8?"
            )
        if array.ndim == 2:
            traces, lines = array.T, [[np.arange(array.shape[1])]]
        elif array.ndim == 3:
            traces = array.reshape(-1, array.shape[2])
            numbers = np.arange(len(traces)).reshape(array.shape[:2])
            along = {"inline": list(numbers), "crossline": list(numbers.T)}
            direction = self.settings["direction"]
            names = list(along) if direction == "both" else [direction]
            lines = [along[name] for name in names]
            if 1 in numbers.shape:
                lines = [[numbers.ravel()]]
        else:
            raise ValueError(f"an array of shape {array.shape}; expected 2 or 3 axes")
        prob = np.zeros(traces.shape, np.float32)
        scale = self._scaling(_finite(traces[_spread(traces.shape)]), array.dtype)
        for i, direction in enumerate(lines):
            for line in direction:
                clean = _finite(traces[line])
                found = self._section(scale(clean).T[:, :, None]).T
                found[~clean.any(axis=1)] = 0
                prob[line] = (prob[line] + found) / 2 if i else found
        return prob.T if array.ndim == 2 else prob.reshape(array.shape)

    def _scaling(self, sample, dtype):
        """Returns the function that scales traces to [0, 1], from a sample of them."""
        method, values = (
            self.settings["normalize"],
            np.float64(sample[sample.any(axis=1)]),
        )
        if dtype == np.uint8:
            low, high = 0, 255
        elif method == "none" or not values.size:
            low, high = 0, 1
        elif method == "minmax":
            low, high = values.min(), values.max()
        else:
            sizes = np.abs(values)
            high = np.percentile(sizes, self.settings["percentile"]) or sizes.max()
            low = -high
        width = high - low

        def scale(traces):
            inside = traces.min() >= 0 and traces.max() <= 1
            if method == "none" and dtype != np.uint8 and not inside:
                raise ValueError(
                    "amplitudes that are not in [0, 1], as normalize=none expects"
                )
            unit = (traces - np.float64(low)) / width if width else 0 * traces
            return np.clip(unit, 0, 1).astype(np.float32)

        return scale

    def _section(self, section):
        """Returns the probabilities float32[H, W] of a section float32[H, W, 1 or C] in [0, 1]."""
        settings, shape = self.settings, section.shape[:2]
        stride, size = settings["stride"], settings["image_size"]
        options = [(tile, size, settings["resize"]) for tile in settings["tile"]]
        image = section
        for axis in (0, 1):
            image = _to_network(image, axis, *options[axis])
        extent = image.shape[:2]
        padding = [(0, -n % stride) for n in extent]
        image = np.pad(image, (*padding, (0, 0)), mode="symmetric")
        image = np.broadcast_to(image, (*image.shape[:2], settings["channels"]))
        rows, columns = (self._windows(n) for n in image.shape[:2])
        prob = np.zeros(image.shape[:2], np.float32)
        for top, of_row in rows:
            for left, of_column in columns:
                place = np.s_[top : top + len(of_row), left : left + len(of_column)]
                window = {"image": np.ascontiguousarray(image[place][None])}
                (found,) = self._session.run(None, window)
                prob[place] += of_row[:, None] * of_column * found[0]
        prob = prob[: extent[0], : extent[1]]
        for axis in (0, 1):
            prob = _from_network(prob, axis, shape[axis], *options[axis])
        return np.clip(prob, 0, 1)

    def _windows(self, n):
        """Returns first pixel and weights of each window of an axis; weights sum to 1 at any pixel."""
        window, margin, ramp = self.settings["windows"]
        stride = self.settings["stride"]
        if n <= window:
            return [(0, np.ones(n, np.float32))]
        step = (window - 2 * margin - ramp) // stride * stride
        count = -(-(n - window) // step) + 1
        starts = [min(k * step, n - window) for k in range(count)]
        rise = np.sin(np.pi / 2 * (np.arange(ramp) + 0.5) / ramp) ** 2
        weights = np.ones((count, window))
        weights[1:, :margin], weights[1:, margin : margin + ramp] = 0, rise
        fall = np.concatenate(
            [np.ones(window - margin - ramp), rise[::-1], np.zeros(margin)]
        )
        weights[:-1] *= fall
        total = np.zeros(n)
        for start, weight in zip(starts, weights):
            total[start : start + window] += weight
        for start, weight in zip(starts, weights):
            weight /= total[start : start + window]
        return list(zip(starts, weights.astype(np.float32)))


def _finite(traces):
    """Returns traces [n, samples] with zeros in those of NaN alone."""
    if traces.dtype.kind != "f":
        return traces
    damaged = ~np.isfinite(traces).all(axis=1)
    if (damaged & ~np.isnan(traces).all(axis=1)).any():
        raise ValueError("traces of which only some samples are finite")
    return np.where(damaged[:, None], np.zeros((), traces.dtype), traces)


def _spread(shape):
    """Returns the numbers of evenly spaced traces with two million samples, or of all."""
    wanted = max(1, 2_000_000 // shape[1])
    return np.unique(np.linspace(0, shape[0] - 1, wanted).astype(int))


def _to_network(image, axis, tile, size, method):
    """Returns the image with an axis at the network's resolution: `size` pixels for `tile`."""
    if method == "pad":
        padding = [(0, 0)] * image.ndim
        padding[axis] = (size - tile) // 2, size - tile - (size - tile) // 2
        return np.pad(image, padding, mode="reflect")
    old = image.shape[axis]
    n = max(1, -(-(2 * size * old - tile) // (2 * tile)))
    if method == "bilinear":
        return _interpolate(image, axis, n, size / tile)
    return image.take(np.minimum(_nearest(n, tile, size), old - 1), axis)


def _from_network(prob, axis, n, tile, size, method):
    """Returns the probabilities with an axis at n pixels, the inverse of `_to_network`."""
    if method == "pad":
        before = (size - tile) // 2
        return prob.take(np.arange(before, before + n), axis)
    if method == "bilinear":
        return _interpolate(prob, axis, n, tile / size)
    old = prob.shape[axis]
    if tile > size:
        return prob.take(np.minimum(_nearest(n, size, tile), old - 1), axis)
    # The mean of the copies of each pixel.
    copies = np.bincount(_nearest(old, tile, size), minlength=n)
    sums = np.add.reduceat(prob, np.cumsum(copies) - copies, axis)
    return sums / np.float32(copies if axis else copies[:, None])


def _interpolate(x, axis, n, scale):
    """Returns x with an axis at n pixels, `scale` times as fine; coarser ones are averages."""
    length, reach = x.shape[axis], max(1.0, 1 / scale)
    centre = (np.arange(n) + 0.5) / scale - 0.5
    first = np.ceil(centre - reach).astype(int)
    places = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 1)
    weights = np.maximum(0, 1 - np.abs(places - centre[:, None]) / reach)
    weights *= (places >= 0) & (places < length)
    weights[weights.sum(axis=1) == 0] = 1
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    shape = [1] * x.ndim
    shape[axis] = n
    total = np.zeros((), np.float32)
    for k in range(places.shape[1]):
        part = x.take(places[:, k], axis, mode="clip")
        total = total + part * weights[:, k].reshape(shape)
    return total


def _nearest(n, old, new):
    """Returns, for each pixel of a grid of `new` per tile, the nearest of `old` per tile."""
    return (2 * np.arange(n) + 1) * old // (2 * new)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python {sys.argv[0]} section.npy prob.npy")
    for path, there in zip(sys.argv[1:], (True, False)):
        if pathlib.Path(path).exists() != there:
            sys.exit(f"{path}: {'no such file' if there else 'exists already'}")
    np.save(sys.argv[2], Predictor().predict(np.load(sys.argv[1])))
