"""What is shown of a finished run: figures and a few lines."""

import pathlib

import numpy as np

from saltjax.data import tiles as data
from saltjax.reporting import figures as plots
from saltjax.reporting import tile_figures as pictures
from saltjax.scoring import metrics
from saltjax.scoring import postprocess as masks
from saltjax.scoring import scores as scoring
from saltjax.system import console, files
from saltjax.system.errors import InputError


def draw_training(
    history: list[dict], best_epoch: int, source: str, folder: pathlib.Path
) -> None:
    """Draws curves.png for the rows of metrics.csv."""
    plots.save(plots.curves(history, best_epoch, source), folder / "curves.png")


def draw_thresholds(
    scores: dict, curve: dict, source: str, folder: pathlib.Path
) -> None:
    """Draws thresholds.png; `curve` is the `metrics.precision_recall` of the validation pixels."""
    figure = plots.thresholds(scores["thresholds"], scores["threshold"], curve, source)
    plots.save(figure, folder / "thresholds.png")


def draw_scores(
    curves: dict[str, dict],
    test: scoring.Test,
    rule: masks.Rule,
    tiles: data.Tiles,
    source: str,
    seed: int,
    folder: pathlib.Path,
) -> None:
    """Draws the scores of a test: curves, classes of coverage, calibration, examples, worst tiles.

    `curves` are the `metrics.precision_recall` to be drawn, by the name of the tiles; `source` is
    what the data are.
    """
    figures = {
        "precision_recall": plots.precision_recall(curves, rule.threshold, source),
        "by_coverage": plots.by_coverage(test.scores["by_coverage"], source),
        "reliability": plots.reliability(test.scores["calibration"], source),
    }
    mean = test.scores["test_native"]["iou"]["value"]
    for name, rows, heading in (
        (
            "predictions",
            pick_examples(test.counts, seed),
            f"Evenly spaced ranks by IoU of {len(test.counts)} tiles, mean IoU {mean:.2f}",
        ),
        (
            "worst",
            pick_worst(test.counts),
            f"Least IoU of {len(test.counts)} tiles, of equals those with most wrong pixels",
        ),
    ):
        indices = test.outputs.indices[rows]
        iou = metrics.tile_scores(test.counts[rows])["iou"]
        figures[name] = pictures.predictions(
            tiles.images[indices],
            tiles.labels[indices, :, :, 0],
            test.outputs.prob_native[rows],
            test.masks[rows],
            rule.threshold,
            [
                f"{pictures.shortened(tiles.ids[i])}\nIoU {score:.2f}"
                for i, score in zip(indices, iou)
            ],
            heading,
            source,
        )
    for name, figure in figures.items():
        plots.save(figure, folder / f"{name}.png")


def pick_examples(counts: np.ndarray, seed: int) -> np.ndarray:
    """Returns rows of `metrics.confusion` counts: the middles of equal parts of all, by IoU.

    Of tiles with the same IoU the seed chooses.
    """
    n = min(len(counts), pictures.EXAMPLES)
    order = np.random.default_rng((seed, 0, 2)).permutation(len(counts))
    ranked = order[np.argsort(metrics.tile_scores(counts)["iou"][order], kind="stable")]
    return ranked[(2 * np.arange(n) + 1) * len(counts) // (2 * n)]


def pick_worst(counts: np.ndarray) -> np.ndarray:
    """Returns rows of `metrics.confusion` counts: least IoU first, of equals more wrong pixels."""
    wrong = counts[:, 1] + counts[:, 2]
    return np.lexsort((-wrong, metrics.tile_scores(counts)["iou"]))[: pictures.EXAMPLES]


def show_finished(workdir: pathlib.Path) -> None:
    """Prints the result.json of a run's folder; raises InputError if it is damaged."""
    path = workdir / "result.json"
    try:
        result = files.read_json(path)
        show(result)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: damaged ({error}); delete it, and the same command tests the best "
            "checkpoint again"
        ) from None
    console.say(f"Data       {data.source_label(result['data'])}")
    console.say(f"Figures    {workdir / 'plots'}")


def show(result: dict) -> None:
    """Prints the outcome of a run, as result.json holds it."""
    ended = "stopped early" if result["stopped_early"] else "last epoch reached"
    console.say(
        f"Trained    {result['epochs']} epochs ({ended}), best {result['best_epoch']}, "
        f"{result['train_seconds']:.0f} s"
    )
    show_scores(result)


def show_scores(result: dict) -> None:
    """Prints the scores that result.json and evaluation.json hold."""
    test, native, chosen = result["test"], result["test_native"], result["threshold"]
    console.say(
        f"Test       at the network's resolution: loss {test['loss']:.4f}  average precision {test['average_precision']:.4f}"
    )
    console.say(
        f"           at 0.5: accuracy {test['accuracy']:.4f} (no salt anywhere: "
        f"{result['test_no_salt']['accuracy']:.4f})"
    )
    console.say(
        f"           at {chosen['value']:.3f}, best {plots.SCORE_NAMES[chosen['metric']]} on "
        f"validation: accuracy {test['accuracy_at_threshold']:.4f}  "
        f"precision {test['precision']:.4f}  recall {test['recall']:.4f}  F1 {test['f1']:.4f}"
    )
    area = result["min_area"]
    smaller = f", without bodies under {area} pixels" if area > 1 else ""
    console.say(
        f"At the tiles' own resolution{smaller}, with 95 % intervals over tiles"
    )
    rows = [("all", native)]
    rows += [
        (f"coverage {row['coverage']}, {row['tiles']} tiles", row)
        for row in result["by_coverage"]
    ]
    width = max(len(name) for name, _ in rows)
    for name, scores in rows:
        cells = (
            f"{plots.SCORE_NAMES[key]} {scores[key]['value']:.4f} "
            f"({scores[key]['low']:.4f}–{scores[key]['high']:.4f})"
            for key in ("iou", "kaggle_map")
        )
        console.say(f"           {name:{width}}  {'  '.join(cells)}")
    console.say(
        f"           expected calibration error {result['calibration']['ece']:.4f}"
    )
