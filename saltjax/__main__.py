"""Trains, evaluates, compares and applies networks that segment salt in seismic images.

saltjax --config=unet_strided --config.model.skip=False
"""

if __name__ == "__main__":
    from saltjax.system import signals

    signals.end_at_once()  # before the imports below, which take half a second

import os
import pathlib
from collections.abc import Callable
from typing import Any

from absl import flags
from ml_collections import config_flags

from saltjax import commandline
from saltjax.runs import names
from saltjax.system.errors import InputError

FLAGS = flags.FLAGS
# The flags besides --config and --mode: how each is defined, its default, the modes that take it,
# and its help.
TABLE: dict[str, tuple[Callable[..., Any], Any, tuple[str, ...], str]] = {
    "workdir": (
        flags.DEFINE_string,
        "",
        ("train", "check", "evaluate", "predict", "compare", "report", "export"),
        "The run directory; evaluate, predict, export: or a network file *.safetensors, or the name "
        "of a packaged network; predict: or several, as a,b,c, whose probabilities are averaged; "
        "compare: the directory that holds the runs.",
    ),
    "overwrite": (
        flags.DEFINE_boolean,
        False,
        ("train",),
        "train: start again, deleting the run in the directory.",
    ),
    "input": (
        flags.DEFINE_string,
        "",
        ("evaluate", "predict"),
        "evaluate: a directory with images and masks, by default the run's own test tiles; "
        "predict: a PNG, a directory of them, a .npy, .sgy or .segy.",
    ),
    "output": (
        flags.DEFINE_string,
        "",
        ("evaluate", "predict", "export", "compare"),
        "The directory to write to; evaluate, compare: by default --workdir; export: or a file "
        "*.onnx or *.safetensors.",
    ),
    "reference": (
        flags.DEFINE_string,
        "",
        ("compare",),
        "compare: the run that differences of scores are taken to, by default the one with the "
        "best validation score on the same test tiles; previous: of each the one before it by name.",
    ),
    "threshold": (
        flags.DEFINE_float,
        None,
        ("evaluate", "predict"),
        "evaluate, predict: the probability at and above which a pixel is salt; by default the run's.",
    ),
    "min_area": (
        flags.DEFINE_integer,
        None,
        ("evaluate", "predict"),
        "evaluate, predict: the least pixels of a connected component of salt; smaller ones are "
        "removed from the mask; by default the run's.",
    ),
    "header_bytes": (
        flags.DEFINE_list,
        None,
        ("predict",),
        "predict: first bytes of inline and crossline numbers in the trace headers of SEG-Y, as "
        "9,21; by default the run's.",
    ),
    "tta": (
        flags.DEFINE_boolean,
        None,
        ("evaluate", "predict"),
        "evaluate, predict: average the probabilities of a tile and its mirror image; by default "
        "as in the run's config.",
    ),
}
MODES = ("train", "check", "evaluate", "predict", "compare", "report", "export")


def define_flags() -> None:
    """Defines the flags besides --config."""
    flags.DEFINE_enum("mode", "train", MODES, "What to do.")
    for name, (define, default, _, text) in TABLE.items():
        define(name, default, text)


def dispatch() -> None:
    """Runs the mode of --mode, and imports only its module."""
    mode, workdir = FLAGS.mode, pathlib.Path(FLAGS.workdir)
    for name, (_, _, modes, _) in TABLE.items():
        if FLAGS[name].present and mode not in modes:
            raise InputError(f"--mode={mode} takes no --{name}")
    if mode in ("train", "check"):
        config = commandline.required_config()
        workdir = workdir if FLAGS.workdir else default_workdir()
    elif FLAGS["config"].present:
        raise InputError(
            f"--mode={mode} takes no --config: the settings are those of the run"
        )
    elif mode == "report" and not FLAGS.workdir:
        raise InputError("--mode=report needs --workdir: a run, finished or not")
    elif mode != "compare" and not FLAGS.workdir:
        raise InputError(
            f"--mode={mode} needs --workdir: a finished run, a network file or the name of a packaged "
            "network"
        )
    match mode:
        case "train":
            from saltjax import train
            from saltjax.system import devices

            devices.keep_freed_memory()
            devices.request_determinism()
            train.train(config, workdir, FLAGS.overwrite)
        case "check":
            from saltjax import check

            check.check(config, workdir)
        case "evaluate":
            from saltjax import evaluate

            evaluate.evaluate(
                workdir,
                FLAGS.input,
                FLAGS.output,
                FLAGS.tta,
                FLAGS.threshold,
                FLAGS.min_area,
            )
        case "predict":
            from saltjax import predict

            predict.predict(
                workdirs(FLAGS.workdir),
                FLAGS.input,
                FLAGS.output,
                FLAGS.threshold,
                FLAGS.tta,
                FLAGS.header_bytes,
                FLAGS.min_area,
            )
        case "export":
            from saltjax import export

            export.export(workdir, FLAGS.output)
        case "report":
            from saltjax import report

            report.report(workdir)
        case "compare":
            from saltjax import compare

            folder = pathlib.Path(FLAGS.workdir or "runs")
            compare.compare(folder, FLAGS.reference, FLAGS.output)


def default_workdir() -> pathlib.Path:
    """Returns the run directory in runs/, named after config file and overrides."""
    flag = FLAGS["config"]
    overrides = config_flags.get_override_values(flag)
    return names.find_workdir(config_flags.get_config_filename(flag), overrides)


def workdirs(text: str) -> list[pathlib.Path]:
    """Returns the paths of a list a,b,c; a directory or file may have commas in its own name."""
    # False, unlike of pathlib, for a list longer than any name.
    if os.path.exists(text):
        return [pathlib.Path(text)]
    paths = text.split(",")
    if not all(paths):
        raise InputError(f"--workdir={text}: one of its names is empty")
    return [pathlib.Path(path) for path in paths]


def main() -> None:
    """Runs the command line."""
    commandline.start(define_flags, dispatch, __doc__)


if __name__ == "__main__":
    main()
