"""Splits into training, validation and test: random, by salt coverage or by group; folds."""

import csv
import pathlib
from collections.abc import Sequence

import numpy as np

from saltjax.data.tiles import Tiles, coverage_class
from saltjax.system import console, seeds
from saltjax.system.errors import InputError


def split(
    tiles: Tiles,
    method: str,
    units: np.ndarray,
    shares: Sequence[float],
    folds: int,
    fold: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Returns the sorted indices of the tiles of "train", "val" and "test".

    Args:
      tiles: N tiles.
      method: "random"; "coverage" gives every part the same mix of `tiles.coverage_class`; "group"
        orders groups at random.
      units: int[N], the number of each tile's group or, but for "group", of its content. Tiles of
        one number stay together, so the shares are approximate.
      shares: of training, validation and test, sum 1.
      folds: K >= 2 for cross-validation: every tile is a test tile in exactly one of the folds 0
        to K - 1, and the others are split into training and validation in the proportion of their
        shares. 0 for none.
      fold: the test fold.
      seed: of the order of tiles or groups. All folds must have the same.
    """
    rng, n = seeds.split_rng(seed), len(tiles)
    if method == "group":
        order = np.argsort(rng.permutation(units.max() + 1)[units], kind="stable")
    else:
        order = rng.permutation(n)
    if method == "coverage":
        classes = coverage_class(tiles.summary.coverage)
        order = _evenly_mixed(order, classes)
    order = _gathered(order, units)
    if folds:
        start, end = _cut(units[order], [fold / folds, (fold + 1) / folds])
        test = order[start:end]
        order = np.concatenate([order[end:], order[:start]])
        (cut,) = _cut(units[order], [shares[0] / (shares[0] + shares[1])])
        parts = [order[:cut], order[cut:], test]
    else:
        parts = np.split(order, _cut(units[order], np.cumsum(shares)[:2]))
    return {name: np.sort(p) for name, p in zip(("train", "val", "test"), parts)}


def _evenly_mixed(order: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns the order rearranged so that every part of it has the same mix of classes."""
    position = np.empty(len(order))
    for c in np.unique(classes):
        members = order[classes[order] == c]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(position[order], kind="stable")]


def _gathered(order: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Returns the order with the tiles of a unit moved to the first of them."""
    _, first, which = np.unique(units[order], return_index=True, return_inverse=True)
    return order[np.argsort(first[which], kind="stable")]


def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns int[N], numbers of the smallest sets of tiles that divide no unit of `a` or `b`.

    They are numbered in the order of their first tiles.

    >>> joined(np.array([0, 0, 1, 2, 3]), np.array([0, 1, 1, 2, 3])).tolist()
    [0, 0, 0, 1, 2]
    """
    from scipy import sparse  # imported here: the command line starts faster without it

    # Each tile is an edge between its unit of `a` and its unit of `b`.
    edges = a, b + a.max() + 1
    size = edges[1].max() + 1
    graph = sparse.coo_array((np.ones(len(a)), edges), (size, size))
    _, component = sparse.csgraph.connected_components(graph, directed=False)
    found = component[a]
    _, first, which = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[which]


def _cut(units: np.ndarray, shares: Sequence[float] | np.ndarray) -> list[int]:
    """Returns the cuts nearest to the shares of a sequence of units that divide no unit."""
    n = len(units)
    borders = np.concatenate([[0], np.flatnonzero(np.diff(units)) + 1, [n]])
    return [
        int(borders[np.argmin(np.abs(borders - np.rint(share * n)))])
        for share in shares
    ]


def read_groups(path: pathlib.Path, ids: Sequence[str]) -> np.ndarray:
    """Returns int[N], the number of each tile's group; an unlisted tile is a group of its own.

    Args:
      path: a CSV file with a column `id` and a column `group` or `mosaic_id`. Other columns,
        and tiles that are not in `ids`, are ignored.
      ids: N ids of tiles.

    Raises:
      InputError: if it cannot be read, lacks a column or a value, puts a tile into two groups, or
        lists none of the tiles.
    """
    listed = _read_listed(path)
    if listed.keys().isdisjoint(ids):
        raise InputError(
            f"config.data.groups={path} lists none of the {len(ids)} tiles; it lists, "
            f"for example {next(iter(listed), '')!r}; a tile has the id {ids[0]!r}"
        )
    known = [listed[i] for i in ids if i in listed]
    console.say(
        f"Groups     {len(known)} of {len(ids)} tiles in {len(set(known))} groups of {path.name}, "
        f"{len(ids) - len(known)} in none"
    )
    names = [("group", listed[i]) if i in listed else ("alone", i) for i in ids]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def _read_listed(path: pathlib.Path) -> dict[str, str]:
    """Returns the group of each tile that a CSV file lists, by id; see `read_groups`."""
    rows = _read_rows(path)
    header = rows[0] if rows else []
    column = "group" if "group" in header else "mosaic_id"
    if header.count("id") != 1 or header.count(column) != 1:
        raise InputError(
            f"config.data.groups={path}: its first line is {','.join(header)!r}; expected the "
            "columns id and group, or id and mosaic_id, each once"
        )
    listed: dict[str, str] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        values = dict(zip(header, row))
        tile, group = values["id"], values.get(column, "")
        if not tile or not group:
            raise InputError(
                f"config.data.groups={path}, line {line}: {','.join(row)!r} lacks an id or a "
                f"{column}"
            )
        if listed.setdefault(tile, group) != group:
            raise InputError(
                f"config.data.groups={path}, line {line}: {tile} is in {column} {listed[tile]} and "
                f"in {group}"
            )
    return listed


def _read_rows(path: pathlib.Path) -> list[list[str]]:
    """Returns the cells of a CSV file, without spaces around them."""
    try:
        if not path.is_file():  # opening a pipe would block
            raise FileNotFoundError(0, "there is no such file")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"config.data.groups={path}: cannot read it: {reason}"
        ) from None
    return [[cell.strip() for cell in row] for row in rows]
