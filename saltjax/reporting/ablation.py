"""The additive table: rows of runs, each with its gain over the row above, on the same test tiles."""

import collections
import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from saltjax.reporting import paired
from saltjax.reporting.averages import REPEATED, differing_settings, neutral, repeat_of
from saltjax.reporting.paired import Difference
from saltjax.runs import settings
from saltjax.runs.completed import Run
from saltjax.scoring import differences
from saltjax.scoring.differences import TestedTiles
from saltjax.system import console

# The scores that have a table, by their titles.
TITLES = {"Kaggle mAP": "kaggle_map", "IoU": "iou"}
NUMERIC = (*TITLES, "runs", "gain", "at 0.5", "gain at 0.5")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table: runs that differ in fold and seeds alone.

    Attributes:
      name: the common name of the runs.
      runs: the runs.
      changes: the settings that differ from the row above; "" without one.
      scores: of all runs, by the keys of `TestedTiles.values`.
      each: of each run, by the same keys.
      gain: on the row above; None for the first row of its test tiles.
      margins: of the gain, see `margin_over_runs`.
    """

    name: str
    runs: list[Run]
    changes: str
    scores: dict[str, float]
    each: dict[str, list[float]]
    gain: Difference | None
    margins: dict[str, float | None]

    def by_tiles(self, key: str) -> dict[tuple[int, int], list[float]]:
        """Returns a score of each run by what chooses its test tiles, fold and data.seed."""
        found = collections.defaultdict(list)
        for run, value in zip(self.runs, self.each[key]):
            found[repeat_of(run).tested].append(value)
        return found


def by_name(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs ordered by name, numbers in names by their value."""

    def key(run: Run) -> tuple:
        parts = re.split(r"([0-9]+)", run.name)
        return [int(x) if i % 2 else x for i, x in enumerate(parts)], run.name

    return sorted(runs, key=key)


def find_rows(
    groups: dict[str, list[Run]], tested: dict[str, TestedTiles]
) -> list[Row]:
    """Returns the rows, those of the same test tiles together, each compared with the one above.

    Args:
      groups: runs that differ in fold and seeds alone, by their common names, in the order of the
        rows. Without usable outputs of all its runs a group is left out, with a message.
      tested: the scores of runs by name, see `paired.read_all`.
    """
    blocks: dict[Any, list[tuple[Row, TestedTiles]]] = {}
    for name, runs in groups.items():
        parts = [tested[run.name] for run in runs if run.name in tested]
        whole = differences.mean_over_runs(parts) if len(parts) == len(runs) else None
        if whole is None:
            names = ", ".join(run.name for run in runs)
            whole_row = len(parts) == len(runs)
            reason = f"{names} were tested on other data" if whole_row else "see above"
            console.say(f"{name}: no row of the table ({reason})")
            continue
        block = blocks.setdefault((whole.content, whole.ids), [])
        if not block and len(blocks) > 1:
            console.say(f"{name}: no row above it has the same test tiles")
        block.append((_row(name, runs, parts, whole, block), whole))
    return [
        row
        for block in blocks.values()
        for row in _with_margins([row for row, _ in block])
    ]


def _row(
    name: str,
    runs: list[Run],
    parts: Sequence[TestedTiles],
    whole: TestedTiles,
    above: Sequence[tuple[Row, TestedTiles]],
) -> Row:
    """Returns the row of runs, whose scores are `parts` and together `whole`, without margins."""
    scores = {key: float(values[0]) for key, values in whole.values().items()}
    single = [part.values() for part in parts]
    each = {key: [float(values[key][0]) for values in single] for key in scores}
    if not above:
        return Row(name, runs, "", scores, each, None, {})
    other, others = above[-1]
    configs = [other.runs[0].config, runs[0].config]
    changes = [
        f"{key}={settings.value_text(configs[1].get(key, ''))}"
        for key in differing_settings(configs)
        if key not in (*REPEATED, *neutral(configs))
    ]
    if other.runs[0].initial != runs[0].initial and configs[0].get(
        "train.init_from"
    ) == configs[1].get("train.init_from"):
        changes.append("the weights of train.init_from")
    gain = paired.difference(name, whole, other.name, others)
    return Row(name, runs, ", ".join(changes), scores, each, gain, {})


def _with_margins(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows of the same test tiles with the margins of their gains."""
    found = [rows[0]]
    for above, row in itertools.pairwise(rows):
        margins = {
            key: margin_over_runs(
                row.by_tiles(key),
                above.by_tiles(key),
                [other.each[key] for other in rows],
            )
            for key in row.scores
        }
        found.append(dataclasses.replace(row, margins=margins))
    return found


def margin_over_runs(
    gained: dict[tuple[int, int], list[float]],
    above: dict[tuple[int, int], list[float]],
    every: Sequence[Sequence[float]],
) -> float | None:
    """Returns the margin of a gain at 95 %, by Student's t, for the differences between runs.

    Over folds or splits it is that of the mean of their gains. Over seeds on the same test tiles it
    is that of the difference of two means, with the variance within rows pooled over all rows, as
    in an analysis of variance. None if no row has several runs, or rows have other folds.

    >>> scores = [[3.0, 5.0], [2.0, 2.0]]  # pooled variance (2 + 0) / 2; 4.303 √(1 / 2 + 1 / 2)
    >>> f"{margin_over_runs({(0, 0): scores[0]}, {(0, 0): scores[1]}, scores):.3f}"
    '4.303'
    >>> folds = {(0, 0): [3.0], (1, 0): [5.0]}, {(0, 0): [2.0], (1, 0): [6.0]}  # gains 1 and -1
    >>> f"{margin_over_runs(*folds, [[3.0, 5.0], [2.0, 6.0]]):.3f}"  # 12.706 √(2 / 2)
    '12.706'

    Args:
      gained: scores of the runs by fold and data.seed.
      above: those of the row above.
      every: those of every row.
    """
    # Imported here: the command line starts faster without it.
    from scipy import special

    if len(gained) > 1 or len(above) > 1:
        if gained.keys() != above.keys():
            return None
        gains = [np.mean(gained[key]) - np.mean(above[key]) for key in gained]
        free, error = len(gains) - 1, np.std(gains, ddof=1) / math.sqrt(len(gains))
    else:
        free = sum(len(scores) - 1 for scores in every)
        if not free:
            return None
        variance = sum(np.var(scores) * len(scores) for scores in every) / free
        counts = [len(scores) for part in (gained, above) for scores in part.values()]
        error = math.sqrt(variance * sum(1 / count for count in counts))
    return float(special.stdtrit(free, 0.975) * error)


def tables(rows: Sequence[Row]) -> dict[str, list[dict[str, str]]]:
    """Returns the rows of the printed tables, by the heading of each; none without any gain."""
    gains = [row.gain for row in rows if row.gain is not None]
    resampled = " or ".join(dict.fromkeys(gain.resampled for gain in gains))
    return {
        f"{title} at each run's own threshold (lowest to highest run) and at 0.5; gains over the row "
        f"above, at 95 % (interval over {resampled}) ± margin over runs": [
            _cells(row, title, key) for row in rows
        ]
        for title, key in TITLES.items()
        if gains
    }


def _cells(row: Row, title: str, key: str) -> dict[str, str]:
    """Returns the cells of a row in the table of a score."""
    score, each, half = row.scores[key], row.each[key], f"{key}{differences.AT_HALF}"
    spread = f" ({min(each):.4f} to {max(each):.4f})" * (len(each) > 1)
    cells = {"row": row.name, "changes": row.changes or "–", "runs": str(len(row.runs))}
    cells |= {title: f"{score:.4f}{spread}", "gain": "–"}
    cells |= {"at 0.5": f"{row.scores[half]:.4f}", "gain at 0.5": "–"}
    cells |= {"interval excludes 0": "–", "exceeds margin": "–"}
    if row.gain is None:
        return cells
    gains = row.gain.scores[key], row.gain.scores[half]
    margins = row.margins[key], row.margins[half]
    for column, gain, margin in zip(("gain", "gain at 0.5"), gains, margins):
        cells[column] = paired.interval_text(gain)
        cells[column] += "" if margin is None else f" ± {margin:.4f}"
    if row.gain.units > 1:  # resampling a single one shows no spread
        cells["interval excludes 0"] = where(*(x.low > 0 or x.high < 0 for x in gains))
    if None not in margins:
        beyond = (abs(x.value) > (margin or 0) for x, margin in zip(gains, margins))
        cells["exceeds margin"] = where(*beyond)
    return cells


def where(own: bool, half: bool) -> str:
    """Returns at which of the two thresholds something holds.

    >>> where(True, False)
    'own threshold'
    """
    if own == half:
        return "both" if own else "neither"
    return "own threshold" if own else "0.5"


def exact(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Returns the rows of differences.csv: those with a gain."""
    lines = []
    for row in rows:
        if row.gain is not None:
            cells: dict[str, Any] = {"run": row.name, "reference": row.gain.reference}
            cells |= {"changes": row.changes, "runs": len(row.runs)} | row.gain.exact()
            for titles in paired.TITLES.values():
                cells |= {f"{t} margin": row.margins[key] for t, key in titles.items()}
            lines.append(cells)
    return lines
