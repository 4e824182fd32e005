"""Test tiles of several runs beside each other: a sample of those that they share, for a page."""

import collections
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from saltjax.data.tiles import UNLABELLED
from saltjax.reporting import tile_images
from saltjax.runs import saved_config, saved_outputs, settings
from saltjax.runs.completed import Run
from saltjax.scoring import postprocess
from saltjax.scoring.differences import TestedTiles
from saltjax.system import console
from saltjax.system.errors import InputError

# Of all probabilities in a page, and of the images: about 9 and 6 MB.
MAX_PROBABILITIES, MAX_PIXELS = 24_000_000, 8_000_000


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a run predicts for a tile.

    Attributes:
      prob: uint8[H, W], probabilities of salt; 255 is probability 1.
      mask: uint8[H, W], 1 where salt, at the run's own threshold and minimum component size.
      iou: of the mask.
    """

    prob: np.ndarray
    mask: np.ndarray
    iou: float


@dataclasses.dataclass(frozen=True)
class SharedTiles:
    """N test tiles of several runs.

    Attributes:
      ids: of the tiles, sorted.
      labels: uint8[N, H, W], 1 where salt, 0 where none, or UNLABELLED.
      total: number of tiles that these are a sample of.
      spread: how many of these were chosen for the greatest difference in IoU between runs; the
        others are an even sample.
      common: whether each is of two or more runs.
      runs: by name of the run, its predictions by id; without those that are no test tiles of it.
    """

    ids: list[str]
    labels: np.ndarray
    total: int
    spread: int
    common: bool
    runs: dict[str, dict[str, Prediction]]

    @property
    def has_unlabelled(self) -> bool:
        """Whether any pixel is UNLABELLED."""
        return bool((self.labels == UNLABELLED).any())


def find(
    runs: Sequence[Run], tested: dict[str, TestedTiles], reference: str
) -> SharedTiles | None:
    """Returns test tiles of the runs that were tested on the same data; says which were not.

    The data are those of the reference or, without one, of most runs. Tiles of two or more runs are
    shown where there are any. None without the outputs of two runs: the page of a run shows its own tiles.

    Args:
      runs: the runs.
      tested: the scores by run, see `paired.read_all`.
      reference: name of a run; "" for none.
    """
    same = _on_the_same_data(
        [run for run in runs if run.name in tested], tested, reference
    )
    if not same:
        return None
    ids, iou = iou_by_tile([tested[run.name] for run in same])
    pixels = tested[same[0].name].pixels
    most = min(MAX_PROBABILITIES // (pixels * len(same)), MAX_PIXELS // pixels)
    rows, spread = sample(iou, max(most, 1))
    chosen = [ids[row] for row in rows]
    predicted: dict[str, dict[str, Prediction]] = {}
    labels: dict[str, np.ndarray] = {}
    for run, values in zip(same, iou[:, rows]):
        scores = {x: v for x, v in zip(chosen, values.tolist()) if not math.isnan(v)}
        own, own_labels = _read(run, scores) if scores else ({}, {})
        if not own:
            reason = "no test tile in common"
        elif not _agree(own_labels, labels):
            reason = "other labels for the same ids"
        else:
            predicted[run.name] = own
            labels |= own_labels
            continue
        console.say(f"{run.name}: {reason}, not among the tiles side by side")
    if len(predicted) < 2:
        return None
    chosen = [name for name in chosen if name in labels]
    every = np.stack([labels[name] for name in chosen])
    common = bool((np.isfinite(iou).sum(axis=0) > 1).all())
    return SharedTiles(chosen, every, len(ids), spread, common, predicted)


def _on_the_same_data(
    runs: Sequence[Run], tested: dict[str, TestedTiles], reference: str
) -> list[Run]:
    """Returns the runs on the data of the reference or, without one, on those of most; says which are not."""
    if not runs:
        return []
    content = {run.name: tested[run.name].content for run in runs}
    most = collections.Counter(content.values()).most_common(1)[0][0]
    chosen = content.get(reference, most)
    for name, found in content.items():
        if found != chosen:
            console.say(f"{name}: other data, not among the tiles side by side")
    return [run for run in runs if content[run.name] == chosen]


def _read(
    run: Run, iou: dict[str, float]
) -> tuple[dict[str, Prediction], dict[str, np.ndarray]]:
    """Returns what a run predicts for the tiles that `iou` has, and their labels."""
    outputs = saved_outputs.read(run.path)
    assert outputs is not None  # its scores are known
    row = {name: i for i, name in enumerate(outputs.ids)}
    rows = [row[name] for name in iou]
    prob = outputs.prob[rows]
    chosen = postprocess.Postprocessing(run.result.threshold.value, run.result.min_area)
    masks = postprocess.salt_mask(postprocess.from_sixteen_bits(prob), chosen)
    eight_bits = np.rint(prob / 257).astype(np.uint8)
    tiles = zip(eight_bits, masks.astype(np.uint8), iou.values())
    predicted = {name: Prediction(*tile) for name, tile in zip(iou, tiles)}
    return predicted, dict(zip(iou, outputs.labels[rows]))


def _agree(labels: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> bool:
    """Returns whether labels by id are of the same shape, and equal for the same ids."""
    shapes = {label.shape for label in (*labels.values(), *others.values())}
    return len(shapes) == 1 and all(
        np.array_equal(label, others.get(name, label)) for name, label in labels.items()
    )


def find_images(shared: SharedTiles, runs: Sequence[Run]) -> np.ndarray:
    """Returns the images uint8[N, H, W, 3] of the tiles, from where the first run still has them.

    Raises:
      InputError: if no run has them.
    """
    problem: InputError | None = None
    folders = set()
    for run in runs:
        # As it was written: `read_runs` gives all runs on the same data one path.
        config = settings.flatten(saved_config.read_json(run.path))
        if config.get("data.dir") in folders:
            continue
        folders.add(config.get("data.dir"))
        try:
            return tile_images.find(shared.ids, shared.labels, config)
        except InputError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def iou_by_tile(tested: Sequence[TestedTiles]) -> tuple[list[str], np.ndarray]:
    """Returns the T ids of the tiles that two or more runs share, and their IoU float64[R, T].

    It is NaN for a run that a tile is no test tile of. All tiles are returned if none is shared.
    """
    counts = collections.Counter(name for one in tested for name in one.ids)
    least = min(2, max(counts.values()))
    ids = sorted(name for name, count in counts.items() if count >= least)
    place = {name: i for i, name in enumerate(ids)}
    iou = np.full((len(tested), len(ids)), np.nan)
    for row, one in zip(iou, tested):
        for name, value in zip(one.ids, one.scores["iou"][:, 0]):
            if name in place:
                row[place[name]] = value
    return ids, iou


def sample(iou: np.ndarray, most: int) -> tuple[list[int], int]:
    """Returns sorted numbers of at most so many tiles, and how many of them have a great spread.

    If there are more, half of them are those with the greatest difference in IoU between runs, the
    others an even sample of the rest.

    >>> iou = np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, 0.9, 0.4, 0.5]])
    >>> sample(iou, 3)  # tile 2, and of the others the first and the last
    ([0, 2, 4], 1)

    Args:
      iou: float64[R, T], NaN where a run has not tested a tile, of each of which one has.
      most: number of tiles.
    """
    count = iou.shape[1]
    if count <= most:
        return list(range(count)), 0
    spread = np.nanmax(iou, axis=0) - np.nanmin(iou, axis=0)
    order = np.argsort(-spread, kind="stable")
    first, rest = order[: most // 2], np.sort(order[most // 2 :])
    even = np.linspace(0, len(rest) - 1, most - len(first)).round().astype(int)
    return sorted([*first.tolist(), *rest[even].tolist()]), len(first)
