"""The command that is sensible after one has ended, printed as its last line."""

import csv
import pathlib
import shlex
import sys
from collections.abc import Sequence

from absl import flags

from saltjax import options
from saltjax.runs import environment, saved_config
from saltjax.system import console, locks

FLAGS = flags.FLAGS
PAGE = "report.html"
# Flags of a command that the next one takes too.
REPEATED = (
    "threshold",
    "min_area",
    "tta",
    "header_bytes",
    "lines",
    "scale",
    "direction",
    "normalize",
    "bodies",
    "min_body",
    "unlabelled",
    "engine",
    "precision",
    "reference",
)


def say(mode: str, places: Sequence[pathlib.Path]) -> None:
    """Prints the command that is sensible after a mode has ended well.

    Args:
      mode: what has ended, with the flags of the command line.
      places: the trained networks or run directories that it took; of `compare` that of the runs.
    """
    try:
        command = find(mode, places)
    except (
        Exception
    ):  # of a damaged file, or one of others: what ended well is not to fail for it
        return
    console.say(f"Next       {command}")


def find(mode: str, places: Sequence[pathlib.Path]) -> str:
    """Returns the command that `say` prints.

    Raises:
      Exception: of any kind, if files that it depends on are not as expected.
    """
    match mode:
        case "check":
            return training(sys.argv[1:])
        case "train":
            words = _after_training(places[0])
        case "evaluate":
            words = _after_evaluation(places)
        case "predict" if FLAGS.report:
            return _look_at_page()
        case "predict":
            words = _after_prediction(places)
        case "compare":
            words = _flags("report", workdir=places[0]) + _repeated("report")
        case "report" if not (places[0] / "config.json").exists():
            words = _after_comparison(places[0])
        case "report" if not (places[0] / "result.json").exists():
            return _unfinished(places[0])
        case "report":
            words = _compare_or_export(places[0])
        case "export":
            target = pathlib.Path(FLAGS.output)
            suffix = target.suffix.lower()
            if suffix != ".safetensors":
                described = target.with_suffix(".json")
                if suffix not in (".onnx", ".jaxexport"):
                    described = target / "model.json"
                python = environment.python()
                return f"{python} -m json.tool {shlex.quote(str(described))}"
            words = _apply(target, places[0])
    return _command(words)


def training(arguments: Sequence[str], others: Sequence[str] = ("mode",)) -> str:
    """Returns the command that trains with these flags but for the others, which have values."""
    words, rest = [], iter(arguments)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name.lstrip("-") not in others:
            words.append(word)
        elif not equals:
            next(rest)
    if any(word.lstrip("-").startswith("flagfile") for word in words):
        words.append("--mode=train")  # the file may hold another one
    return _command(environment.last_of_each(words))


def _command(words: Sequence[str]) -> str:
    return " ".join([environment.program(), *map(shlex.quote, words)])


def _flags(mode: str, **values: object) -> list[str]:
    return [f"--mode={mode}", *(f"--{k}={v}" for k, v in values.items())]


def _after_training(run: pathlib.Path) -> list[str]:
    if not (run / PAGE).exists():
        return _flags("report", workdir=run)
    if unlabelled := _unlabelled(run):
        return _predict(run, unlabelled, run)
    return _compare_or_export(run)


def _after_evaluation(networks: Sequence[pathlib.Path]) -> list[str]:
    network = networks[0]
    if len(networks) > 1 and all(path.is_dir() for path in networks):
        # Compared with each of them alone.
        return _flags("compare", workdir=network.parent)
    target = pathlib.Path(FLAGS.output or network)
    source = FLAGS.input or _unlabelled(network)
    predicted = (target.parent / "submission.csv").exists()  # what was scored
    if source and not predicted:
        return _predict(network, source, target) + _repeated("predict")
    if _others(network):
        return _flags("compare", workdir=network.parent)
    if not network.is_dir():
        return [*_flags("predict", workdir=network), "--help"]
    return _flags("report", workdir=network)


def _after_prediction(networks: Sequence[pathlib.Path]) -> list[str]:
    from saltjax import predict  # imported already, by the mode that has ended

    source = pathlib.Path(FLAGS.input)
    first = predict.first_input(FLAGS.output, FLAGS.input)
    if not first.images or first.path.is_file():
        # A section is looked at: the same command, and a page.
        paths = [f"--input={FLAGS.input}", f"--output={FLAGS.output}"]
        repeated = _repeated("predict")
        given = [f"--workdir={FLAGS.workdir}", *paths, *repeated, "--report"]
        return ["--mode=predict", *given]
    # Scores are those of masks that are made in the same way, which `evaluate` cannot at another scale.
    scored = (source / "masks").is_dir() and not FLAGS.scale
    if len(networks) == 1 and scored:
        output = pathlib.Path(FLAGS.output) / "scores"
        words = _flags("evaluate", workdir=networks[0], input=source, output=output)
        return words + _repeated("evaluate")
    if len(networks) == 1 and networks[0].is_dir():
        return _flags("report", workdir=networks[0])
    if all(path.is_dir() for path in networks):
        return _flags("compare", workdir=networks[0].parent)
    return [*_flags("predict"), "--help"]


def _look_at_page() -> str:
    """Returns the command that opens the page of a prediction: all else about it is in there."""
    from saltjax import predict  # imported already, by the mode that has ended

    page = predict.page_path(
        FLAGS.output, predict.first_input(FLAGS.output, FLAGS.input)
    )
    address = shlex.quote(page.resolve().as_uri())
    return f"{environment.python()} -m webbrowser {address}"


def _after_comparison(folder: pathlib.Path) -> list[str]:
    """Returns the flags after the report of several runs: they export the first in compare.csv."""
    table = folder / "compare.csv"
    if not table.exists():
        return _flags("compare", workdir=folder) + _repeated("compare")
    with table.open(encoding="utf-8", newline="") as file:
        run = next(csv.DictReader(file))["run"]
    file_name = folder / f"{run}.safetensors"
    return _flags("export", workdir=folder / run, output=file_name)


def _compare_or_export(run: pathlib.Path) -> list[str]:
    """Returns the flags that compare a finished run with others beside it, or export one alone."""
    if _others(run):
        return _flags("compare", workdir=run.parent)
    file = run.resolve().name + ".safetensors"
    return _flags("export", workdir=run, output=run.parent / file)


def _apply(network: pathlib.Path, source: pathlib.Path) -> list[str]:
    """Returns the flags that apply a network file, which was made of another network."""
    if unlabelled := _unlabelled(source):
        return _predict(network, unlabelled, network.with_suffix(""))
    return [*_flags("predict", workdir=network), "--help"]


def _predict(
    network: pathlib.Path, source: str | pathlib.Path, target: pathlib.Path
) -> list[str]:
    output = target / "predictions"
    return _flags("predict", workdir=network, input=source, output=output)


def _repeated(mode: str) -> list[str]:
    """Returns the flags of REPEATED that a mode takes, as they were given."""
    return [
        FLAGS[name].serialize()
        for name in REPEATED
        if FLAGS[name].present and options.takes(mode, name)
    ]


def _unfinished(run: pathlib.Path) -> str:
    """Returns the command that goes on with an interrupted run, or looks at one in training again."""
    starts = environment.read(run)
    if locks.is_locked(run) or not starts:
        return _command(_flags("report", workdir=run))
    _, *command = environment.resuming(starts[-1]["command"])
    return _command(environment.last_of_each([*command, f"--workdir={run}"]))


def _unlabelled(run: pathlib.Path) -> pathlib.Path | None:
    """Returns what a run is applied to: its volume, or PNGs in `test` beside its directory of tiles."""
    if not (run / "config.json").exists():
        return None  # a network file
    data = saved_config.read_json(run).get("data", {})
    if volume := data.get("volume"):
        path = pathlib.Path(volume)
        return path if path.exists() else None
    folder = data.get("dir")
    test = pathlib.Path(folder or "").parent / "test"
    # Imported here, and with it numpy, which --help does without.
    from saltjax.data import image_file

    for directory in (test, test / "images"):
        if folder and directory.is_dir() and image_file.find(directory)[0]:
            return test
    return None


def _others(run: pathlib.Path) -> bool:
    """Returns whether there are other finished runs beside a run."""
    paths = run.resolve().parent.glob("*/result.json")
    return any(path.parent.name != run.resolve().name for path in paths)
