"""The outcome of a run and of an evaluation: result.json and evaluation.json.

The fields are the keys of the JSON files, in their order. Those that were added after version 0.1
have defaults, so that older files can be read.
"""

import dataclasses
import json
import pathlib
from typing import Any, TypeVar

import msgspec

from saltjax.runs.settings import CHOICES
from saltjax.system import files
from saltjax.system.errors import InputError

T = TypeVar("T")
DELETE = "delete it, and the command that trained the run tests it again"


@dataclasses.dataclass(frozen=True)
class Interval:
    """A score with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class NativeScores:
    """Scores at the tiles' own resolution, see `metrics.native_scores`.

    Without any salt in the tiles precision, recall and F1 are None; before 0.2.0 they were 0. Results
    before 0.2.0 lack the last two.
    """

    iou: Interval
    dice: Interval
    kaggle_map: Interval
    accuracy: Interval
    precision: Interval | None
    recall: Interval | None
    f1: Interval | None
    mean_iou: Interval | None = None
    mean_class_accuracy: Interval | None = None


@dataclasses.dataclass(frozen=True)
class CoverageClass:
    """Tiles of a class of salt coverage, one of `tiles.COVERAGE_CLASSES`."""

    coverage: str
    tiles: int


@dataclasses.dataclass(frozen=True)
class CoverageScores(NativeScores, CoverageClass):
    """Scores of the tiles of one class of salt coverage."""


@dataclasses.dataclass(frozen=True)
class NetworkScores:
    """Scores at the network's resolution; all but loss and accuracy (at 0.5) at the threshold.

    Without any salt in the tiles the last four are None; before 0.2.0 they were 0.
    """

    loss: float
    accuracy: float
    accuracy_at_threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


@dataclasses.dataclass(frozen=True)
class NoSalt:
    """What predicting no salt anywhere scores on the same tiles."""

    accuracy: float
    kaggle_map: float


@dataclasses.dataclass(frozen=True)
class CalibrationBin:
    """Pixels whose probability lies in [low, high)."""

    low: float
    high: float
    pixels: int
    mean_probability: float
    salt_share: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Expected calibration error and its bins, see `metrics.calibration`."""

    ece: float
    bins: list[CalibrationBin]


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The threshold, its F1 on validation pixels, and the metric that chose it with its value."""

    value: float
    f1: float
    metric: str
    score: float


@dataclasses.dataclass(frozen=True)
class GivenThreshold:
    """A threshold that --threshold gave: no metric chose it, and it has no validation scores."""

    value: float
    f1: None = None
    metric: None = None
    score: None = None


@dataclasses.dataclass(frozen=True)
class ThresholdAccuracy:
    """Pixel accuracies at one of the study's thresholds."""

    threshold: float
    val_accuracy: float
    test_accuracy: float


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of a set of tiles under a threshold that was chosen on others.

    `test_units` is the number of tiles, or of groups of tiles, that the intervals resample; results
    before 0.2.0 lack it, and resample tiles.
    """

    test: NetworkScores
    test_no_salt: NoSalt
    test_native: NativeScores
    by_coverage: list[CoverageScores]
    calibration: Calibration
    test_units: int | None = None


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Where the tiles of a run come from, and how many are in each part of the split."""

    source: str
    dir: str
    train: int
    val: int
    test: int

    @property
    def label(self) -> str:
        """The source and the sizes of the parts, in a few characters.

        >>> TrainingData("folder", "/data/tgs/train", 7, 2, 1).label
        'tgs/train 7/2/1'
        """
        return f"{self.place} {self.train}/{self.val}/{self.test}"

    @property
    def place(self) -> str:
        """The source in a few characters."""
        if self.source == "synthetic":
            return "synthetic"
        return files.path_label(self.dir)


@dataclasses.dataclass(frozen=True)
class Training:
    """The outcome of training."""

    status: str
    parameters: int
    epochs: int
    best_epoch: int
    stopped_early: bool
    train_seconds: float
    data: TrainingData


@dataclasses.dataclass(frozen=True)
class Applied:
    """What masks were made with: chosen on the validation tiles of the run, or given."""

    threshold: Threshold | GivenThreshold
    min_area: int


@dataclasses.dataclass(frozen=True)
class Validation:
    """What was chosen and measured on the validation tiles; `average_precision` is theirs."""

    threshold: Threshold
    min_area: int
    thresholds: list[ThresholdAccuracy]
    average_precision: float


@dataclasses.dataclass(frozen=True)
class Result(Scores, Validation, Training):
    """What result.json holds; `eval` are the settings of that name which it was tested under."""

    eval: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class EvaluatedData:
    """The tiles of an evaluation; `trained_on`: those with ids of training or validation tiles."""

    source: str
    dir: str
    tiles: int
    trained_on: int


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What was evaluated, and how; `engine` and `precision` as in `predictor.load`.

    Of several networks `run` has all names, joined by commas, and `best_epoch` is that of the first.
    """

    run: str
    best_epoch: int
    tta: bool
    engine: str
    precision: str
    data: EvaluatedData


@dataclasses.dataclass(frozen=True)
class Evaluation(Scores, Applied, Evaluated):
    """What evaluation.json holds."""


def join(kind: type[T], *parts: object) -> T:
    """Returns an instance of `kind` with the fields of `parts`, whose classes it inherits from.

    >>> join(CoverageClass, CoverageClass("0", 3))
    CoverageClass(coverage='0', tiles=3)
    """
    fields: dict = {}
    for part in parts:
        fields |= vars(part)
    return kind(**fields)


def read(workdir: pathlib.Path) -> Result:
    """Returns the result of a finished run.

    Raises:
      InputError: if result.json is damaged, or a newer version wrote it.
    """
    path = workdir / "result.json"
    return parse(files.read_json(path, DELETE), path, DELETE)


def parse(tree: dict[str, Any], path: pathlib.Path, advice: str) -> Result:
    """Returns the result that a tree read from JSON holds.

    Args:
      tree: content of result.json.
      path, advice: for messages, the file that it was read from and what to do if it is damaged.

    Raises:
      InputError: if it holds none, or a newer version wrote it.
    """
    try:
        found = msgspec.convert(tree, Result)
        chosen = found.threshold
        if not 0 <= chosen.value <= 1 or found.min_area < 0:
            raise ValueError(f"threshold {chosen.value}, min_area {found.min_area}")
        if chosen.metric not in CHOICES["eval.threshold_metric"]:
            raise ValueError(f"metric {chosen.metric}")
        json.dumps(tree, allow_nan=False)  # raises ValueError for NaN and infinity
    except ValueError as error:
        raise files.damaged(path, error, advice) from None
    unknown = files.unknown_keys(tree, dataclasses.asdict(found))
    if unknown:
        raise InputError(
            f"{path} has keys that this version does not know: {', '.join(unknown)}; use the newer "
            "version of saltjax that wrote it"
        )
    return found
