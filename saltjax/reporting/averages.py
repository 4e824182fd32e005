"""Means over runs that differ in fold and seeds alone."""

import collections
import dataclasses
import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from saltjax.runs import settings
from saltjax.runs.completed import Run
from saltjax.system import console

# What averaged runs may differ in, besides settings that change neither weights nor test.
REPEATED = ("data.fold", "data.seed", "seed")


class Repeat(NamedTuple):
    """The fold and the seeds of a run."""

    fold: int
    data_seed: int
    seed: int
    on_volume: bool = False

    @property
    def tested(self) -> tuple[int, int]:
        """What chooses the test tiles; the blocks of a volume depend on no seed."""
        return self.fold, 0 if self.on_volume else self.data_seed


@dataclasses.dataclass(frozen=True)
class Mean:
    """Mean scores over runs that differ in fold and seeds alone.

    Attributes:
      name: the common name of the runs.
      description: their number, folds and seeds, and what the standard errors are over.
      runs: the runs.
      scores: (mean, standard error) by title; None where a run lacks the score.
    """

    name: str
    description: str
    runs: list[Run]
    scores: dict[str, tuple[float, float] | None]

    def written(self) -> dict[str, str]:
        """Returns the cells of the printed table by their titles."""
        cells = {"runs": self.name, "mean of": self.description}
        for title, score in self.scores.items():
            cells[title] = "–" if score is None else "{:.4f} ± {:.4f}".format(*score)
        return cells

    def exact(self) -> dict[str, Any]:
        """Returns the cells of folds.csv by their titles."""
        cells: dict[str, Any] = {"runs": self.name, "mean of": self.description}
        for title, score in self.scores.items():
            value, error = score or (None, None)
            cells |= {title: value, f"{title} standard error": error}
        return cells


def group(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Returns the runs that differ in fold and seeds alone, by a name for each set of them.

    The sets are in the order of their first runs. A second run of the same fold and seeds is left
    out, with a message.
    """
    same: dict[str, dict[Repeat, Run]] = collections.defaultdict(dict)
    for run in runs:
        varied = (*REPEATED, *neutral([run.config]))
        config = {key: value for key, value in run.config.items() if key not in varied}
        # A path may lead to other tiles or weights by now.
        config |= {"data": run.data, "initial": run.initial}
        if config.get("data.split_by") == "group":
            config["units"] = run.units
        members = same[json.dumps(config, sort_keys=True)]
        first = members.setdefault(repeat_of(run), run)
        if first is not run:
            console.say(
                f"{run.name}: the same fold and seeds as {first.name}, left out of the mean"
            )
    groups = [list(members.values()) for members in same.values()]
    all_names = [[run.name for run in members] for members in groups]
    short = collections.Counter(map(common_name, all_names))
    return {
        common_name(names)
        if short[common_name(names)] == 1
        else ", ".join(names): members
        for names, members in zip(all_names, groups)
    }


def neutral(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the keys of the settings that change neither weights nor test of these runs.

    `configs` hold their settings by dotted keys.
    """
    on_volume = any(config.get("data.volume") for config in configs)
    return [key for key in settings.free(on_volume) if not key.startswith("eval.")]


def repeat_of(run: Run) -> Repeat:
    """Returns the fold and the seeds of a run."""
    fold, data_seed, seed = (run.config.get(key, 0) for key in REPEATED)
    return Repeat(fold, data_seed, seed, bool(run.config.get("data.volume")))


def average(
    groups: dict[str, list[Run]], scores: Callable[[Run], dict[str, float | None]]
) -> list[Mean]:
    """Returns the means over folds and seeds of each group with two or more runs.

    Args:
      groups: see `group`.
      scores: returns those of a run by title.
    """
    means = []
    for name, runs in groups.items():
        if len(runs) > 1:
            repeats = [repeat_of(run) for run in runs]
            found = [scores(run) for run in runs]
            averaged = {
                title: mean_and_error(repeats, [row[title] for row in found])
                for title in found[0]
            }
            described = describe(repeats, runs[0].config.get("data.folds", 0))
            means.append(Mean(name, described, runs, averaged))
    return means


def mean_and_error(
    repeats: Sequence[Repeat], values: Sequence[float | None]
) -> tuple[float, float] | None:
    """Returns the mean and its standard error, the standard deviation (n - 1) over √n.

    If there are several sets of test tiles, see `Repeat.tested`, the error is over the n means of
    each set, else over the n runs. None if a value is None.

    >>> repeats = [Repeat(0, 0, 0), Repeat(0, 0, 1), Repeat(1, 0, 0)]
    >>> mean_and_error(repeats, [1.0, 3.0, 4.0])  # means 2 and 4
    (3.0, 1.0)

    Args:
      repeats: fold and seeds of each run.
      values: of each run.
    """
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    by_tiles = collections.defaultdict(list)
    for repeat, value in zip(repeats, known):
        by_tiles[repeat.tested].append(value)
    means = np.array([np.mean(group) for group in by_tiles.values()])
    over = means if len(means) > 1 else np.array(known)
    return float(means.mean()), float(over.std(ddof=1) / math.sqrt(len(over)))


def describe(repeats: Sequence[Repeat], folds: int) -> str:
    """Returns the number of runs, their folds and seeds, and what the standard error is over.

    >>> describe([Repeat(fold, 0, 0) for fold in (0, 1, 2, 4)], 5)
    '4 runs (folds 0-2,4 of 5); error over 4 folds'
    >>> describe([Repeat(fold, 0, seed) for fold in (0, 1) for seed in (0, 1)], 2)
    '4 runs (folds 0-1 of 2, seeds 0-1); error over 2 folds'
    >>> describe([Repeat(0, 0, 1), Repeat(0, 0, 2)], 5)  # of one fold
    '2 runs (seeds 1-2); error over 2 seeds'
    """
    of_folds, data_seeds, of_seeds, _ = (sorted(set(x)) for x in zip(*repeats))
    parts = [f"folds {_ranges(of_folds)} of {folds}"] * (len(of_folds) > 1)
    parts += [f"data.seed {_ranges(data_seeds)}"] * (len(data_seeds) > 1)
    parts += [f"seeds {_ranges(of_seeds)}"] * (len(of_seeds) > 1)
    tested = len({repeat.tested for repeat in repeats})
    if tested == 1:
        over = f"{len(repeats)} seeds"
    else:
        over = f"{tested} {'folds' if len(data_seeds) == 1 else 'splits'}"
    return f"{len(repeats)} runs ({', '.join(parts)}); error over {over}"


def _ranges(numbers: Sequence[int]) -> str:
    """Returns "0-2,4" for the sorted numbers 0, 1, 2, 4."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(
        str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs
    )


def common_name(names: Sequence[str]) -> str:
    """Returns the common start and end of the names around a *; all names if there are none.

    >>> common_name(["unet"])
    'unet'
    >>> common_name(["unet-data.fold=0-data.folds=5", "unet-data.fold=13-data.folds=5"])
    'unet-data.fold=*-data.folds=5'
    """
    if len(names) == 1:
        return names[0]
    prefix = os.path.commonprefix
    start = prefix(names)
    ends = [name[len(start) :][::-1] for name in names]
    shared = f"{start}*{prefix(ends)[::-1]}"
    return ", ".join(names) if shared == "*" else shared


def differing_settings(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the dotted keys whose values are not the same in all configs, in config order.

    >>> differing_settings([{"model.skip": True, "model.norm": "none"},
    ...                     {"model.skip": False, "model.norm": "none"}])
    ['model.skip']
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    return [
        key for key in keys if any(c.get(key) != configs[0].get(key) for c in configs)
    ]
