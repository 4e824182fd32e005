"""The command line: flags into settings, and mistakes into messages and exit statuses."""

import ast
import contextlib
import os
import sys
from collections.abc import Callable

from absl import flags
from ml_collections import config_flags

from saltjax.runs import workdir as run
from saltjax.system import console, signals
from saltjax.system.errors import InputError, OutputError

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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the end
        # A terminal without × and – is no reason to fail.
        getattr(sys, name).reconfigure(errors="replace")
    try:
        parse(sys.argv, define)
        if FLAGS.help:
            console.say(usage + FLAGS.main_module_help())
        else:
            main()
    except OutputError as error:
        print(f"Error: {error}", file=sys.stderr)
        # What is left in its buffer cannot be written either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except signals.Stopped as stopped:
        print(
            f"Stopped by {stopped}; {stopped.advice}.",
            file=sys.stderr,
        )
        _exit_at_once(128 + stopped.signum)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        _exit_at_once(130)


def _exit_at_once(status: int) -> None:
    """Ends the process without taking JAX down: that crashes while a thread still compiles."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def parse(argv: list[str], define: Callable[[], None]) -> None:
    """Parses the command line; raises InputError for anything that is not a known flag."""
    try:
        define_flags()
        define()
        FLAGS.register_key_flag_for_module(argv[0], FLAGS["config"])
        stray = FLAGS(argv)[1:]
        if FLAGS["config"].present:
            check_config_file(FLAGS.config.to_dict())
            check_repeated(argv)
    except (flags.Error, InputError) as error:
        raise InputError(f"{_place(argv)}{_message(error)}\nSee --help") from error
    except (Exception, SystemExit) as error:
        cause = error.__cause__ or error
        raise InputError(
            f"{_place(argv)}{type(cause).__name__}: {_message(cause)}\n"
            "configs/default.py has all settings"
        ) from error
    if stray:
        raise InputError(f"unexpected: {' '.join(stray)}; every option starts with --")


def _place(argv: list[str]) -> str:
    """Returns the files that flags were read from, to stand before a message."""
    files = [a for a in argv if a.startswith(("--config=", "--flagfile="))]
    return "".join(f"{file}: " for file in files)


def _message(error: BaseException) -> str:
    """Returns an error's message; of a traceback that a library put into it, the last line."""
    text = str(error).strip()
    if isinstance(error, KeyError | AttributeError) and error.args:
        text = str(error.args[0])  # not quoted once more
        with contextlib.suppress(ValueError, SyntaxError):
            text = str(ast.literal_eval(text))  # ml_collections quotes it itself
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


def check_config_file(config: dict) -> None:
    """Raises InputError if a config has not just the keys and types of configs/default.py."""
    from configs import default

    known = run.flatten(default.get_config().to_dict())
    found = run.flatten(config)
    if found.keys() != known.keys():
        lacking = ", ".join(sorted(known.keys() - found.keys())) or "nothing"
        unknown = ", ".join(sorted(found.keys() - known.keys())) or "nothing"
        raise InputError(
            f"lacks {lacking}, has unknown {unknown}; start it from configs/default.py"
        )
    problems = [
        f"config.{key}={found[key]!r}; expected {type(value).__name__}, as {value!r}"
        for key, value in known.items()
        if not _same_type(found[key], value)
    ]
    if problems:
        raise InputError("\n".join(problems))


def _same_type(value, like) -> bool:
    """Returns whether a setting is of a default's type; an int will do for a float."""
    if isinstance(like, float):
        return type(value) in (int, float)
    if isinstance(like, tuple):
        return isinstance(value, (tuple, list))
    return type(value) is type(like)


def required_config():
    """Returns the config of --config; raises InputError without one."""
    if FLAGS.config is None:
        raise InputError(
            "no --config given; for a first try: --config=configs/quickstart.py"
        )
    return FLAGS.config
