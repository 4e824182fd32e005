"""Imports of other libraries without the parts that saltjax has no use for."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without(module: str) -> Iterator[None]:
    """Within the body, importing a module fails, as if it were not installed.

    A module that the process has imported before stays as it is.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment] # how importlib marks it
    try:
        yield
    finally:
        del sys.modules[module]
