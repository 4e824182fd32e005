"""The command line of saltjax: flags and dispatch.

python launch.py --config=configs/unet_strided.py --config.model.skip=False
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from saltjax import commandline
from saltjax.runs import settings
from saltjax.runs import workdir as run
from saltjax.system.errors import InputError

# The flags that each mode takes.
MODES = {
    "train": ("config", "workdir", "overwrite"),
    "check": ("config", "workdir"),
    "evaluate": ("workdir", "input", "output", "tta"),
    "predict": ("workdir", "input", "output", "threshold", "tta"),
    "compare": ("workdir",),
    "export": ("workdir", "output"),
}

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags besides --config."""
    flags.DEFINE_enum("mode", "train", list(MODES), "What to do.")
    flags.DEFINE_string(
        "workdir",
        "",
        "The run's folder; predict: or several, as a,b,c, whose probabilities are averaged; compare: "
        "the folder that holds the runs.",
    )
    flags.DEFINE_boolean(
        "overwrite", False, "train: start anew, deleting the run in the folder."
    )
    flags.DEFINE_string(
        "input",
        "",
        "evaluate: a folder with images and masks, by default the run's own test tiles; predict: "
        "a PNG, a folder of them, a .npy or a .sgy.",
    )
    flags.DEFINE_string(
        "output",
        "",
        "The folder to write to; evaluate: by default the run's; export: or a file *.onnx.",
    )
    flags.DEFINE_float(
        "threshold",
        None,
        "predict: the probability from which on a pixel is salt; by default the run's.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_boolean(
        "tta",
        None,
        "evaluate, predict: average the probabilities of a tile and its mirror image; by default as trained.",
    )


def main() -> None:
    """Runs the mode that the flags name; what it needs is imported only then."""
    taken = MODES[FLAGS.mode]
    for name in {name for names in MODES.values() for name in names} - set(taken):
        if FLAGS[name].present:
            raise InputError(f"--mode={FLAGS.mode} takes no --{name}")
    workdir = pathlib.Path(FLAGS.workdir)
    if "config" in taken:
        config = commandline.required_config()
        settings.check(config)
        workdir = pathlib.Path(FLAGS.workdir or default_workdir())
    elif FLAGS.mode != "compare" and not FLAGS.workdir:
        raise InputError(f"--mode={FLAGS.mode} needs the --workdir of a finished run")
    match FLAGS.mode:
        case "train":
            from saltjax import train

            train.train(config, workdir, FLAGS.overwrite)
        case "check":
            from saltjax import check as explore

            explore.check(config, workdir)
        case "evaluate":
            from saltjax import evaluate

            evaluate.evaluate(workdir, FLAGS.input, FLAGS.output, FLAGS.tta)
        case "predict":
            from saltjax import predict

            names = FLAGS.workdir.split(",")
            if not all(names):
                raise InputError(f"--workdir={FLAGS.workdir}: a run's folder is empty")
            workdirs = [pathlib.Path(name) for name in names]
            predict.predict(
                workdirs, FLAGS.input, FLAGS.output, FLAGS.threshold, FLAGS.tta
            )
        case "export":
            from saltjax import export

            export.export(workdir, FLAGS.output)
        case "compare":
            from saltjax import compare

            compare.compare(pathlib.Path(FLAGS.workdir or "runs"))


def default_workdir() -> str:
    """Returns the folder of runs/ that config file and overrides name."""
    flag = FLAGS["config"]
    overrides = config_flags.get_override_values(flag)
    return run.default_workdir(config_flags.get_config_filename(flag), overrides)


if __name__ == "__main__":
    commandline.start(define_flags, main, __doc__)
