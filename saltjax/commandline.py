"""The command line: parsing of flags and configs; messages and exit statuses of errors."""

import ast
import contextlib
import errno
import importlib.util
import logging
import os
import pathlib
import sys
import traceback
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict, config_flags

from saltjax import options
from saltjax.runs import settings
from saltjax.system import console, hosts, signals
from saltjax.system.errors import InputError, OutputError

FLAGS = flags.FLAGS
# Answers of a file system about a path, which the user can correct wherever they come.
REFUSALS = (
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.EIO,
    getattr(errno, "ESTALE", errno.EIO),  # not on Windows
)


# By the start of Python's or absl's reason why a flag has no such value: what it can be.
VALUES = {
    "Non-boolean argument": "True or False",
    "could not convert string to float": "a number",
    "invalid literal for int": "a whole number",
}


def start(
    define: Callable[[], None], main: Callable[[], None], help_text: Callable[[], str]
) -> None:
    """Parses the command line with the flags that `define` defines, and runs `main`.

    Without a traceback a user's mistake ends the process with status 2, and a signal with 128 and its
    number; and with it those that it trains with, see `hosts`. `help_text` returns the output of
    --help.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the end
        # A terminal that cannot show × and – is no reason to fail.
        getattr(sys, name).reconfigure(errors="replace")
    signals.end_at_once()
    console.show()
    silence_libraries()
    try:
        parse(sys.argv, define)
        if FLAGS.help:
            console.say(help_text())
        else:
            main()
    except OutputError as error:
        # What is left in its buffer cannot be written either.
        console.discard(sys.stdout)
        _end(2, f"Error: {error}")
    except InputError as error:
        _end(2, f"Error: {error}")
    except OSError as error:
        if error.errno not in REFUSALS or error.filename is None:
            _end_with_traceback(error)
            raise
        _end(
            2,
            f"Error: cannot access {error.filename}: {error.strerror}; correct that, or choose another "
            "path",
        )
    except signals.Stopped as stopped:
        status = 128 + stopped.signum
        signals.exit_at_once(
            hosts.end(status, f"Stopped by {stopped}; {stopped.advice}.")
        )
    except Exception as error:
        _end_with_traceback(error)
        raise
    hosts.close()


def _end(status: int, message: str) -> None:
    """Ends the process, and those that it trains with, with a message."""
    if hosts.group is not None:
        signals.exit_at_once(hosts.end(status, message))
    if distributed := _distributed():
        signals.exit_at_once(hosts.end_unconnected(distributed, status, message))
    sys.exit(hosts.end(status, message))


def _end_with_traceback(error: Exception) -> None:
    """Ends this process and those that it trains with after a failure of the program.

    A process that trains alone goes on, with the exception.
    """
    if hosts.group is not None or _distributed():
        text = traceback.format_exc()
        # JAX's errors are of this kind, that of a lost connection too.
        if isinstance(error, RuntimeError):
            text += "If another process has ended, that is the cause. The same commands resume."
        _end(1, text)


def _distributed() -> str:
    """Returns --distributed, also of a command line that could not be parsed; "" without it."""
    words = sys.argv
    with contextlib.suppress(flags.Error):
        words = FLAGS.read_flags_from_files(words, force_gnu=True)
    training = (_flag(words, "mode") or "train") == "train"
    return _flag(words, "distributed") if training else ""


def silence_libraries() -> None:
    """Silences tracebacks of failures that are also raised, and reported as an InputError.

    Orbax logs each failure with a traceback before it raises. Threads of tensorstore, below orbax,
    report further failures after a save has failed. XLA raises its errors too; jaxlib 0.10.1 logs
    one that is none for every program that it loads from the compile cache. To be called before
    JAX is imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    show = sys.unraisablehook

    def show_others(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            show(unraisable)

    sys.unraisablehook = show_others


def parse(argv: list[str], define: Callable[[], None]) -> None:
    """Parses the command line; raises InputError for anything that is not a known flag."""
    import_configs()
    argv = config_first(argv)
    try:
        before = set(FLAGS)
        flags.DEFINE_boolean("help", False, "Show this help.", short_name="h")
        config_flags.DEFINE_config_file(
            "config",
            None,
            "A config file, or the name of a packaged one; --config.KEY=VALUE sets a setting.",
            sys_argv=argv,
        )
        define()
        for name in set(FLAGS) - before:
            FLAGS.register_key_flag_for_module(argv[0], FLAGS[name])
        stray = FLAGS(argv)[1:]
        if FLAGS["config"].present:
            settings.check(FLAGS.config)
            check_repeated(argv)
        expand_home()
    except flags.Error as error:
        raise InputError(f"{_message(error)}\nSee --help") from error
    except InputError as error:
        place = _place(argv, "--config=")
        raise InputError(f"{place}{_message(error)}\nSee --help") from error
    except (Exception, SystemExit) as error:
        cause = error.__cause__ or error
        found = f"{_place(argv, '--config=')}{type(cause).__name__}"
        if unknown := _unknown_settings(argv):
            found = f"{unknown[0]}: no such setting"
        raise InputError(
            f"{found}: {_message(cause)}\n{settings.default_path()} has all settings"
        ) from error
    if stray:
        raise InputError(f"unexpected: {' '.join(stray)}; every option starts with --")


def import_configs() -> None:
    """Makes the directory of configs importable as `configs`, for configs that import others."""
    folder = settings.configs_folder()
    spec = importlib.util.spec_from_file_location(
        "configs", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["configs"] = module
    spec.loader.exec_module(module)


def config_first(argv: list[str]) -> list[str]:
    """Returns the arguments with --config=FILE before the overrides of its settings.

    The content of a --flagfile takes its place; the name of a config in configs/ is replaced by its
    path.

    Raises:
      InputError: if settings are overridden without --config, or a file does not exist.
    """
    rest: list[str] = []
    config: list[str] = []
    if "--" in argv:
        raise InputError("unexpected: --; expected only options, such as --config=unet")
    try:
        given = FLAGS.read_flags_from_files(argv[1:], force_gnu=True)
    except flags.Error as error:
        raise InputError(f"{_message(error)}\nSee --help") from None
    # A flag may have one dash too.
    words = iter(f"-{w}" if w.startswith("-config") else w for w in given)
    for word in words:
        if word == "--config":
            config.append(next(words, ""))
        elif word.startswith("--config="):
            config.append(word.partition("=")[2])
        else:
            rest.append(word)
    overrides = [word for word in rest if word.startswith("--config.")]
    if overrides and not config:
        mode = _flag(rest, "mode") or "train"
        if mode in options.MODES and not options.takes(mode, "config"):
            raise InputError(
                f"{overrides[0]}: --mode={mode} takes the settings of the run; to change one, repeat "
                "the command that trained the run with the new value"
            )
        raise InputError(
            f"{overrides[0]} overrides a setting of a config, and no --config is given; expected "
            f"for example --config=unet {overrides[0]}"
        )
    return [argv[0], *(f"--config={find_config(name)}" for name in config), *rest]


def _flag(words: list[str], flag: str) -> str:
    """Returns the value of --FLAG=VALUE or --FLAG VALUE, with one dash or two; "" without it."""
    for word, following in zip(words, [*words[1:], ""]):
        name, equals, value = word.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            return value if equals else following
    return ""


def find_config(name: str) -> str:
    """Returns the path of a config file that is given by its path or by its name in configs/.

    Raises:
      InputError: if there is no such file.
    """
    name = os.path.expanduser(name)
    if pathlib.Path(name).is_file():
        return name
    folder = settings.configs_folder()
    stem = pathlib.PurePath(name).name.removesuffix(".py")
    known = sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")
    if name in (stem, f"{stem}.py", f"configs/{stem}.py") and stem in known:
        return str(folder / f"{stem}.py")
    raise InputError(
        f"--config={name}: no such file; expected the path of a config file, or one of "
        f"{', '.join(known)}"
    )


def expand_home() -> None:
    """Expands a leading ~ in all flags and settings: in --input=~/x the shell leaves it as it is."""

    def expand(paths: str) -> str:
        return ",".join(map(os.path.expanduser, paths.split(",")))  # --workdir=~/a,~/b

    for name in FLAGS:
        value = FLAGS[name].value
        if isinstance(value, str) and "~" in value:
            FLAGS[name].value = expand(value)
    if FLAGS.config is not None:
        for key, value in settings.flatten(FLAGS.config.to_dict()).items():
            if isinstance(value, str):
                FLAGS.config.update_from_flattened_dict({key: expand(value)})


def _unknown_settings(argv: list[str]) -> list[str]:
    """Returns the overrides of settings that there are not."""
    return [
        word
        for word in argv
        if word.startswith("--config.")
        and word.removeprefix("--config.").partition("=")[0] not in settings.defaults()
    ]


def _place(argv: list[str], flag: str) -> str:
    """Returns the flags that name the files which an error may be in, to start a message with."""
    return "".join(f"{word}: " for word in argv if word.startswith(flag))


def _message(error: BaseException) -> str:
    """Returns an error's message; if a library put a traceback into it, its last line."""
    text = str(error).strip().removeprefix("ERROR:: ")  # absl's, of flag files
    if isinstance(error, flags.IllegalFlagValueError) and error.__context__:
        reason = str(error.__context__)
        for start, expected in VALUES.items():
            if reason.strip("('\"").startswith(start):
                return f"{text.removesuffix(reason)}expected {expected}"
    if isinstance(error, KeyError | AttributeError) and error.args:
        text = str(error.args[0])  # without another pair of quotes
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


def required_config() -> ConfigDict:
    """Returns the config of --config; raises InputError without one."""
    if FLAGS.config is None:
        raise InputError("no --config given; for a first try: --config=quickstart")
    return FLAGS.config
