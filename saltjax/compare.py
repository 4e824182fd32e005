"""--mode=compare: tables and a figure of all runs in a directory, means and paired differences."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from saltjax.reporting import ablation, compared, comparison, figures, paired, tables
from saltjax.reporting.averages import Mean
from saltjax.reporting.compared import COLUMNS, TEST, TRAINING, VALIDATION
from saltjax.reporting.paired import Difference
from saltjax.runs import environment, settings
from saltjax.runs.completed import Run
from saltjax.runs.result import Interval
from saltjax.system import console, files, output_directory
from saltjax.system.errors import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Titles of columns that are aligned to the right.
NUMERIC = {*COLUMNS, *paired.NUMERIC, *ablation.NUMERIC} - {"chosen by"}
MEANS = "Mean ± standard error"


def compare(folder: pathlib.Path, reference: str, output: str) -> None:
    """Prints the completed runs of a directory, by data and validation score.

    Settings that differ follow, means over folds and seeds, and differences from a reference on the
    same test tiles. Writes compare.csv, compare.md and compare.png and, where there are any,
    folds.csv (the means) and differences.csv.

    Args:
      folder: the directory.
      reference: see `compared.read`.
      output: the directory to write to; "" for `folder`.

    Raises:
      InputError: if the directory holds no completed run, or not the reference.
    """
    found = compared.read(folder, reference)
    runs, rows = found.runs, found.additive
    console.say(f"Runs by {found.order}")
    means = {MEANS: [mean.written() for mean in found.means]}
    if rows is not None:
        differences, exact = ablation.tables(rows), ablation.exact(rows)
    else:
        differences = paired.tables(found.differences)
        exact = [one.exact() for one in found.differences]
    markdown = show_runs(runs, found.keys) + show_sections(means | differences)
    csv_files = {
        "compare.csv": [
            first_cells(run, found.keys) | compared.scores(run, COLUMNS) for run in runs
        ],
        "folds.csv": [mean.exact() for mean in found.means],
        "differences.csv": exact,
    }
    figure = comparison.comparison(
        figure_rows(runs, found.means, found.differences, rows is not None),
        ", ".join(dict.fromkeys(run.result.data.place for run in runs)),
        rows is not None,
    )
    write(folder, output, markdown, csv_files, figure)
    if rows is None and len({run.data for run in runs}) == 1:
        say_best(folder, found)


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


def say_best(folder: pathlib.Path, found: compared.Compared) -> None:
    """Prints the commands that apply the best run on validation, and the best mean as an ensemble.

    Args:
      folder: the directory of the runs.
      found: runs and means, ordered by their validation score.
    """
    best = {"the best run on validation": [found.runs[0].name]}
    if found.means:
        what = "the runs of the best mean on validation, as an ensemble (--mode=evaluate scores it)"
        best[what] = [run.name for run in found.means[0].runs]
    for what, names in best.items():
        places = ",".join(str(folder / name) for name in names)
        console.say(
            f"Apply      {what}: {environment.program()} --mode=predict "
            f"--workdir={shlex.quote(places)} --input=section.sgy --output=salt"
        )


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
        written.append(first_cells(run, keys) | compared.texts(run, COLUMNS))
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


def figure_rows(
    runs: Sequence[Run],
    means: Sequence[Mean],
    found: Sequence[Difference],
    additive: bool,
) -> list[comparison.Row]:
    """Returns the rows of compare.png: the runs, and the means below them."""
    known = []
    for run in runs:
        values = {
            t: v for t, v in compared.averaged_scores(run).items() if v is not None
        }
        points = {title: Interval(v, v, v) for title, v in values.items()}
        native = run.result.test_native
        known.append(points | {"IoU": native.iou, "Kaggle mAP": native.kaggle_map})
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
