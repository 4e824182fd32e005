"""Networks for the machine-learning plug-in of OpendTect: an ONNX model of amplitudes, and its descriptor.

The rules are those of the plug-in's Python package, dgbpy (https://github.com/OpendTect/dgbpy), in its
modules `hdf5`, `dgbonnx` and `mlapply`.
"""

import datetime
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.inference import onnx
from saltjax.inference.predictor import Predictor
from saltjax.networks import resize
from saltjax.networks.network import predict
from saltjax.seismic.amplitudes import MAX_SAMPLES, PERCENTILE
from saltjax.system.errors import InputError

# OpendTect's undefined value is 1e30.
UNDEFINED = 1e29
# Of that type, since jax2onnx would make float64 of a plain number in `jnp.where`.
ZERO, ONE, LARGE = np.float32(0), np.float32(1), np.float32(1e30)
INPUT = "amplitudes"
METADATA = {"data_format": "channels_first", "scaling_type": "None"}
VERSION = 1
OUTPUT = "Probability of salt"
INFO = "++info++"


def require() -> None:
    """Raises InputError if a package is not installed that an export needs."""
    for name in ("jax2onnx", "onnxruntime", "h5py"):
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"--dialect=opendtect needs jax2onnx, onnxruntime and h5py, and {name} is not installed: "
                "pip install jax2onnx==0.13.0 onnxruntime h5py"
            )


def check(predictor: Predictor, shape: tuple[int, int]) -> None:
    """Raises InputError if a network cannot be applied to sections (traces, samples) of a shape."""
    if predictor.network.context:
        raise InputError(
            f"{predictor.workdir}: a network of several lines (data.context="
            f"{predictor.network.context}); OpendTect gives it one section: train with data.context=0"
        )
    # Of more samples `predict` would estimate the range from a part.
    if min(shape) < 8 or shape[0] * shape[1] > MAX_SAMPLES:
        raise InputError(
            f"--tile={shape[0]},{shape[1]}; expected traces and samples, at least 8 of each, and in all at "
            f"most {MAX_SAMPLES} samples"
        )
    if predictor.network.receptive_radius is None and shape != predictor.tile[::-1]:
        # Group norm: the probabilities depend on the whole window.
        traces, samples = predictor.tile[::-1]
        raise InputError(
            f"--tile={shape[0]},{shape[1]}; this network, with group norm, is applied to windows of its "
            f"training size: {traces},{samples}"
        )


def probabilities(amplitudes: jax.Array, predictor: Predictor) -> jax.Array:
    """Returns the probabilities of salt float32[B, 1, traces, samples] of sections of that shape.

    They are those of `Predictor.predict` for each section: its own range of amplitudes scales it.
    Amplitudes that are NaN, or undefined in OpendTect, count as 0. With predict.normalize=none those that
    are not in [0, 1] are clipped.
    """
    network, model = predictor.network, predictor.section_model()
    amplitudes = jnp.where(jnp.abs(amplitudes) < UNDEFINED, amplitudes, ZERO)
    section = jnp.transpose(amplitudes, (0, 3, 2, 1))
    live = jnp.any(section != 0, axis=1, keepdims=True)
    options = predictor.tile, network.image_size, network.resize
    image = jnp.asarray(
        resize.image_to_network(to_unit(section, live, predictor.normalize), *options)
    )
    height, width = image.shape[1:3]
    down, right = -height % network.stride, -width % network.stride
    padding = ((0, 0), (0, down), (0, right), (0, 0))
    # As `windows.Canvas` pads sections to a multiple of the stride.
    image = jnp.pad(image, padding, mode="symmetric") if down or right else image
    prob = predict(
        model.variables,
        image,
        model=network.model,
        channels=network.channels,
        tta=model.tta,
    )
    prob = prob[:, :height, :width, None]
    native = resize.probability_to_native(prob, section.shape[1:3], *options)
    return jnp.transpose(jnp.clip(native, 0, 1) * live, (0, 3, 2, 1))


def to_unit(section: jax.Array, live: jax.Array, normalize: str) -> jax.Array:
    """Returns sections [B, H, W, 1] scaled to [0, 1] by their own range, see `amplitudes.estimate`.

    Args:
      section: float32[B, H, W, 1].
      live: bool[B, 1, W, 1], False for dead traces, which do not enter the range.
      normalize: "clip", "minmax" or "none".
    """
    axes = (1, 2, 3)
    if normalize == "none":
        return jnp.clip(section, 0, 1)
    if normalize == "minmax":
        low = jnp.min(jnp.where(live, section, LARGE), axes, keepdims=True)
        high = jnp.max(jnp.where(live, section, -LARGE), axes, keepdims=True)
    else:
        high = _percentile(section, live)
        low = -high
    width = jnp.where(high > low, high - low, ONE)
    return jnp.where(high > low, jnp.clip((section - low) / width, 0, 1), ZERO)


def _percentile(section: jax.Array, live: jax.Array) -> jax.Array:
    """Returns the percentile of the absolute amplitudes of live traces, [B, 1, 1, 1].

    It is interpolated linearly, as by `numpy.percentile`; if it is 0, the largest takes its place.
    """
    count = section.shape[1] * section.shape[2]
    # Dead traces come first, and are not counted.
    size = jnp.where(live, jnp.abs(section), -ONE).reshape((-1, count))
    size = jnp.sort(size, axis=1)
    alive = jnp.sum(live, axis=(1, 2, 3)) * section.shape[1]
    place = count - alive + PERCENTILE / 100 * (jnp.maximum(alive, 1) - 1)
    below = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, count - 1)
    above = jnp.minimum(below + 1, count - 1)
    share = (place - below)[:, None]
    values = [jnp.take_along_axis(size, i[:, None], axis=1) for i in (below, above)]
    found = values[0] * (1 - share) + values[1] * share
    return jnp.where(found > 0, found, size[:, -1:])[:, :, None, None]


def convert(predictor: Predictor, shape: tuple[int, int]) -> bytes:
    """Returns the ONNX model of `probabilities` for sections (traces, samples) of a shape.

    Raises:
      InputError: if the network cannot be converted.
    """
    created = datetime.datetime.now(datetime.UTC).strftime("%m/%d/%Y, %H:%M:%S")
    return onnx.to_onnx(
        lambda amplitudes: probabilities(amplitudes, predictor),
        ("B" if onnx.has_any_size(predictor.network) else 1, 1, *shape),
        INPUT,
        METADATA | {"creation_date": created, "model_version": str(VERSION)},
        VERSION,
    )


def difference(
    model: pathlib.Path, predictor: Predictor, shape: tuple[int, int]
) -> float:
    """Returns the greatest difference of a model, run by onnxruntime, to `Predictor.predict`.

    It is called on sections (traces, samples) of a shape, the second one with dead traces.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model))
    sections = np.random.default_rng(0).normal(0, 1000, (2, *shape)).astype(np.float32)
    if predictor.normalize == "none":
        sections = np.clip(np.abs(sections) / 4000, 0, 1)
    sections[1, : shape[0] // 4] = 0
    differences = []
    for section in sections:
        (found,) = session.run(None, {INPUT: section[None, None]})
        differences.append(np.abs(found[0, 0] - predictor.predict(section.T).T).max())
    return float(max(differences))


def write_descriptor(
    path: pathlib.Path, model: pathlib.Path, name: str, shape: tuple[int, int]
) -> None:
    """Writes the HDF5 file by which OpendTect finds and applies a model.

    Texts are byte strings, and lists of numbers texts with ` between, as dgbpy writes them.

    Args:
      path: the file.
      model: the ONNX model, which is looked for beside the file.
      name: of the model in OpendTect.
      shape: traces and samples.
    """
    import h5py

    section = f"1`{shape[0]}`{shape[1]}"
    attributes = {
        "Type": "Seismic Image Transformation",
        "Content": "Continuous Data",
        "Version": str(VERSION),
        "Model.Name": name,
        "Model.Type": "onnx",
        "Model.Class": "saltjax",
        "Model.Output.Size": "1",
        "Model.Output.0.Name": OUTPUT,
        "Input.Shape": section,
        "Output.Shape": section,
        # Without this entry dgbpy scales its input.
        "Input.Scaling.Type": "None",
        "Output.Unscale": "No",
        "Edge extrapolation": "Yes",
        "Input.Size": "1",
        "Input.0.Name": "Seismic",
        "Input.0.Survey": "",
        "Input.0.Size": "1",
        "Input.0.0.Name": "Seismic",
        "Examples.Size": "1",
        "Examples.0.Name": "Salt",
        "Examples.0.Survey": "",
        "Examples.0.Target": OUTPUT,
        "Examples.0.Size": "1",
        "Examples.0.0.Name": "Seismic",
        "Examples.0.0.ID": "",
    }
    with h5py.File(path, "w", libver=("v110", "latest")) as file:
        info = file.create_dataset(INFO, dtype="S1")
        for key, value in attributes.items():
            info.attrs[key] = np.bytes_(value.encode())
        group = file.create_group("model")
        group.attrs["type"] = np.bytes_(b"onnx")
        group.attrs["path"] = np.bytes_(model.name.encode())
