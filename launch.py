"""The command line of saltjax: flags and dispatch.

python launch.py --config=configs/unet_strided.py --config.model.skip=False
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from saltjax import commandline, run, settings
from saltjax.errors import InputError

MODES = ("train", "check", "compare")

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags besides --config."""
    flags.DEFINE_enum("mode", "train", MODES, "What to do.")
    flags.DEFINE_string(
        "workdir", "", "The run's folder; compare: the folder that holds the runs."
    )
    flags.DEFINE_boolean(
        "overwrite", False, "Start anew, deleting the run in the folder."
    )


def main() -> None:
    """Runs the mode that the flags name."""
    if FLAGS.mode == "compare":
        refuse("config", "overwrite")
        from saltjax import compare

        compare.compare(pathlib.Path(FLAGS.workdir or "runs"))
        return
    config = commandline.required_config()
    settings.check(config)
    workdir = pathlib.Path(FLAGS.workdir or default_workdir())
    if FLAGS.mode == "check":
        refuse("overwrite")
        from saltjax import explore

        explore.check(config, workdir)
    else:
        from saltjax import train

        train.train(config, workdir, FLAGS.overwrite)


def refuse(*names: str) -> None:
    """Raises InputError for a flag that was given and that the mode does not take."""
    for name in names:
        if FLAGS[name].present:
            raise InputError(f"--mode={FLAGS.mode} takes no --{name}")


def default_workdir() -> str:
    """Returns the folder of runs/ that config file and overrides name."""
    flag = FLAGS["config"]
    overrides = config_flags.get_override_values(flag)
    return run.default_workdir(config_flags.get_config_filename(flag), overrides)


if __name__ == "__main__":
    commandline.start(define_flags, main, __doc__)
