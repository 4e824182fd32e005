"""--mode=compare: tables and a figure of all runs in a directory, means and paired differences."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from saltjax.reporting import averages, comparison, figures, paired, tables
from saltjax.reporting.averages import Mean
from saltjax.reporting.paired import Difference
from saltjax.runs import settings
from saltjax.runs.completed import Run, read_runs
from saltjax.runs.result import Interval
from saltjax.system import console, files, output_directory
from saltjax.system.errors import InputError, writing

Score = tuple[Callable[[Run], Any], str]


def _native(name: str) -> Score:
    """Returns the function and format of a score that older results may lack."""

    def value(run: Run) -> float | None:
        score = getattr(run.result.test_native, name)
        return None if score is None else score.value

    return value, "{:.4f}"


# By title: the function that takes its value from a run, None if not known, and its format.
TRAINING: dict[str, Score] = {
    "parameters": (lambda run: run.result.parameters, "{:,}"),
    "epochs": (lambda run: run.result.epochs, "{}"),
    "seconds": (lambda run: run.result.train_seconds, "{:.0f}"),
}
VALIDATION: dict[str, Score] = {
    "val loss": (lambda run: run.best.get("val_loss"), "{:.4f}"),
    "val accuracy": (lambda run: run.best.get("val_accuracy"), "{:.4f}"),
    "val F1": (lambda run: run.result.threshold.f1, "{:.4f}"),
    "val AP": (lambda run: run.result.average_precision, "{:.4f}"),
    "threshold": (lambda run: run.result.threshold.value, "{:.2f}"),
}
TEST: dict[str, Score] = {
    "test loss": (lambda run: run.result.test.loss, "{:.4f}"),
    "accuracy at 0.5": (lambda run: run.result.test.accuracy, "{:.4f}"),
    "F1": (lambda run: run.result.test.f1, "{:.4f}"),
    "AP": (lambda run: run.result.test.average_precision, "{:.4f}"),
    "IoU": _native("iou"),
    "Kaggle mAP": _native("kaggle_map"),
    "two-class mean IoU": _native("mean_iou"),
    "mean class accuracy": _native("mean_class_accuracy"),
}
COLUMNS = TRAINING | VALIDATION | TEST
CSV_FILES = ("compare.csv", "folds.csv", "differences.csv")
AVERAGED = [t for t in VALIDATION | TEST if t != "threshold"]


def compare(folder: pathlib.Path, reference: str, output: str) -> None:
    """Prints the completed runs of a directory, by data and validation loss.

    Settings that differ follow, means over folds and seeds, and differences to a reference on the
    same test tiles. Writes compare.csv, compare.md and compare.png and, where there are any,
    folds.csv (the means) and differences.csv.

    Args:
      folder: the directory.
      reference: name or path of a run in it; "" for the first of those with the same test tiles.
      output: the directory to write to; "" for `folder`.

    Raises:
      InputError: if the directory holds no completed run, or not the reference.
    """
    runs = read_runs(folder)
    means = averages.average(
        runs, [{title: COLUMNS[title][0](run) for title in AVERAGED} for run in runs]
    )
    found = paired.find_differences(
        runs, means, reference_name(runs, folder, reference)
    )
    markdown, csv_files = show_tables(runs, means, found)
    target = pathlib.Path(output or folder)
    option = "--output" if output else "--workdir"
    names = (*CSV_FILES, "compare.md", "compare.png")
    with output_directory.claim(target, option, folder) as claimed, writing(target):
        # The directory of the runs is the user's: there, too, only saltjax's files are replaced.
        claimed.check([target / name for name in names])
        for name, rows in csv_files.items():
            files.write_csv(target / name, list(rows[0]), rows, claimed.write)
        files.write_text(target / "compare.md", markdown, claimed.write)
        places = dict.fromkeys(run.result.data.place for run in runs)
        figure = comparison.comparison(
            figure_rows(runs, means, found), ", ".join(places)
        )
        figures.save(figure, target / "compare.png", claimed.write)
        for name in CSV_FILES:
            if name not in csv_files:  # of an earlier comparison
                (target / name).unlink(missing_ok=True)
    console.say(f"Written    {target}: {', '.join(csv_files)}, compare.md, compare.png")


def show_tables(
    runs: Sequence[Run], means: Sequence[Mean], found: Sequence[Difference]
) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    """Prints the tables; returns them as Markdown, and the rows of the CSV files by their names."""
    keys = averages.differing_settings([run.config for run in runs])
    values = [{t: value(run) for t, (value, _) in COLUMNS.items()} for run in runs]
    firsts = [
        {"run": run.name, "data": run.result.data.label}
        | {key: settings.value_text(run.config.get(key, "")) for key in keys}
        for run in runs
    ]
    written = [
        first | {t: _text(row[t], form) for t, (_, form) in COLUMNS.items()}
        for first, row in zip(firsts, values)
    ]
    for titles in (["run", *TRAINING, *VALIDATION], ["run", *TEST]):
        tables.show_rows(written, titles, COLUMNS)
    tables.show_rows(written, ["run", "data", *keys], ())
    markdown = tables.markdown(written, COLUMNS)
    csv_files = {"compare.csv": [a | b for a, b in zip(firsts, values)]}
    for heading, name, texts, numbers in (
        (
            "Mean ± standard error",
            "folds.csv",
            [mean.written() for mean in means],
            [mean.exact() for mean in means],
        ),
        (
            "Difference to the reference (95 % interval), at the tiles' own resolution",
            "differences.csv",
            [difference.written() for difference in found],
            [difference.exact() for difference in found],
        ),
    ):
        if texts:
            console.say(heading)
            numeric = (*COLUMNS, *paired.TITLES)
            tables.show_rows(texts, list(texts[0]), numeric)
            markdown += f"\n{heading}\n\n{tables.markdown(texts, numeric)}"
            csv_files[name] = numbers
    return markdown, csv_files


def reference_name(runs: Sequence[Run], folder: pathlib.Path, reference: str) -> str:
    """Returns the name of the run that --reference gives by name or path; "" for none.

    Raises:
      InputError: if it is not among the runs of the directory.
    """
    path, name = pathlib.Path(reference), pathlib.Path(reference).name
    beside = path.resolve().parent == folder.resolve()
    elsewhere = path.parent != pathlib.Path() and not beside
    if reference and (elsewhere or name not in [run.name for run in runs]):
        raise InputError(
            f"--reference={reference}: no completed run of that name in {folder}; expected one of "
            f"{', '.join(run.name for run in runs)}"
        )
    return name


def figure_rows(
    runs: Sequence[Run], means: Sequence[Mean], found: Sequence[Difference]
) -> list[comparison.Row]:
    """Returns the rows of compare.png: the runs, and the means below them."""
    configs = [run.config for run in runs]
    scores = []
    for run in runs:
        values = {title: COLUMNS[title][0](run) for title in AVERAGED}
        known = {t: Interval(v, v, v) for t, v in values.items() if v is not None}
        scores.append(known | {"IoU": run.result.test_native.iou})
    labels = comparison.labels(configs, [run.name for run in runs])
    common = comparison.labels(
        [mean.runs[0].config for mean in means],
        [mean.name for mean in means],
        repeated=False,
    )
    for mean, label in zip(means, common):
        scores.append(
            {
                title: Interval(score[0], score[0] - score[1], score[0] + score[1])
                for title, score in mean.scores.items()
                if score is not None
            }
        )
        labels.append(f"{label}; mean of {mean.description.partition(';')[0]}")
    iou = {difference.name: difference.scores["iou"] for difference in found}
    references = {difference.reference for difference in found}
    names = [run.name for run in runs] + [mean.name for mean in means]
    return [
        comparison.Row(label, row, iou.get(name), name in references, n >= len(runs))
        for n, (name, label, row) in enumerate(zip(names, labels, scores))
    ]


def _text(value: Any, form: str) -> str:
    return "–" if value is None else form.format(value)
