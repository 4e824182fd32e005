"""--mode=compare: tables and a figure of all runs in a directory, means and paired differences."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from saltjax.reporting import ablation, averages, comparison, figures, paired, tables
from saltjax.reporting.averages import Mean
from saltjax.reporting.figures import SCORE_NAMES
from saltjax.reporting.paired import Difference
from saltjax.runs import settings
from saltjax.runs.completed import Run, ranking_score, read_runs
from saltjax.runs.result import Interval
from saltjax.system import console, files, output_directory
from saltjax.system.errors import InputError, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    "val score": (lambda run: run.result.threshold.score, "{:.4f}"),
    "threshold": (lambda run: run.result.threshold.value, "{:.2f}"),
    "chosen by": (lambda run: SCORE_NAMES[run.result.threshold.metric], "{}"),
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
AVERAGED = [t for t in VALIDATION | TEST if t not in ("threshold", "chosen by")]
# Titles of columns that are aligned to the right.
NUMERIC = {*COLUMNS, *paired.NUMERIC, *ablation.NUMERIC} - {"chosen by"}
MEANS = "Mean ± standard error"
# The reference that stands for the row above.
PREVIOUS = "previous"


def compare(folder: pathlib.Path, reference: str, output: str) -> None:
    """Prints the completed runs of a directory, by data and validation score.

    Settings that differ follow, means over folds and seeds, and differences to a reference on the
    same test tiles. Writes compare.csv, compare.md and compare.png and, where there are any,
    folds.csv (the means) and differences.csv.

    Args:
      folder: the directory.
      reference: name or path of a run in it; "" for the first of those with the same test tiles;
        PREVIOUS for an additive table: runs and means are ordered by name, and the reference of
        each is the one before it.
      output: the directory to write to; "" for `folder`.

    Raises:
      InputError: if the directory holds no completed run, or not the reference.
    """
    runs = read_runs(folder)
    additive = reference == PREVIOUS
    if additive:
        runs = ablation.by_name(runs)
    order = "name" if additive else f"validation {SCORE_NAMES[ranking_score(runs)]}"
    console.say(f"Runs by {order}")
    groups = averages.group(runs)
    means = averages.average(groups, averaged_scores)
    if additive:
        rows = ablation.find_rows(groups)
        found = [row.gain for row in rows if row.gain is not None]
        compared, exact = ablation.tables(rows), ablation.exact(rows)
    else:
        name = reference_name(runs, folder, reference)
        found = paired.find_differences(runs, means, name)
        compared, exact = paired.tables(found), [one.exact() for one in found]
    sections = {MEANS: [mean.written() for mean in means]} | compared
    keys = averages.differing_settings([run.config for run in runs])
    markdown = show_runs(runs, keys) + show_sections(sections)
    csv_files = {
        "compare.csv": [first_cells(run, keys) | scores(run, COLUMNS) for run in runs],
        "folds.csv": [mean.exact() for mean in means],
        "differences.csv": exact,
    }
    figure = comparison.comparison(
        figure_rows(runs, means, found, additive),
        ", ".join(dict.fromkeys(run.result.data.place for run in runs)),
        additive,
    )
    write(folder, output, markdown, csv_files, figure)


def write(
    folder: pathlib.Path,
    output: str,
    markdown: str,
    csv_files: dict[str, list[dict[str, Any]]],
    figure: Figure,
) -> None:
    """Writes the files of the comparison of the runs in `folder` to `output`, if given, or there.

    A CSV file without rows is not written, and that of an earlier comparison is deleted.
    """
    target, option = (
        pathlib.Path(output or folder),
        "--output" if output else "--workdir",
    )
    names = (*csv_files, "compare.md", "compare.png")
    with output_directory.claim(target, option, folder) as claimed, writing(target):
        # The directory of the runs is the user's: there, too, only saltjax's files are replaced.
        claimed.check([target / name for name in names])
        for name, rows in csv_files.items():
            if rows:
                files.write_csv(target / name, list(rows[0]), rows, claimed.write)
        files.write_text(target / "compare.md", markdown, claimed.write)
        figures.save(figure, target / "compare.png", claimed.write)
        for name, rows in csv_files.items():
            if not rows:  # of an earlier comparison
                (target / name).unlink(missing_ok=True)
    written = ", ".join(name for name, rows in csv_files.items() if rows)
    console.say(f"Written    {target}: {written}, compare.md, compare.png")


def scores(run: Run, titles: Iterable[str]) -> dict[str, Any]:
    """Returns the scores of a run with these titles, None where not known."""
    return {title: COLUMNS[title][0](run) for title in titles}


def averaged_scores(run: Run) -> dict[str, float | None]:
    """Returns the scores of a run that means are taken of."""
    return scores(run, AVERAGED)


def first_cells(run: Run, keys: Sequence[str]) -> dict[str, str]:
    """Returns the name of a run, its data, and its settings with these keys."""
    values = {key: settings.value_text(run.config.get(key, "")) for key in keys}
    return {"run": run.name, "data": run.result.data.label} | values


def show_runs(runs: Sequence[Run], keys: Sequence[str]) -> str:
    """Prints the tables of the runs; returns them as one in Markdown.

    Args:
      runs: the runs.
      keys: of the settings that differ.
    """
    written = []
    for run in runs:
        values = scores(run, COLUMNS)
        texts = {t: _text(values[t], form) for t, (_, form) in COLUMNS.items()}
        written.append(first_cells(run, keys) | texts)
    for titles in (["run", *TRAINING, *VALIDATION], ["run", *TEST]):
        tables.show_rows(written, titles, NUMERIC)
    tables.show_rows(written, ["run", "data", *keys], ())
    return tables.markdown(written, NUMERIC)


def show_sections(sections: dict[str, list[dict[str, str]]]) -> str:
    """Prints the tables that have rows, by their headings; returns them in Markdown."""
    markdown = ""
    for heading, rows in sections.items():
        if rows:
            console.say(heading)
            tables.show_rows(rows, list(rows[0]), NUMERIC)
            markdown += f"\n{heading}\n\n{tables.markdown(rows, NUMERIC)}"
    return markdown


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
    runs: Sequence[Run],
    means: Sequence[Mean],
    found: Sequence[Difference],
    additive: bool,
) -> list[comparison.Row]:
    """Returns the rows of compare.png: the runs, and the means below them."""
    known = []
    for run in runs:
        values = {t: v for t, v in averaged_scores(run).items() if v is not None}
        points = {title: Interval(v, v, v) for title, v in values.items()}
        known.append(points | {"IoU": run.result.test_native.iou})
    labels = comparison.labels([run.config for run in runs], [run.name for run in runs])
    common = comparison.labels(
        [mean.runs[0].config for mean in means],
        [mean.name for mean in means],
        repeated=False,
    )
    for mean, label in zip(means, common):
        known.append(
            {
                title: Interval(score[0], score[0] - score[1], score[0] + score[1])
                for title, score in mean.scores.items()
                if score is not None
            }
        )
        labels.append(f"{label}; mean of {mean.description.partition(';')[0]}")
    shown = "kaggle_map" if additive else "iou"
    shifts = {one.name: one.scores[shown] for one in found}
    references = {one.reference for one in found if not additive}
    names = [run.name for run in runs] + [mean.name for mean in means]
    return [
        comparison.Row(label, row, shifts.get(name), name in references, n >= len(runs))
        for n, (name, label, row) in enumerate(zip(names, labels, known))
    ]


def _text(value: Any, form: str) -> str:
    return "–" if value is None else form.format(value)
