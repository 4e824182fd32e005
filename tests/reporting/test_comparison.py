import numpy as np

from saltjax.reporting import comparison
from saltjax.reporting.comparison import Row
from saltjax.runs import settings
from saltjax.runs.result import Interval


def config(**changes):
    return settings.defaults() | {
        key.replace("_", ".", 1): x for key, x in changes.items()
    }


FEATURES = settings.value_text(settings.defaults()["model.features"])


def test_three_runs_have_three_labels():
    configs = [
        config(),
        config(model_downsample="strided"),
        config(model_downsample="strided", model_skip=False, train_compile_cache="/x"),
    ]
    assert comparison.labels(configs, ["unet-1", "unet-2", "unet-3"]) == [
        "unet-1: downsample=max_pool, skip=True",
        "unet-2: downsample=strided, skip=True",
        "unet-3: downsample=strided, skip=False",
    ]


def test_with_many_settings_only_those_that_are_not_the_default_are_named():
    configs = [
        config(data_folds=5, data_fold=1),
        config(model_norm="group", model_features=(8, 16), data_folds=5, data_fold=2),
        config(model_name="fcn", model_skip=False),
        config(optim_learning_rate=0.01, data_dir="/data/tgs/train"),
    ]
    # Of runs that are no folds none is named.
    assert comparison.labels(configs, "abcd") == [
        "a: folds=5, fold=1",
        "b: folds=5, features=8,16, norm=group, fold=2",
        "c: model=fcn, skip=False",
        "d: dir=train, learning_rate=0.01",
    ]
    assert comparison.labels(configs, "abcd", repeated=False)[0] == "a: folds=5"
    assert comparison.labels([*configs, config()], "abcde")[4] == "e: default settings"


def test_settings_that_a_name_holds_are_not_repeated():
    configs = [
        config(model_skip=False, model_features=(8, 16)),
        config(model_features=(4, 8), seed=1),
        config(seed=1, data_seed=1),
    ]
    names = ["unet-model.features=8x16-model.skip=False", "b", "unet-data.seed=1"]
    assert comparison.labels(configs, names) == [
        "unet-model.features=8x16-model.skip=False: data.seed=0, seed=0",
        "b: features=4,8, skip=True, data.seed=0, seed=1",
        f"unet-data.seed=1: features={FEATURES}, skip=True, seed=1",
    ]


def test_scores_and_differences_are_drawn_at_their_rows():
    point = Interval(0.5, 0.5, 0.5)
    rows = [
        Row(
            "a", {"val loss": point, "IoU": Interval(0.6, 0.5, 0.8)}, None, True, False
        ),
        Row("b", {"test loss": Interval(0.3, 0.3, 0.3)}, point, False, False),
        Row("c$x$", {"test loss": Interval(0.4, 0.3, 0.5)}, None, False, True),
    ]
    figure = comparison.comparison(rows, "tgs/train")
    loss, _, _, iou, _, difference = figure.axes
    drawn = {
        (round(x, 6), round(y))
        for line in loss.lines
        for x, y in zip(*(np.atleast_1d(values) for values in line.get_data()))
    }
    assert {(0.5, 0), (0.3, 1), (0.4, 2)} <= drawn
    ends = [line.get_xdata()[0] for line in iou.lines if len(line.get_xdata()) == 1]
    assert sorted(ends) == [0.5, 0.6, 0.8]
    assert [(t.get_text(), t.get_position()[1]) for t in difference.texts] == [
        ("reference", 0)
    ]
    labels = [text.get_text() for text in loss.get_yticklabels()]
    assert labels == ["a", "b", "c$x$"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [
        "validation",
        "test",
        "test, mean ± standard error",
    ]
    # The first run is at the top.
    bottom, top = loss.get_ylim()
    assert bottom > top
    figure.canvas.draw()


def test_value_beside_its_interval_by_rounding_is_drawn():
    # Of equal tiles: the mean of equal numbers, and their percentiles.
    iou = Interval(0.7441860465116279, low=0.744186046511628, high=0.744186046511628)
    comparison.comparison(
        [Row("a", {"IoU": iou}, None, False, False)], "x"
    ).canvas.draw()


def test_paths_are_short_and_built_in_sections_are_named():
    configs = [config(), config(data_dir="/data/tgs/train")]
    assert comparison.labels(configs, "ab") == ["a: dir=synthetic", "b: dir=train"]
