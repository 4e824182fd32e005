"""What is shown of a finished run: figures and a few lines."""

import pathlib

import numpy as np

from saltjax import console, data, evaluate, metrics, plots, run
from saltjax.errors import InputError


def draw_training(
    history: list[dict], best_epoch: int, source: str, folder: pathlib.Path
) -> None:
    """Draws curves.png for the rows of metrics.csv."""
    plots.curves(history, best_epoch, source).savefig(folder / "curves.png")


def draw_test(
    test: evaluate.Test, tiles: data.Tiles, seed: int, folder: pathlib.Path
) -> None:
    """Draws the precision-recall curves, scores over thresholds, examples and worst tiles."""
    source, threshold = tiles.description, test.scores["threshold"]["value"]
    rows = test.scores["thresholds"]
    figures = {
        "precision_recall": plots.precision_recall(
            test.val_curve, test.test_curve, source
        ),
        "thresholds": plots.thresholds(rows, test.val_curve, source),
    }
    mean = test.scores["test_native"]["iou"]["value"]
    for name, rows, heading in (
        (
            "predictions",
            pick_examples(test.counts, seed),
            f"Evenly spaced ranks by IoU of {len(test.counts)} test tiles, mean IoU {mean:.2f}",
        ),
        (
            "worst",
            pick_worst(test.counts),
            f"Least IoU of {len(test.counts)} test tiles, of equals those with most wrong pixels",
        ),
    ):
        indices = test.outputs.indices[rows]
        iou = metrics.tile_scores(test.counts[rows])["iou"]
        figures[name] = plots.predictions(
            tiles.images[indices],
            tiles.labels[indices, :, :, 0],
            test.outputs.prob_native[rows],
            threshold,
            [
                f"{plots.shortened(tiles.ids[i])}\nIoU {score:.2f}"
                for i, score in zip(indices, iou)
            ],
            heading,
            source,
        )
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png")


def pick_examples(counts: np.ndarray, seed: int) -> np.ndarray:
    """Returns rows of `metrics.confusion` counts: the middles of equal parts of all, by IoU.

    Of tiles with the same IoU the seed chooses.
    """
    n = min(len(counts), plots.EXAMPLES)
    order = np.random.default_rng((seed, 0, 2)).permutation(len(counts))
    ranked = order[np.argsort(metrics.tile_scores(counts)["iou"][order], kind="stable")]
    return ranked[(2 * np.arange(n) + 1) * len(counts) // (2 * n)]


def pick_worst(counts: np.ndarray) -> np.ndarray:
    """Returns rows of `metrics.confusion` counts: least IoU first, of equals more wrong pixels."""
    wrong = counts[:, 1] + counts[:, 2]
    return np.lexsort((-wrong, metrics.tile_scores(counts)["iou"]))[: plots.EXAMPLES]


def show_finished(workdir: pathlib.Path) -> None:
    """Prints the result.json of a run's folder; raises InputError if it is damaged."""
    path = workdir / "result.json"
    try:
        result = run.read_json(path)
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
    test, native = result["test"], result["test_native"]
    ended = "stopped early" if result["stopped_early"] else "last epoch reached"
    console.say(
        f"Trained    {result['epochs']} epochs ({ended}), best {result['best_epoch']}, "
        f"{result['train_seconds']:.0f} s"
    )
    console.say(
        f"Test       loss {test['loss']:.4f}  average precision {test['average_precision']:.4f}"
    )
    console.say(
        f"           at 0.5: accuracy {test['accuracy']:.4f} (no salt anywhere: "
        f"{result['test_no_salt']['accuracy']:.4f})"
    )
    console.say(
        f"           at {result['threshold']['value']:.3f}, best F1 on validation: "
        f"accuracy {test['accuracy_at_threshold']:.4f}  precision {test['precision']:.4f}  "
        f"recall {test['recall']:.4f}  F1 {test['f1']:.4f}"
    )
    for name in ("iou", "kaggle_map"):
        score = native[name]
        console.say(
            f"           {name} {score['value']:.4f} ({score['low']:.4f}–{score['high']:.4f}, "
            "95 % interval over tiles, at their own resolution)"
        )
