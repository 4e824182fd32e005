"""Networks as ONNX models of images, and the script that applies them to sections and volumes."""

import importlib.util
import json
import pathlib

import numpy as np

from saltjax.artifacts.jax_export import probabilities
from saltjax.inference import axes, onnx
from saltjax.inference.predictor import Predictor
from saltjax.networks.network import Network
from saltjax.seismic import amplitudes
from saltjax.system.errors import InputError

SCRIPT = pathlib.Path(__file__).with_name("standalone.py")


def has_script(network: Network) -> bool:
    """Returns whether `standalone` applies a network's ONNX model, to single sections."""
    return onnx.has_any_size(network) and not network.context


def convert(predictor: Predictor) -> bytes:
    """Returns an ONNX model of images float32[B, H, W, C], see `description.of_onnx`.

    Its metadata hold the settings that `standalone` needs.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise InputError(
            "exporting to ONNX needs jax2onnx and onnxruntime, and onnxruntime is not installed: "
            "pip install jax2onnx==0.13.0 onnxruntime"
        )
    model, network = predictor.section_model(), predictor.network
    if not onnx.has_any_size(network):
        size = network.image_size
        return onnx.convert(model, (1, size, size, network.channels))
    settings = {
        "threshold": predictor.threshold,
        "min_area": predictor.postprocessing.min_area,
        "tile": predictor.tile,
        "image_size": network.image_size,
        "resize": network.resize,
        "stride": network.stride,
        "channels": network.channels,
        "windows": axes.layout(network),
        "normalize": predictor.normalize,
        "percentile": amplitudes.PERCENTILE,
        "direction": predictor.direction,
    }
    return onnx.convert_any_size(model, {"saltjax": json.dumps(settings)})


def check(artifact: pathlib.Path, predictor: Predictor) -> float:
    """Returns the greatest difference of an ONNX model, run by onnxruntime, to the run.

    It is called on images, and by the script, if there is one, on a section.
    """
    import onnxruntime

    network, model = predictor.network, predictor.section_model()
    size, stride = network.image_size, network.stride
    shapes = [(1, size, size)]
    if onnx.has_any_size(network):
        size = -(-size // stride) * stride
        shapes = [(1, size, size), (3, size + stride, size)]
    session = onnxruntime.InferenceSession(str(artifact))
    differences = []
    for shape in shapes:
        image = np.random.default_rng(0).random((*shape, network.channels), np.float32)
        (prob,) = session.run(None, {"image": image})
        differences.append(np.abs(prob - probabilities(image, model)).max())
    if has_script(network):
        from saltjax.artifacts import standalone

        height, width = predictor.tile
        of_section = height + 3, 2 * width + 1
        section = np.random.default_rng(0).random(of_section, np.float32)
        found = standalone.Predictor(artifact).predict(section)
        differences.append(np.abs(found - predictor.predict(section)).max())
    return float(max(differences))
