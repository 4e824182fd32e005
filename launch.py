"""The command line of saltjax: flags and dispatch.

python launch.py --config=configs/unet_strided.py --config.model.skip=False
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from saltjax import run, signals
from saltjax.errors import InputError

MODES = ("train", "check", "compare")

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags; a --flagfile is read here already."""
    flags.DEFINE_boolean("help", False, "Show this help.", short_name="h")
    flags.DEFINE_enum("mode", "train", MODES, "What to do.")
    flags.DEFINE_string(
        "workdir", "", "The run's folder; compare: the folder that holds the runs."
    )
    flags.DEFINE_boolean(
        "overwrite", False, "Start anew, deleting the run in the folder."
    )
    config_flags.DEFINE_config_file(
        "config", None, "A file of configs/; --config.KEY=VALUE overrides a setting."
    )


def parse(argv: list[str]) -> None:
    """Parses the command line; raises InputError for anything that is not a known flag."""
    try:
        define_flags()
        stray = FLAGS(argv)[1:]
        if FLAGS["config"].present:
            check_keys(FLAGS.config.to_dict())
            check_repeated(argv)
    except (flags.Error, InputError) as error:
        raise InputError(f"{_last_line(error)}\nSee python launch.py --help") from error
    except Exception as error:
        given = " ".join(
            arg for arg in argv if arg.startswith(("--config", "--flagfile"))
        )
        cause = error.__cause__ or error
        raise InputError(
            f"{given}: {type(cause).__name__}: {_last_line(cause)}\n"
            "configs/default.py has all settings"
        ) from error
    if stray:
        raise InputError(f"unexpected: {' '.join(stray)}; every option starts with --")


def _last_line(error: Exception) -> str:
    """Returns an error's message; of a traceback that a library put into it, the last line."""
    text = str(error).strip()
    return text.splitlines()[-1] if "Traceback" in text else text


def check_repeated(argv: list[str]) -> None:
    """Raises InputError for a tuple given twice: the flags would be joined, not replaced."""
    for key, value in config_flags.get_override_values(FLAGS["config"]).items():
        name = f"--config.{key}"
        if (
            isinstance(value, tuple)
            and sum(arg.split("=")[0] == name for arg in argv) > 1
        ):
            raise InputError(f"{name} is given twice")


def check_keys(config: dict) -> None:
    """Raises InputError if a config has not just the keys of configs/default.py."""
    from configs import default

    known = run.flatten(default.get_config().to_dict()).keys()
    found = run.flatten(config).keys()
    if found != known:
        lacking, unknown = sorted(known - found), sorted(found - known)
        raise InputError(
            f"--config: lacks {', '.join(lacking) or 'nothing'}, has unknown "
            f"{', '.join(unknown) or 'nothing'}; start it from configs/default.py"
        )


def main() -> None:
    """Runs the mode that the flags name."""
    if FLAGS.help:
        print(__doc__)
        print(FLAGS.main_module_help())
        return
    if FLAGS.mode == "compare":
        refuse("config", "overwrite")
        from saltjax import compare

        compare.compare(pathlib.Path(FLAGS.workdir or "runs"))
        return
    config = FLAGS.config
    if config is None:
        raise InputError(
            "no --config given; for a first try: --config=configs/quickstart.py"
        )
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
    for stream in (sys.stdout, sys.stderr):
        # A terminal without × and – is no reason to fail.
        stream.reconfigure(errors="replace")
    try:
        parse(sys.argv)
        main()
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except signals.Stopped as stopped:
        print(
            f"Stopped by {stopped}; the same command goes on from here.",
            file=sys.stderr,
        )
        sys.exit(128 + stopped.signum)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
