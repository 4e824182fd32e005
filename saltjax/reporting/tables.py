"""Statistics, scores and tables, printed or as Markdown."""

from collections.abc import Collection, Sequence
from typing import Any

from saltjax.data.statistics import Statistics
from saltjax.data.tiles import scored_noun
from saltjax.reporting.figures import SCORE_NAMES, percent_range
from saltjax.runs.result import Applied, NativeScores, Result, Scores, Validation
from saltjax.system import console


def show_statistics(stats: Statistics, noun: str = "tile") -> None:
    """Prints the statistics of a set of tiles, with a histogram of their salt coverage."""
    n = stats.tiles
    console.say(
        f"Data       {console.counted(n, noun)} of {stats.width}×{stats.height} pixels"
    )
    console.say(
        f"           {stats.empty_masks} without salt ({stats.empty_masks / n:.1%}), "
        f"{stats.full_masks} all salt, salt covers {stats.salt_coverage:.1%} of pixels"
    )
    if stats.dominant_period:
        console.say(
            f"           dominant vertical period {stats.dominant_period:.1f} pixels"
        )
    constant = console.counted(stats.constant_images, "image")
    console.say(f"           {constant} of one constant value")
    if stats.duplicate_images and noun == "patch":
        copies = console.counted(stats.duplicate_images, noun)
        console.say(
            f"           {copies} the same as others, since there are fewer places for them"
        )
    elif stats.duplicate_images:
        pairs = ", ".join(f"{a} of {b}" for a, b in stats.duplicate_examples)
        several = stats.duplicate_images > 1
        copies = "images are copies of others" if several else "image is a copy"
        console.say(
            f"           {stats.duplicate_images} {copies}, "
            f"{stats.differing_masks} with another mask, such as {pairs}"
        )
    widest = max(max(stats.coverage_histogram), 1)
    console.say(f"           salt coverage of the {console.plural(noun)} with salt:")
    for i, count in enumerate(stats.coverage_histogram):
        bar = "█" * round(24 * count / widest)
        console.say(f"           {10 * i:3d}–{10 * (i + 1):3d} % {count:6d} {bar}")


def show_epoch(row: dict[str, Any], best_epoch: int, epochs: int) -> None:
    """Prints an epoch, a row of metrics.csv, of at most `epochs`; it is marked if it is the best."""
    mark = "  best" if best_epoch == row["epoch"] else ""
    score = ""
    if "val_kaggle_map" in row:
        score = f" {SCORE_NAMES['kaggle_map']} {row['val_kaggle_map']:.4f}"
    console.say(
        f"epoch {row['epoch']:3d}/{epochs}  train loss {row['train_loss']:z.4f} accuracy "
        f"{row['train_accuracy']:.4f}  val loss {row['val_loss']:z.4f} accuracy "
        f"{row['val_accuracy']:.4f}{score}  lr {row['learning_rate']:.3g}  "
        f"{row['seconds']:.1f} s{mark}"
    )


def show_result(result: Result) -> None:
    """Prints the outcome of a run."""
    ended = "stopped early" if result.stopped_early else "last epoch reached"
    console.say(
        f"Trained    {console.counted(result.epochs, 'epoch')} ({ended}), tested {result.best_epoch}, "
        f"{result.train_seconds:.0f} s"
    )
    show_scores(result, result, scored_noun(result.data.source))


def show_scores(
    chosen: Validation | Applied, scores: Scores, noun: str = "tile"
) -> None:
    """Prints the scores of a test with the threshold and size that were chosen or given.

    `noun` is what one of the tested tiles is called.
    """
    test, threshold = scores.test, chosen.threshold
    origin = "as given"
    if threshold.metric is not None:
        origin = f"best {SCORE_NAMES[threshold.metric]} on validation"
    console.say(
        f"Test       at the network's resolution: loss {test.loss:.4f}  average precision "
        f"{_number(test.average_precision)}"
    )
    console.say(
        f"           at 0.5: accuracy {test.accuracy:.4f} (no salt anywhere: "
        f"{scores.test_no_salt.accuracy:.4f})"
    )
    console.say(
        f"           at {threshold.value:.3f}, {origin}: "
        f"accuracy {test.accuracy_at_threshold:.4f}  "
        f"precision {_number(test.precision)}  recall {_number(test.recall)}  "
        f"F1 {_number(test.f1)}"
    )
    show_native(chosen.min_area, scores, noun)
    console.say(f"           expected calibration error {scores.calibration.ece:.4f}")


def _number(score: float | None) -> str:
    """Returns a score as text; some are undefined for tiles without any salt."""
    return "–" if score is None else f"{score:.4f}"


def show_native(min_area: int, scores: Scores, noun: str = "tile") -> None:
    """Prints the scores at the tiles' own resolution, of all tiles and by salt coverage.

    A single group has no intervals: resampling it shows no spread.
    """
    smaller = ""
    if min_area > 1:
        smaller = f", without components under {min_area} pixels"
    tiles = sum(row.tiles for row in scores.by_coverage)
    units, nouns = scores.test_units or tiles, console.plural(noun)
    over = f"with 95 % intervals over {console.counted(units, noun)}"
    if units == 1:
        over = f"without intervals: {console.counted(tiles, noun)} of one group"
    elif units != tiles:
        over = f"with 95 % intervals over {units} groups of {nouns}"
    console.say(f"At the {nouns}' own resolution{smaller}, {over}")
    native = scores.test_native
    rows: list[tuple[str, NativeScores]] = [("all", native)]
    rows += [
        (f"{_salt(row.coverage)}, {console.counted(row.tiles, noun)}", row)
        for row in scores.by_coverage
    ]
    width = max(len(name) for name, _ in rows)
    for name, row in rows:
        means = _texts(row, "iou", "kaggle_map", intervals=units > 1)
        console.say(f"           {name:{width}}  {means}")
    keys = ("mean_iou", "mean_class_accuracy")
    if pooled := _texts(native, *keys, intervals=units > 1):
        console.say(f"           over all pixels: {pooled}")


def _salt(coverage: str) -> str:
    """Returns a class of salt coverage in words."""
    found = percent_range(coverage)
    return "no salt" if found == "none" else f"{found} salt"


def _texts(scores: NativeScores, *keys: str, intervals: bool) -> str:
    """Returns the scores of these names as text; older results may lack some."""
    found = {key: getattr(scores, key) for key in keys}
    return "  ".join(
        f"{SCORE_NAMES[key]} {score.value:.4f}"
        + (f" ({score.low:.4f}–{score.high:.4f})" if intervals else "")
        for key, score in found.items()
        if score is not None
    )


def show_rows(
    rows: Sequence[dict[str, str]], titles: Sequence[str], numeric: Collection[str]
) -> None:
    """Prints the columns with these titles, aligned, numeric ones to the right."""
    lines = [list(titles)] + [[row[title] for title in titles] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        cells = [
            cell.rjust(width) if title in numeric else cell.ljust(width)
            for cell, width, title in zip(line, widths, titles)
        ]
        console.say("  ".join(cells).rstrip())
    console.say()


def markdown(rows: Sequence[dict[str, str]], numeric: Collection[str]) -> str:
    """Returns the rows as a Markdown table, numeric columns aligned to the right."""
    rule = ["---:" if title in numeric else "---" for title in rows[0]]
    lines = [list(rows[0]), rule, *(list(row.values()) for row in rows)]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)
