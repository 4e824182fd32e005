"""Imports between the modules of saltjax go in one direction."""

import ast
import importlib.util
import pathlib

import pytest
from program import ROOT

# From the lowest layer to the highest. A part, a subpackage or a module, imports from lower layers
# only, never from another part of its own layer.
LAYERS = (
    ("system",),
    ("networks",),
    ("seismic",),
    ("data", "runs"),
    ("training",),
    ("scoring",),
    ("inference", "reporting"),
    ("artifacts", "epoch", "final_test", "prediction_report"),
    ("train", "check", "evaluate", "predict", "compare", "report", "export"),
    ("options",),
    ("next_command",),
    ("completion", "commandline"),
    ("__main__", "benchmark"),
    ("start",),
)
LEVELS = {part: level for level, layer in enumerate(LAYERS) for part in layer}
# Parts that import less than the layers below them; "" is `saltjax` itself, which none imports.
ONLY = {
    "options": {"runs", "system"},
    "commandline": {"options", "runs", "system"},
    "": {"inference"},
}
PACKAGE = ROOT / "saltjax"


def part_of(module: str) -> str:
    """Returns the part that holds a module: "data" for "saltjax.data.feed"."""
    return module.partition(".")[2].partition(".")[0]


def is_allowed(importer: str, imported: str) -> bool:
    """Returns whether a module of saltjax may import another.

    Raises:
      KeyError: if one of them belongs to no layer.
    """
    a, b = part_of(importer), part_of(imported)
    if a in ONLY:
        return b in ONLY[a]
    if b == "":
        return False
    return a == b or LEVELS[b] < LEVELS[a]


def imports(source: str, package: str) -> set[str]:
    """Returns the modules of saltjax that a module's import statements name, anywhere in it.

    Those under `if __name__ == "__main__"` are of a program that is more than the module.

    Args:
      source: its text.
      package: the package that relative imports start from.
    """
    found, tree = set(), ast.parse(source)
    main = "__name__ == '__main__'"
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == main)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            module = importlib.util.resolve_name(module, package)
            # A name imported from saltjax is a module of it, or else belongs to saltjax itself.
            for alias in node.names:
                is_module = module == "saltjax" and is_part(alias.name)
                found.add(f"saltjax.{alias.name}" if is_module else module)
    return {name for name in found if f"{name}.".startswith("saltjax.")}


def is_part(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: module_name(path)
)
def test_imports_go_to_lower_layers(path):
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = imports(path.read_text(encoding="utf-8"), package)
    assert [name for name in sorted(found) if not is_allowed(module, name)] == []


def test_every_part_has_a_layer():
    parts = {part_of(module_name(path)) for path in PACKAGE.rglob("*.py")}
    assert parts == {*LEVELS, ""}


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("saltjax.system.files", "saltjax.networks.unet"),
        ("saltjax.system.devices", "saltjax.runs.settings"),
        ("saltjax.networks.unet", "saltjax.data.tiles"),
        ("saltjax.networks.network", "saltjax.runs.settings"),
        ("saltjax.data.source", "saltjax.runs.workdir"),
        ("saltjax.seismic.segy", "saltjax.runs.workdir"),
        ("saltjax.seismic.npy", "saltjax.data.tiles"),
        ("saltjax.runs.result", "saltjax.data.tiles"),
        ("saltjax.runs.result", "saltjax.scoring.metrics"),
        ("saltjax.training.steps", "saltjax.scoring.steps"),
        ("saltjax.training.progress", "saltjax.train"),
        ("saltjax.scoring.scores", "saltjax.inference.windows"),
        ("saltjax.scoring.scores", "saltjax.reporting.figures"),
        ("saltjax.inference.volumes", "saltjax.reporting.tables"),
        ("saltjax.reporting.figures", "saltjax.inference.windows"),
        ("saltjax.reporting", "saltjax.compare"),
        ("saltjax.evaluate", "saltjax.predict"),
        ("saltjax.check", "saltjax.train"),
        ("saltjax.compare", "saltjax.export"),
        ("saltjax.train", "saltjax.commandline"),
        ("saltjax.final_test", "saltjax.train"),
        ("saltjax.train", "saltjax.__main__"),
        ("saltjax.export", "saltjax"),
        ("saltjax.system.seeds", "saltjax"),
        ("saltjax.commandline", "saltjax.data.tiles"),
        ("saltjax.commandline", "saltjax.networks"),
        ("saltjax.commandline", "saltjax.train"),
        ("saltjax.commandline", "saltjax"),
        ("saltjax.benchmark", "saltjax.__main__"),
        ("saltjax.__main__", "saltjax.benchmark"),
        ("saltjax.__main__", "saltjax.start"),
        ("saltjax.__main__", "saltjax"),
        ("saltjax", "saltjax.train"),
        ("saltjax", "saltjax.system.files"),
    ],
)
def test_an_import_in_the_wrong_direction_is_found(importer, imported):
    assert not is_allowed(importer, imported)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("saltjax.networks.unet", "saltjax.system.seeds"),
        ("saltjax.networks.unet", "saltjax.networks.layers"),
        ("saltjax.data.feed", "saltjax.system.devices"),
        ("saltjax.data.feed", "saltjax.data.tiles"),
        ("saltjax.runs.result", "saltjax.networks.network"),
        ("saltjax.training.steps", "saltjax.data.feed"),
        ("saltjax.scoring.steps", "saltjax.training.losses"),
        ("saltjax.reporting.tables", "saltjax.scoring.scores"),
        ("saltjax.inference.predictor", "saltjax.scoring.postprocess"),
        ("saltjax.train", "saltjax.reporting.tables"),
        ("saltjax.train", "saltjax.final_test"),
        ("saltjax.commandline", "saltjax.runs.settings"),
        ("saltjax.benchmark", "saltjax.commandline"),
        ("saltjax.__main__", "saltjax.train"),
        ("saltjax", "saltjax.inference.predictor"),
    ],
)
def test_an_import_in_the_right_direction_is_accepted(importer, imported):
    assert is_allowed(importer, imported)


def test_a_module_without_a_layer_is_an_error():
    with pytest.raises(KeyError, match="utils"):
        is_allowed("saltjax.train", "saltjax.utils.strings")
    with pytest.raises(KeyError, match="utils"):
        is_allowed("saltjax.utils", "saltjax.system.files")


def test_imports_in_functions_and_for_types_are_found():
    source = """
import json, saltjax.data.feed
import saltjaxon
from typing import TYPE_CHECKING
from saltjax import train as training, load
from saltjax.runs import result
from . import npy
from ..inference.windows import Axis
from .. import check

if TYPE_CHECKING:
    import saltjax.scoring.metrics as metrics

def f():
    from saltjax.reporting import figures
    async def g():
        import saltjax

if __name__ == "__main__":
    from saltjax import commandline
"""
    assert imports(source, "saltjax.seismic") == {
        "saltjax.data.feed",
        "saltjax.train",
        "saltjax",  # load, and the import in g
        "saltjax.runs",
        "saltjax.seismic",
        "saltjax.inference.windows",
        "saltjax.check",
        "saltjax.scoring.metrics",
        "saltjax.reporting",
    }
