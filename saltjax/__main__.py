"""Trains, evaluates, compares and applies networks that segment salt in seismic
images. What it does is chosen by --mode, which takes these flags:
"""

if __name__ == "__main__":
    from saltjax.system import signals

    signals.end_at_once()  # before the imports below, which take half a second

import dataclasses
import os
import pathlib
from typing import Any

from absl import flags
from ml_collections import config_flags

from saltjax import commandline, next_command, options
from saltjax.runs import environment, names
from saltjax.system import console, hosts
from saltjax.system.errors import InputError

FLAGS = flags.FLAGS


def dispatch() -> None:
    """Runs the mode of --mode, and imports only its module; then names the next command."""
    if FLAGS.completion:
        from saltjax import completion

        console.say(completion.bash())
        return
    mode, workdir = FLAGS.mode, pathlib.Path(FLAGS.workdir)
    options.check(mode)
    if options.takes(mode, "config"):
        config = commandline.required_config()
        workdir = workdir if FLAGS.workdir else default_workdir()
    elif mode == "report" and not FLAGS.workdir:
        raise InputError(
            "--mode=report needs --workdir: a run, finished or not, or a directory of runs"
        )
    elif mode == "compare":
        workdir = pathlib.Path(FLAGS.workdir or "runs")
    elif not FLAGS.workdir:
        raise InputError(
            f"--mode={mode} needs --workdir: a finished run, a network file or the name of a packaged "
            "network"
        )
    several = mode in ("evaluate", "predict")
    places = workdirs(FLAGS.workdir) if several else [workdir]
    match mode:
        case "train":
            from saltjax import train
            from saltjax.system import devices

            devices.keep_freed_memory()
            devices.request_determinism()
            hosts.connect(FLAGS.distributed)
            train.train(config, workdir, FLAGS.overwrite)
        case "check":
            from saltjax import check

            if not check.check(config, workdir):
                return  # what is sensible depends on what is missing
        case "evaluate":
            from saltjax import evaluate

            evaluate.evaluate(
                places,
                FLAGS.input,
                FLAGS.output,
                FLAGS.tta,
                FLAGS.threshold,
                FLAGS.min_area,
                FLAGS.engine,
                FLAGS.precision,
                FLAGS.unlabelled,
            )
        case "predict":
            from saltjax import predict

            fields = dataclasses.fields(predict.Flags)
            given: dict[str, Any] = {f.name: FLAGS[f.name].value for f in fields}
            predict.predict(places, FLAGS.input, FLAGS.output, predict.Flags(**given))
        case "export":
            from saltjax import export

            export.export(workdir, FLAGS.output, FLAGS.dialect, FLAGS.tile)
        case "report":
            from saltjax import report

            report.report(workdir, FLAGS.reference)
        case "compare":
            from saltjax import compare

            compare.compare(workdir, FLAGS.reference, FLAGS.output)
    next_command.say(mode, places)


def help_text() -> str:
    """Returns the output of --help: of all modes, or of the one that is given with --mode."""
    modes = [FLAGS.mode] if FLAGS["mode"].present else list(options.MODES)
    first = "" if FLAGS["mode"].present else f"{__doc__}\n"
    return first + options.help_text(environment.program(), modes)


def default_workdir() -> pathlib.Path:
    """Returns the run directory in runs/, named after config file and overrides."""
    flag = FLAGS["config"]
    overrides = config_flags.get_override_values(flag)
    config_file = config_flags.get_config_filename(flag)
    return names.find_workdir(config_file, overrides, bool(FLAGS.config.data.volume))


def workdirs(text: str) -> list[pathlib.Path]:
    """Returns the paths of a list a,b,c; a directory or file may have commas in its own name."""
    paths, rest = [], text.split(",")
    while rest:
        # False, unlike of pathlib, for a list longer than any name.
        long = (
            n for n in range(len(rest), 1, -1) if os.path.exists(",".join(rest[:n]))
        )
        count = next(long, 1)
        paths.append(",".join(rest[:count]))
        rest = rest[count:]
    if not all(paths):
        raise InputError(f"--workdir={text}: one of its names is empty")
    if len(set(map(os.path.realpath, paths))) < len(paths):
        raise InputError(f"--workdir={text}: one of them is given twice")
    return [pathlib.Path(path) for path in paths]


def main() -> None:
    """Runs the command line."""
    commandline.start(options.define, dispatch, help_text)


if __name__ == "__main__":
    main()
