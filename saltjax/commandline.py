"""The command line: flags into settings, and mistakes into messages and exit statuses."""

import sys
from collections.abc import Callable

from absl import flags
from ml_collections import config_flags

from saltjax import run, signals
from saltjax.errors import InputError

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags that every command has."""
    flags.DEFINE_boolean("help", False, "Show this help.", short_name="h")
    config_flags.DEFINE_config_file(
        "config", None, "A file of configs/; --config.KEY=VALUE overrides a setting."
    )


def start(define: Callable[[], None], main: Callable[[], None], usage: str) -> None:
    """Runs `main` under the flags of `define`; ends the process with the status that fits.

    A mistake of the user's ends with 2, SIGTERM with 143, Ctrl-C with 130, without a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without × and – is no reason to fail.
        stream.reconfigure(errors="replace")
    try:
        parse(sys.argv, define)
        if FLAGS.help:
            print(usage)
            print(FLAGS.main_module_help())
        else:
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


def parse(argv: list[str], define: Callable[[], None]) -> None:
    """Parses the command line; raises InputError for anything that is not a known flag."""
    try:
        define_flags()
        define()
        FLAGS.register_key_flag_for_module(argv[0], FLAGS["config"])
        stray = FLAGS(argv)[1:]
        if FLAGS["config"].present:
            check_keys(FLAGS.config.to_dict())
            check_repeated(argv)
    except (flags.Error, InputError) as error:
        raise InputError(f"{_last_line(error)}\nSee --help") from error
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


def required_config():
    """Returns the config of --config; raises InputError without one."""
    if FLAGS.config is None:
        raise InputError(
            "no --config given; for a first try: --config=configs/quickstart.py"
        )
    return FLAGS.config
