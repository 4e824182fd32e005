"""The JSON file beside an artifact, which describes its input and output."""

import pathlib
from typing import Any

import jax

from saltjax.artifacts import opendtect
from saltjax.artifacts.jax_export import PLATFORMS
from saltjax.inference.onnx import has_any_size
from saltjax.inference.predictor import Predictor
from saltjax.networks import resize
from saltjax.networks.network import Network, count_parameters
from saltjax.runs.network_file import TrainedNetwork


def describe(
    predictor: Predictor, network: TrainedNetwork, artifact: pathlib.Path
) -> dict[str, Any]:
    """Returns the description of a network's artifact of `jax.export`, or with `of_onnx` of another."""
    return {
        "run": network.name,
        "call": (
            f"jax.export.deserialize(bytearray(open({artifact.name!r}, 'rb').read())).call(image)"
        ),
        "image": (
            f"float32[B, H, W, {predictor.network.channels}] in [0, 1], any B, H and W"
        ),
        "channels": describe_channels(
            predictor.network.context, network.config.data.direction
        ),
        "output": "float32[B, H, W], probabilities of salt",
        "scale": describe_scale(predictor.network, predictor.tile),
        "platforms": list(PLATFORMS),
        "threshold": predictor.threshold,
        "min_area": predictor.postprocessing.min_area,
        "tta": predictor.tta,
        "mirror_images": (
            "the model averages each image with its mirror image"
            if predictor.tta
            else "not averaged"
        ),
        "parameters": count_parameters(predictor.variables["params"]),
        "jax": jax.__version__,
        "config": network.config.to_dict(),
    }


def describe_channels(context: int, direction: str) -> str:
    """Returns what the channels of an image are for a network of that `data.context`."""
    if not context:
        return "those of a colour image; grey sections have three equal channels"
    line = "inline or crossline" if direction == "both" else direction
    return (
        f"channel {context}, counted from 0, is the section; those before it are the {context} "
        f"sections before it in the order of {line} numbers, and those after it the {context} after "
        "it. Where one of them has no live trace, it has that of the next section towards channel "
        f"{context}; a section without neighbours is all {2 * context + 1} channels"
    )


def describe_scale(network: Network, tile: tuple[int, int]) -> str:
    """Returns how a section becomes an image for a network that was trained on tiles of that size."""
    size, (height, width) = network.image_size, tile
    trained_on = (
        f"the network was trained on tiles of {height} rows and {width} columns, "
    )
    if network.resize != "pad":
        return trained_on + (
            f"resized to {size}×{size} pixels by resize={network.resize}; resize sections by the "
            "same factors"
        )
    (top, bottom), (left, right) = (resize.margins(n, size) for n in tile)
    return trained_on + (
        f"mirrored at their edges to {size}×{size} pixels; do not resize sections, but mirror them "
        f"by {top} rows above, {bottom} below, {left} columns to the left and {right} to the right "
        "(numpy.pad, mode='reflect'), and cut these off the output"
    )


def of_onnx(path: pathlib.Path, network: Network) -> dict[str, Any]:
    """Returns the entries of an ONNX model's description that replace those of `describe`."""
    size, stride = str(network.image_size), network.stride
    shape, sizes = f"1, {size}, {size}", ""
    if has_any_size(network):
        shape, sizes = "B, H, W", f", any B; H and W multiples of {stride}"
    return {
        "call": _call(path, "image"),
        "image": f"float32[{shape}, {network.channels}] in [0, 1]{sizes}",
        "output": f"float32[{shape}], probabilities of salt",
        "platforms": ["onnx"],
    }


def of_opendtect(
    path: pathlib.Path, network: Network, shape: tuple[int, int]
) -> dict[str, Any]:
    """Returns as `of_onnx` those of a model for OpendTect, of sections (traces, samples)."""
    batch, sizes = ("B", ", any B") if has_any_size(network) else ("1", "")
    section = f"[{batch}, 1, {shape[0]}, {shape[1]}]"
    return {
        "call": _call(path, opendtect.INPUT),
        "image": f"float32{section} amplitudes{sizes}; {shape[0]} traces of {shape[1]} samples",
        "channels": "one, of amplitudes, which the model scales",
        "output": f"float32{section}, probabilities of salt",
        "scale": "the model resizes or mirrors sections as in training",
        "platforms": ["onnx"],
    }


def _call(path: pathlib.Path, name: str) -> str:
    return (
        f"onnxruntime.InferenceSession({path.name!r}).run(None, {{'{name}': image}})[0]"
    )
