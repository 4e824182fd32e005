"""The default names of run directories, after config file and overrides."""

import hashlib
import os
import pathlib
import re
from typing import Any

from saltjax.runs import settings
from saltjax.system import console

MAX_NAME_BYTES = 200
# Characters that may have a meaning to a shell, or in the list --workdir=a,b.
OTHER_CHARACTERS = re.compile(r"[^\w.=+-]")


def default_workdir(
    config_file: str, overrides: dict[str, Any], on_volume: bool = False
) -> str:
    """Returns the run directory for a config file and its overrides; of a path only the last part.

    Settings that change no weights are left out. Other characters than letters, digits and _.=+-
    are replaced by _, and then a hash keeps the names distinct. So does it in a name too long for a
    file system, which is truncated.

    >>> default_workdir("configs/unet.py", {"model.skip": False, "data.dir": "/tgs/train/"})
    'runs/unet-data.dir=train-model.skip=False'
    >>> default_workdir("configs/unet.py", {"model.features": (4, 8), "eval.tta": True})
    'runs/unet-model.features=4x8'

    Args:
      config_file: the path of the config file.
      overrides: the settings given on the command line, by their dotted keys.
      on_volume: whether the run is on a volume, see `settings.free`.
    """
    free = settings.free(on_volume)
    parts = {
        key: "x".join(map(str, value)) if isinstance(value, (tuple, list)) else value
        for key, value in overrides.items()
        if key not in free
    }
    name = _joined(config_file, parts)
    safe = OTHER_CHARACTERS.sub("_", name)
    if safe != name:
        safe += f"-{_digest(name)[:8]}"
    return f"runs/{_shortened(safe)}"


def find_workdir(
    config_file: str, overrides: dict[str, Any], on_volume: bool = False
) -> pathlib.Path:
    """Returns the default run directory; if only its earlier name has a run, that one, and says so.

    Until version 0.1 names held every override, and commas. The path is relative to the current
    directory. For the arguments see `default_workdir`.
    """
    path = pathlib.Path(default_workdir(config_file, overrides, on_volume))
    free = settings.free(on_volume)
    weights = {k: v for k, v in overrides.items() if k not in free}
    earlier = [earlier_workdir(config_file, given) for given in (overrides, weights)]
    if not _holds_run(path):
        for other in filter(_holds_run, map(pathlib.Path, earlier)):
            console.say(
                f"Run        {other} is used, by its earlier name; a new run of these settings "
                f"would be called {path.name}"
            )
            return other
    return path


def earlier_workdir(config_file: str, overrides: dict[str, Any]) -> str:
    """Returns the run directory of these overrides in version 0.1.

    >>> earlier_workdir("configs/unet.py", {"model.features": (4, 8), "eval.tta": True})
    'runs/unet-eval.tta=True-model.features=4,8'
    """
    return f"runs/{_shortened(_joined(config_file, overrides))}"


def _joined(config_file: str, overrides: dict[str, Any]) -> str:
    parts = [pathlib.Path(config_file).stem]
    for key, value in sorted(overrides.items()):
        paths = settings.paths(key, settings.value_text(value))
        last = [pathlib.PurePath(path).name or path.replace("/", "_") for path in paths]
        parts.append(f"{key}={','.join(last)}")
    return "-".join(parts)


def _shortened(name: str) -> str:
    encoded = os.fsencode(name)
    if len(encoded) <= MAX_NAME_BYTES:
        return name
    start = encoded[:MAX_NAME_BYTES].decode(errors="ignore")
    return f"{start}-{_digest(name)[:12]}"


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()


def _holds_run(path: pathlib.Path) -> bool:
    return (path / "config.json").exists()
