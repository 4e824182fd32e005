"""What can be read of a run, in whatever state, for its page."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from saltjax.runs import environment, result, saved_config, saved_outputs, settings
from saltjax.runs import workdir as run_directory
from saltjax.runs.result import Result
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.system import files, locks
from saltjax.system.errors import InputError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a page shows of data.json."""

    height: int = 0
    width: int = 0
    splits: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    content_sha256: str = ""
    units_sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Start:
    """What a page shows of an entry of env.json."""

    time: str = "at an unknown time"
    command: list[str] = dataclasses.field(default_factory=list)
    python: str = "unknown"
    platform: str = "unknown"
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    devices: list[str] = dataclasses.field(default_factory=list)
    device_kind: str = "unknown"
    git_commit: str = ""
    init: dict[str, str | list[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Run:
    """What could be read of a run.

    Attributes:
      workdir: its directory.
      config: every setting by its dotted key; {} if not known.
      facts: of its data.
      starts: oldest first.
      history: the rows of metrics.csv.
      result: of the test; None before it.
      outputs: for the test tiles; None without them.
      problems: why parts could not be read.
    """

    workdir: pathlib.Path
    config: dict[str, Any]
    facts: Facts
    starts: list[Start]
    history: list[dict[str, float]]
    result: Result | None
    outputs: SavedOutputs | None
    problems: list[str]


def read(workdir: pathlib.Path, with_outputs: bool = True) -> Run:
    """Returns what can be read of a run, running, interrupted, damaged or finished.

    Raises:
      InputError: if the directory holds no run, or one that has written nothing yet.
    """
    problems: list[str] = []

    def attempt(reader: Callable[[], T], otherwise: T) -> T:
        try:
            return reader()
        except InputError as error:
            problems.append(str(error))
            return otherwise

    if not any((workdir / n).exists() for n in ("config.json", "result.json")):
        if locks.is_locked(workdir):
            raise InputError(
                f"--workdir={workdir}: training there is still starting and has written nothing yet; "
                "repeat this command when its first epoch has begun"
            )
        raise InputError(
            f"--workdir={workdir}: no run in it; expected the directory of a run, finished or not, "
            "or one that holds runs"
        )
    config: dict[str, Any] = attempt(lambda: saved_config.read(workdir).to_dict(), {})
    found: Result | None = None
    outputs: SavedOutputs | None = None
    if (workdir / "result.json").exists():
        found = attempt(lambda: result.read(workdir), None)
    if found and with_outputs:
        outputs = attempt(lambda: saved_outputs.read(workdir), None)
    return Run(
        workdir=workdir,
        config=settings.flatten(config),
        facts=attempt(lambda: _read_facts(workdir / "data.json"), Facts()),
        starts=attempt(lambda: _read_starts(workdir), []),
        history=attempt(lambda: run_directory.read_metrics(workdir), []),
        result=found,
        outputs=outputs,
        problems=problems,
    )


def _read_facts(path: pathlib.Path) -> Facts:
    try:
        return msgspec.convert(files.read_json(path), Facts)
    except msgspec.ValidationError as error:
        raise files.damaged(path, error) from None


def _read_starts(workdir: pathlib.Path) -> list[Start]:
    try:
        return msgspec.convert(environment.read(workdir), list[Start])
    except msgspec.ValidationError as error:
        raise files.damaged(workdir / "env.json", error, environment.ADVICE) from None
