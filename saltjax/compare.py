"""All runs of a folder side by side: a table on the screen and in files, and a figure."""

import csv
import io
import pathlib

from saltjax import console, data, plots, run
from saltjax.errors import InputError, writing

# Column: how its value is taken from result.json, and how it is written.
COLUMNS = {
    "parameters": (lambda r: r["parameters"], "{:,}"),
    "epochs": (lambda r: r["epochs"], "{}"),
    "seconds": (lambda r: r["train_seconds"], "{:.0f}"),
    "test loss": (lambda r: r["test"]["loss"], "{:.4f}"),
    "accuracy at 0.5": (lambda r: r["test"]["accuracy"], "{:.4f}"),
    "threshold": (lambda r: r["threshold"]["value"], "{:.2f}"),
    "F1": (lambda r: r["test"]["f1"], "{:.4f}"),
    "AP": (lambda r: r["test"]["average_precision"], "{:.4f}"),
    "IoU": (lambda r: r["test_native"]["iou"]["value"], "{:.4f}"),
    "Kaggle mAP": (lambda r: r["test_native"]["kaggle_map"]["value"], "{:.4f}"),
}


def compare(folder: pathlib.Path) -> None:
    """Prints the completed runs of a folder, by data and test loss, with what sets them apart.

    Writes compare.csv, compare.md and compare.png into the folder.

    Raises:
      InputError: if the folder holds no completed run.
    """
    runs = _read_runs(folder)
    settings = differing_settings({name: config for name, (config, _) in runs.items()})
    rows = []
    for name, (config, result) in runs.items():
        flat = run.flatten(config)
        cells = {"run": name, "data": data_label(result)}
        cells |= {key: run.value_text(flat.get(key, "")) for key in settings}
        cells |= {
            title: form.format(get(result)) for title, (get, form) in COLUMNS.items()
        }
        rows.append(cells)
    _print(rows, ["run", *COLUMNS])
    _print(rows, ["run", "data", *settings])
    exact = [
        row | {title: get(result) for title, (get, _) in COLUMNS.items()}
        for row, (_, result) in zip(rows, runs.values())
    ]
    results = {name: result for name, (_, result) in runs.items()}
    labels = [data_label(result) for result in results.values()]
    with writing(folder):
        run.write_text(folder / "compare.csv", _csv(exact))
        run.write_text(folder / "compare.md", _markdown(rows))
        plots.comparison(results, labels).savefig(folder / "compare.png")
    console.say(f"Written    {folder / 'compare.csv'}, compare.md, compare.png")


def _read_runs(folder: pathlib.Path) -> dict[str, tuple[dict, dict]]:
    """Returns {name: (config, result)} of the completed runs, by data, then by test loss."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"--workdir={folder}: cannot list it ({error.strerror})"
        ) from None
    runs = {}
    for path in found:
        if (path / "result.json").exists():
            try:
                config, result = (
                    run.read_json(path / f"{n}.json") for n in ("config", "result")
                )
                for get, _ in COLUMNS.values():
                    get(result)
                runs[path.name] = config, result
            except (InputError, KeyError, TypeError) as error:
                console.say(f"{path.name}: left out, its files are damaged ({error})")
        elif (path / "config.json").exists():
            console.say(f"{path.name}: not complete yet, left out")
    if not runs:
        raise InputError(
            f"--workdir={folder}: no completed run in it; expected folders with a result.json"
        )
    return dict(
        sorted(
            runs.items(),
            key=lambda item: (data_label(item[1][1]), item[1][1]["test"]["loss"]),
        )
    )


def differing_settings(configs: dict[str, dict]) -> list[str]:
    """Returns the dotted keys whose values are not the same in all configs, in config order.

    >>> differing_settings({"a": {"model": {"skip": True, "norm": "none"}},
    ...                     "b": {"model": {"skip": False, "norm": "none"}}})
    ['model.skip']
    """
    flat = [run.flatten(config) for config in configs.values()]
    keys = dict.fromkeys(key for config in flat for key in config)
    return [key for key in keys if any(c.get(key) != flat[0].get(key) for c in flat)]


def data_label(result: dict) -> str:
    """Returns where a run's tiles come from and how many were trained, validated and tested."""
    tiles = result["data"]
    source = (
        "synthetic"
        if tiles["source"] == "synthetic"
        else data.folder_label(tiles["dir"])
    )
    return f"{source} {tiles['train']}/{tiles['val']}/{tiles['test']}"


def _print(rows: list[dict[str, str]], titles: list[str]) -> None:
    """Prints the columns of those titles, aligned; a terminal too narrow wraps the lines."""
    lines = [titles] + [[row[title] for title in titles] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        cells = [
            cell.rjust(width) if title in COLUMNS else cell.ljust(width)
            for cell, width, title in zip(line, widths, titles)
        ]
        console.say("  ".join(cells).rstrip())
    console.say()


def _csv(rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(rows: list[dict[str, str]]) -> str:
    rule = ["---:" if title in COLUMNS else "---" for title in rows[0]]
    lines = [list(rows[0]), rule, *(row.values() for row in rows)]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)
