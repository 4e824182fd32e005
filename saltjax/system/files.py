"""Files read whole, and written such that none is ever half written."""

import contextlib
import json
import pathlib
from collections.abc import Iterator

from saltjax.system.errors import InputError, writing


@contextlib.contextmanager
def written_aside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a path beside `path`, which becomes `path` at the end and goes if there is an error."""
    part = path.with_name(f".{path.name}.part")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file that is never half written."""
    with written_aside(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: pathlib.Path, value: dict) -> None:
    """Writes an object as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: pathlib.Path) -> dict:
    """Returns the object in a JSON file; raises InputError if it is unreadable or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot read it ({error.strerror}); is this a run?"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: damaged ({error}); mend it, or train anew with --overwrite"
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: damaged (no JSON object); mend it, or train anew with --overwrite"
        )
    return value
