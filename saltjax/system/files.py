"""Reading and atomic writing of files: a reader sees the old file or the new one, never a part."""

import contextlib
import csv
import io
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from saltjax.system.errors import InputError, writing

RESTORE = "restore the file, or start again with --overwrite"


@contextlib.contextmanager
def atomic_write(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the directory of `path` and renames it to `path` at the end.

    After an error the temporary file is deleted and `path` is as before.

    Raises:
      InputError: if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a UTF-8 text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a dict or a dataclass atomically as indented JSON."""
    write_text(path, json.dumps(msgspec.to_builtins(value), indent=2) + "\n")


def write_csv(
    path: pathlib.Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Writes a CSV file atomically: a header line, then a line for each row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_json(path: pathlib.Path, advice: str = RESTORE) -> dict[str, Any]:
    """Returns the object in a JSON file of a run directory; `advice`: see `damaged`.

    Raises:
      InputError: if the file cannot be read, or holds no JSON object.
    """
    value = read_any_json(path, advice)
    if not isinstance(value, dict):
        raise damaged(path, "no JSON object", advice)
    return value


def read_any_json(path: pathlib.Path, advice: str = RESTORE) -> Any:
    """Returns the value in a JSON file, as `read_json`, of any type."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot read it ({error.strerror}); expected the directory of a run"
        ) from None
    except (ValueError, RecursionError) as error:
        raise damaged(path, error, advice) from None


def damaged(path: pathlib.Path, reason: object, advice: str = RESTORE) -> InputError:
    """Returns the error for a JSON file of a run directory that has unexpected content.

    `advice` says what to do.
    """
    return InputError(f"{path}: damaged ({reason}); {advice}")


def path_label(path: str) -> str:
    """Returns the last two parts of a path, made absolute, for the screen and figures.

    >>> path_label("/data/competition_data/train")
    'competition_data/train'
    """
    label = "/".join(pathlib.Path(path).resolve().parts[-2:])
    return label.encode(errors="replace").decode()


def unknown_keys(found: Any, known: Any) -> list[str]:
    """Returns the dotted keys of the objects in a JSON value that another one lacks.

    >>> unknown_keys({"a": [{"b": 1, "c": 2}], "d": 3}, {"a": [{"b": 0}]})
    ['a.0.c', 'd']
    """
    if isinstance(found, (list, tuple)) and isinstance(known, (list, tuple)):
        found, known = (dict(enumerate(value)) for value in (found, known))
    if not isinstance(found, dict) or not isinstance(known, dict):
        return []
    keys = []
    for key, value in found.items():
        below = unknown_keys(value, known[key]) if key in known else None
        keys += [str(key)] if below is None else [f"{key}.{name}" for name in below]
    return keys
