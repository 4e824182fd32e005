"""--mode=export: a network as one file: for `jax.export` or ONNX, or for saltjax itself."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.inference import onnx, opendtect
from saltjax.inference import predictor as predictors
from saltjax.inference.predictor import Predictor
from saltjax.inference.windows import SectionModel
from saltjax.networks import resize
from saltjax.networks.network import Network, count_parameters, predict_step
from saltjax.runs import network_file, trained
from saltjax.runs.network_file import SUFFIX, TrainedNetwork
from saltjax.system import console, devices, files, output_directory, signals
from saltjax.system.errors import InputError

PLATFORMS = ("cpu", "cuda", "tpu")
# Greatest difference of probabilities between the artifact and the run.
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2}
# Calls the artifact as a user does, and prints whether that imported saltjax.
CALL = """
import sys
import jax
import numpy as np
exported = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
images = np.load(sys.argv[2])
np.savez(sys.argv[3], **{name: exported.call(images[name]) for name in images.files})
print("saltjax" in sys.modules)
"""


def export(
    workdir: pathlib.Path,
    output: str,
    dialect: str | None = None,
    tile: Sequence[str] | None = None,
) -> None:
    """Writes model.jaxexport, an ONNX model or a network file, and checks it against the run.

    A JSON file of the same name, model.json for model.jaxexport, describes the first two.

    Args:
      workdir: the trained network, as `trained.locate` takes it.
      output: a directory for model.jaxexport; or a file that ends with .onnx or .safetensors.
      dialect: "opendtect": an ONNX model for its plug-in, with a descriptor, see
        `inference.opendtect`; None for one of images.
      tile: traces and samples of the sections of the former, as text; None for those of training.

    Raises:
      InputError: for a mistake in run or output.
      RuntimeError: if the artifact cannot be called, or its probabilities differ from the run's.
    """
    if not output:
        raise InputError(
            "--mode=export needs --output, a directory or a file *.onnx or *.safetensors"
        )
    target = pathlib.Path(output)
    shape = parse_tile(tile, dialect)
    if dialect and target.suffix != ".onnx":
        raise InputError(
            f"--dialect={dialect}: --output={output}; expected a file *.onnx"
        )
    if target.suffix not in (".onnx", SUFFIX):
        target /= "model.jaxexport"
    written = [target]
    if target.suffix != SUFFIX:
        written.append(target.with_suffix(".json"))
    if dialect:
        opendtect.require()
        written.append(target.with_suffix(".h5"))
    location = trained.locate(workdir)
    source = location.path
    try:
        with (
            signals.Pause(0),
            output_directory.claim(target.parent, "--output", source) as claimed,
            devices.on_the_cpu(),
        ):
            claimed.check(written, inputs=[source])
            if target.suffix == SUFFIX:
                _export_network_file(location, target, claimed)
            elif dialect:
                _export_to_opendtect(location, target, claimed, shape)
            else:
                _export(location, target, claimed)
    except signals.Stopped as stopped:
        stopped.advice = f"{target} was not written; the same command starts again"
        raise


def _export(
    location: trained.Location,
    target: pathlib.Path,
    claimed: output_directory.OutputDirectory,
) -> None:
    network = trained.read(location)
    predictor = predictors.create(network)
    model = predictor.section_model()
    description = describe(predictor, network)
    tolerance = TOLERANCE[network.config.train.dtype]
    if target.suffix == ".onnx":
        description |= describe_onnx(target, predictor.network)
        artifact, compare = to_onnx(model), check_onnx
        tolerance *= 10
    else:
        artifact, compare = serialize(model), check
    with claimed.write(target) as part:
        part.write_bytes(artifact)
        difference = compare(part, model)
        _refuse_difference(difference, tolerance)
        files.write_json(target.with_suffix(".json"), description, claimed.write)
    console.say(
        f"Checked    without the model's code: differs by {difference:.1e} from the run"
    )
    console.say(
        f"Written    {target}, {size_text(len(artifact))}; {target.stem}.json describes its "
        "input and output"
    )


def _export_network_file(
    location: trained.Location,
    target: pathlib.Path,
    claimed: output_directory.OutputDirectory,
) -> None:
    network = trained.read(location)
    content = network_file.encode(network, trained.read_starts(location))
    with claimed.write(target) as part:
        part.write_bytes(content)
        difference = check_network_file(part, predictors.create(network))
        _refuse_difference(difference, 0.0)
    console.say("Checked    read again: the same probabilities as the run's")
    console.say(
        f"Written    {target}, {size_text(len(content))}: --workdir={target} predicts, evaluates "
        "and exports with it, and train.init_from starts from it"
    )


def _export_to_opendtect(
    location: trained.Location,
    target: pathlib.Path,
    claimed: output_directory.OutputDirectory,
    shape: tuple[int, int] | None,
) -> None:
    network = trained.read(location)
    predictor = predictors.create(network, precision="float32")
    height, width = predictor.tile
    shape = shape or (width, height)
    opendtect.check(predictor, shape)
    artifact = opendtect.convert(predictor, shape)
    descriptor, section = target.with_suffix(".h5"), f"[B, 1, {shape[0]}, {shape[1]}]"
    description = describe(predictor, network)
    # The model resizes, mirrors and scales by itself.
    for key in ("channels", "scale", "platforms"):
        del description[key]
    description |= {
        "call": (
            f"onnxruntime.InferenceSession({target.name!r}).run(None, {{'{opendtect.INPUT}': a}})[0]"
        ),
        "image": f"float32{section} amplitudes, any B; {shape[0]} traces of {shape[1]} samples",
        "output": f"float32{section}, probabilities of salt",
    }
    with claimed.write(target) as part, claimed.write(descriptor) as part_descriptor:
        part.write_bytes(artifact)
        difference = opendtect.difference(part, predictor, shape)
        _refuse_difference(difference, 1e-4)
        opendtect.write_descriptor(part_descriptor, target, target.stem, shape)
        files.write_json(target.with_suffix(".json"), description, claimed.write)
    console.say(f"Checked    by onnxruntime: differs by {difference:.1e} from the run")
    console.say(
        f"Written    {target}, {size_text(len(artifact))}, for sections of {shape[0]} traces × "
        f"{shape[1]} samples; {descriptor.name} is what OpendTect opens, and {target.stem}.json "
        "describes input and output"
    )


def parse_tile(
    given: Sequence[str] | None, dialect: str | None
) -> tuple[int, int] | None:
    """Returns --tile as traces and samples; None if it is not given.

    Raises:
      InputError: if it is no two numbers, or there is no --dialect.
    """
    if given is None:
        return None
    if dialect is None:
        raise InputError(
            f"--tile={','.join(given)} is of --dialect, which is not given"
        )
    if len(given) != 2 or not all(n.isascii() and n.isdecimal() for n in given):
        raise InputError(
            f"--tile={','.join(given)}; expected traces and samples, as 256,512"
        )
    return int(given[0]), int(given[1])


def check_network_file(path: pathlib.Path, predictor: Predictor) -> float:
    """Returns the greatest difference between a network file's probabilities and the run's.

    Raises:
      RuntimeError: if the file has another threshold or minimum component size.
    """
    found = predictors.create(network_file.read(path))
    if found.postprocessing != predictor.postprocessing:
        raise RuntimeError(
            f"the file has {found.postprocessing}, and the run {predictor.postprocessing}"
        )
    size, channels = predictor.network.image_size, predictor.network.channels
    image = np.random.default_rng(0).random((2, size, size, channels), np.float32)
    there, here = (_probabilities(image, p.section_model()) for p in (found, predictor))
    return float(np.abs(there - here).max())


def _refuse_difference(difference: float, tolerance: float) -> None:
    """Raises RuntimeError if an artifact's probabilities differ too much from the run's."""
    if not difference <= tolerance:
        raise RuntimeError(
            f"the artifact's probabilities differ from the run's by {difference:.1e}"
        )


def size_text(size: int) -> str:
    """Returns a number of bytes in MB, of small files in kB.

    >>> size_text(98_200), size_text(8_250_000)
    ('98.2 kB', '8.2 MB')
    """
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def serialize(model: SectionModel) -> bytes:
    """Returns the artifact: weights and function of images float32[B, H, W, C], any B, H, W."""
    shape = (*jax.export.symbolic_shape("b, h, w"), model.network.channels)
    predict = jax.jit(lambda image: _probabilities(image, model))
    exported = jax.export.export(predict, platforms=PLATFORMS)(
        jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    try:
        return bytes(exported.serialize())
    except ImportError:
        raise InputError(
            "exporting needs flatbuffers, which is not installed: pip install flatbuffers"
        ) from None


def check(artifact: pathlib.Path, model: SectionModel) -> float:
    """Returns the greatest difference of the artifact, called in a separate process, to the run.

    Both compute on the CPU. It is called on two images of the network's training size, and on one
    whose height and width are no multiples of the stride.
    """
    size, odd = model.network.image_size, model.network.stride + 1
    channels = model.network.channels
    rng = np.random.default_rng(0)
    images = {
        "tiles": rng.random((2, size, size, channels), np.float32),
        "odd": rng.random((1, size + odd, size - odd // 2, channels), np.float32),
    }
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = (
            os.path.join(scratch, name) for name in ("in.npz", "out.npz")
        )
        np.savez(inputs, allow_pickle=False, **images)
        command = [
            sys.executable,
            "-P",
            "-c",
            CALL,
            str(artifact.absolute()),
            inputs,
            outputs,
        ]
        done = subprocess.run(
            command,
            check=False,
            cwd=scratch,
            # Another device may be in use by this process, or have no memory left.
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        if done.returncode or done.stdout.strip() != "False":
            raise RuntimeError(f"the artifact cannot be called: {done.stderr}")
        with np.load(outputs) as probs:
            return max(
                float(np.abs(probs[name] - _probabilities(image, model)).max())
                for name, image in images.items()
            )


def _probabilities(image: np.ndarray, model: SectionModel) -> np.ndarray:
    return predict_step(
        model.variables,
        image,
        model=model.network.model,
        channels=model.network.channels,
        tta=model.tta,
    )


def to_onnx(model: SectionModel) -> bytes:
    """Returns an ONNX model of images float32[B, S, S, C], S the network's image_size, any B."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise InputError(
            "exporting to ONNX needs jax2onnx and onnxruntime, and onnxruntime is not installed: "
            "pip install jax2onnx==0.13.0 onnxruntime"
        )
    size = model.network.image_size
    return onnx.convert(model, ("B", size, size, model.network.channels))


def check_onnx(artifact: pathlib.Path, model: SectionModel) -> float:
    """Returns the greatest difference of an ONNX model, run by onnxruntime, to the run."""
    import onnxruntime

    size, channels = model.network.image_size, model.network.channels
    session = onnxruntime.InferenceSession(str(artifact))
    differences = []
    for batch in (1, 3):
        shape = (batch, size, size, channels)
        image = np.random.default_rng(batch).random(shape, np.float32)
        (prob,) = session.run(None, {"image": image})
        differences.append(float(np.abs(prob - _probabilities(image, model)).max()))
    return max(differences)


def describe(predictor: Predictor, network: TrainedNetwork) -> dict[str, Any]:
    """Returns the content of model.json for a network and its predictor."""
    return {
        "run": network.name,
        "call": (
            "jax.export.deserialize(bytearray(open('model.jaxexport', 'rb').read())).call(image)"
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


def describe_onnx(path: pathlib.Path, network: Network) -> dict[str, str]:
    """Returns the entries of an ONNX model's description that replace those of `describe`."""
    size = network.image_size
    return {
        "call": f"onnxruntime.InferenceSession({path.name!r}).run(None, {{'image': image}})[0]",
        "image": f"float32[B, {size}, {size}, {network.channels}] in [0, 1], any B",
        "output": f"float32[B, {size}, {size}], probabilities of salt",
    }
