"""--mode=export: a network as one file: for `jax.export` or ONNX, for OpendTect, or for saltjax."""

import pathlib
import shutil
import sys
from collections.abc import Sequence

import numpy as np

from saltjax.artifacts import description, jax_export, onnx_export, opendtect
from saltjax.artifacts.jax_export import probabilities
from saltjax.inference import predictor as predictors
from saltjax.inference.predictor import Predictor
from saltjax.networks import network as networks
from saltjax.runs import network_file, trained
from saltjax.runs.network_file import SUFFIX
from saltjax.system import console, devices, files, output_directory, signals
from saltjax.system.errors import InputError

ONNX, JAX = ".onnx", ".jaxexport"
# Files that may lie beside an artifact.
BESIDE = {JAX: (".json",), ONNX: (".json", ".py", ".h5"), SUFFIX: ()}
# What the script beside an ONNX model imports, and must not be called.
IMPORTED = {*sys.stdlib_module_names, "numpy", "onnxruntime"}
# Greatest difference of probabilities between the artifact and the run.
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2}
ONNX_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}


def export(
    workdir: pathlib.Path,
    output: str,
    dialect: str | None = None,
    tile: Sequence[str] | None = None,
) -> None:
    """Writes an artifact of `jax.export`, an ONNX model or a network file, and checks it.

    Beside the first two lies a JSON file, NAME.json, that describes them; beside an ONNX model of images
    the script NAME.py that applies it, and beside one for OpendTect its descriptor NAME.h5.

    Args:
      workdir: the trained network, as `trained.locate` takes it.
      output: a file that ends with .jaxexport, .onnx or .safetensors; or a directory for
        model.jaxexport.
      dialect: "opendtect": an ONNX model for its plug-in, see `artifacts.opendtect`; None for one of
        images.
      tile: traces and samples of the sections of the former, as text; None for those of training.

    Raises:
      InputError: for a mistake in run or output.
      RuntimeError: if the artifact cannot be called, or its probabilities differ from the run's.
    """
    if not output:
        raise InputError(
            "--mode=export needs --output, a directory or a file *.onnx, *.jaxexport or *.safetensors"
        )
    target = pathlib.Path(output)
    if target.suffix == ".h5":
        raise InputError(
            f"--output={output}: a .h5 file is written beside an ONNX model for OpendTect: give "
            f"--output={target.with_suffix(ONNX)} --dialect=opendtect"
        )
    kind = target.suffix.lower()
    if kind not in BESIDE:
        kind = JAX
        target /= f"model{JAX}"
    shape = parse_tile(tile, dialect)
    if dialect:
        if kind != ONNX:
            raise InputError(
                f"--dialect={dialect}: --output={output}; expected a file *.onnx"
            )
        opendtect.require()
    location = trained.locate(workdir)
    source = location.path
    try:
        with (
            signals.Pause(0),
            output_directory.claim(target.parent, "--output", source) as claimed,
            devices.on_the_cpu(),
        ):
            written = beside(location, target, kind, dialect)
            claimed.check([target, *written], inputs=[source])
            if kind == SUFFIX:
                _export_network_file(location, target, claimed)
            elif dialect:
                _export_to_opendtect(location, target, claimed, shape)
            elif kind == ONNX:
                _export_to_onnx(location, target, claimed)
            else:
                _export_to_jax(location, target, claimed)
            # Of an earlier export of that name, which would not fit.
            possible = (target.with_suffix(end) for end in BESIDE[kind])
            claimed.discard(set(possible) - set(written))
    except signals.Stopped as stopped:
        stopped.advice = f"{target} was not written; the same command starts again"
        raise


def beside(
    location: trained.Location, target: pathlib.Path, kind: str, dialect: str | None
) -> list[pathlib.Path]:
    """Returns the files that are written beside an artifact.

    Raises:
      InputError: if the script beside an ONNX model would have the name of a module that it imports.
    """
    if kind == SUFFIX:
        return []
    ends = [".json"]
    if dialect:
        ends.append(".h5")
    elif kind == ONNX and onnx_export.has_script(
        networks.create_network(location.config)
    ):
        if target.stem in IMPORTED:
            raise InputError(
                f"--output={target}: the script {target.stem}.py would be taken for Python's module of that "
                "name; choose another name"
            )
        ends.append(".py")
    return [target.with_suffix(end) for end in ends]


def _export_to_jax(
    location: trained.Location,
    target: pathlib.Path,
    claimed: output_directory.OutputDirectory,
) -> None:
    network = trained.read(location)
    predictor = predictors.create(network)
    model = predictor.section_model()
    artifact = jax_export.serialize(model)
    with claimed.write(target) as part:
        part.write_bytes(artifact)
        difference = jax_export.check(part, model)
        _refuse_difference(difference, TOLERANCE[predictor.precision])
        text = description.describe(predictor, network, target)
        files.write_json(target.with_suffix(".json"), text, claimed.write)
    _say_written(target, artifact, difference)


def _export_to_onnx(
    location: trained.Location,
    target: pathlib.Path,
    claimed: output_directory.OutputDirectory,
) -> None:
    network = trained.read(location)
    predictor = predictors.create(network)
    artifact, script = onnx_export.convert(predictor), target.with_suffix(".py")
    with claimed.write(target) as part:
        part.write_bytes(artifact)
        difference = onnx_export.check(part, predictor)
        _refuse_difference(difference, ONNX_TOLERANCE[predictor.precision])
        text = description.describe(predictor, network, target)
        text |= description.of_onnx(target, predictor.network)
        files.write_json(target.with_suffix(".json"), text, claimed.write)
    _say_written(target, artifact, difference)
    if onnx_export.has_script(predictor.network):
        with claimed.write(script) as part:
            shutil.copyfile(onnx_export.SCRIPT, part)
        console.say(
            f"           {script.name} applies it to sections and volumes, with numpy and onnxruntime "
            "alone"
        )


def _export_to_opendtect(
    location: trained.Location,
    target: pathlib.Path,
    claimed: output_directory.OutputDirectory,
    shape: tuple[int, int] | None,
) -> None:
    network = trained.read(location)
    # OpendTect takes float32.
    predictor = predictors.create(network, precision="float32")
    shape = shape or predictor.tile[::-1]
    opendtect.check(predictor, shape)
    artifact, descriptor = (
        opendtect.convert(predictor, shape),
        target.with_suffix(".h5"),
    )
    with claimed.write(target) as part:
        part.write_bytes(artifact)
        difference = opendtect.difference(part, predictor, shape)
        _refuse_difference(difference, ONNX_TOLERANCE["float32"])
        text = description.describe(predictor, network, target)
        text |= description.of_opendtect(target, predictor.network, shape)
        files.write_json(target.with_suffix(".json"), text, claimed.write)
    with claimed.write(descriptor) as part:
        opendtect.write_descriptor(part, target, target.stem, shape)
    _say_written(target, artifact, difference)
    console.say(
        f"           {descriptor.name} is what OpendTect opens; sections of {shape[0]} traces × "
        f"{shape[1]} samples"
    )


def _say_written(target: pathlib.Path, artifact: bytes, difference: float) -> None:
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
    there, here = (probabilities(image, p.section_model()) for p in (found, predictor))
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
