import dataclasses

import msgspec
import pytest
import written_run

from saltjax.data.statistics import Statistics
from saltjax.reporting import tables
from saltjax.runs.result import Result

RESULT = msgspec.convert(written_run.RESULT, Result)


@pytest.fixture
def said(caplog):
    """Returns a function that gives the lines said so far."""
    caplog.set_level("INFO", "saltjax")
    return lambda: "\n".join(caplog.messages).splitlines()


def test_statistics_are_shown_with_a_histogram(said):
    histogram = [12, 0, 6, 0, 0, 0, 0, 0, 0, 1]
    stats = Statistics(40, 12, 10, 20, 1, 3, 0, 0, [], 0.25, histogram, 9.26)
    tables.show_statistics(stats)
    lines = said()
    assert lines[0] == "Data       40 tiles of 10×12 pixels"
    share = "20 without salt (50.0%), 1 all salt, salt covers 25.0% of pixels"
    assert lines[1].strip() == share
    assert lines[2].strip() == "dominant vertical period 9.3 pixels"
    assert "3 images of one constant value" in lines[3]
    assert lines[5] == f"             0– 10 %     12 {'█' * 24}"
    assert lines[7] == f"            20– 30 %      6 {'█' * 12}"
    assert lines[14] == f"            90–100 %      1 {'█' * 2}"
    assert len(lines) == 15


def test_tiles_without_salt_have_an_empty_histogram(said):
    tables.show_statistics(
        Statistics(5, 12, 10, 5, 0, 0, 0, 0, [], 0.0, [0] * 10, None)
    )
    assert not any("█" in line for line in said())


def test_one_is_not_plural(said):
    stats = Statistics(1, 12, 10, 0, 0, 1, 1, 0, [("b", "a")], 0.5, [1] + [0] * 9, None)
    tables.show_statistics(stats)
    assert said()[0] == "Data       1 tile of 10×12 pixels"
    assert said()[2].strip() == "1 image of one constant value"
    assert said()[3].strip() == "1 image is a copy, 0 with another mask, such as b of a"
    row = dataclasses.replace(RESULT.by_coverage[0], tiles=1)
    tables.show_native(0, dataclasses.replace(RESULT, by_coverage=[row]))
    assert any(line.split()[:4] == ["no", "salt,", "1", "tile"] for line in said())


def test_copies_are_shown_with_examples(said):
    pairs = [("b", "a"), ("d", "c")]
    stats = Statistics(5, 12, 10, 5, 0, 0, 2, 1, pairs, 0.0, [0] * 10, None)
    tables.show_statistics(stats)
    expected = (
        "2 images are copies of others, 1 with another mask, such as b of a, d of c"
    )
    assert said()[3].strip() == expected


def test_patches_and_lines_of_a_volume_are_called_so(said):
    stats = Statistics(5, 8, 8, 2, 0, 0, 2, 0, [("b", "a")], 0.5, [1] + [0] * 9, None)
    tables.show_statistics(stats, "patch")
    assert said()[0] == "Data       5 patches of 8×8 pixels"
    same = "2 patches the same as others, since there are fewer places for them"
    assert said()[3].strip() == same
    data = dataclasses.replace(RESULT.data, source="volume")
    tables.show_result(dataclasses.replace(RESULT, data=data))
    text = "\n".join(said())
    assert "At the lines' own resolution" in text
    assert "no salt, 2 lines" in text
    assert "over 4 groups of lines" in text
    assert "tile" not in text


def test_a_single_group_has_no_intervals(said):
    tables.show_native(0, dataclasses.replace(RESULT, test_units=1))
    assert said()[0].endswith("own resolution, without intervals: 5 tiles of one group")
    assert said()[1].split(maxsplit=1)[1] == "IoU 0.6000  Kaggle mAP 0.0500"
    assert not any("(" in line for line in said())


def test_result_is_shown_with_all_scores(said):
    tables.show_result(RESULT)
    text = "\n".join(said())
    for words in (
        "7 epochs (stopped early), tested 2, 12 s",
        "loss 0.2500  average precision 0.7900",
        "at 0.5: accuracy 0.9000 (no salt anywhere: 0.7503)",
        "at 0.169, best Kaggle mAP on validation: accuracy 0.9100  precision 0.8000  "
        "recall 0.7000  F1 0.7460",
        "without components under 16 pixels",
        "no salt, 2 tiles       IoU 1.0000 (1.0000–1.0000)  Kaggle mAP 1.0000 (1.",
        "10–40 % salt, 3 tiles  IoU 0.3333 (0.1000–0.5000)  Kaggle mAP 0.2000 (0.",
        "over all pixels: two-class mean IoU 0.7800 (0.6800–0.8800)  mean class accuracy "
        "0.8800 (0.8300–0.9300)",
        "expected calibration error 0.0625",
        # Of the five tiles two are of one group.
        "with 95 % intervals over 4 groups of tiles",
    ):
        assert words in text
    (everything,) = (line for line in said() if line.split()[0] == "all")
    assert everything.split(maxsplit=1)[1] == (
        "IoU 0.6000 (0.5000–0.7000)  Kaggle mAP 0.0500 (0.0000–0.1222)"
    )


def test_result_of_a_version_with_fewer_scores_is_shown(said):
    native = dataclasses.replace(
        RESULT.test_native, mean_iou=None, mean_class_accuracy=None
    )
    older = dataclasses.replace(RESULT, test_native=native, test_units=None)
    tables.show_result(older)
    text = "\n".join(said())
    assert "95 % intervals over 5 tiles" in text
    assert "two-class" not in text
    tables.show_result(dataclasses.replace(RESULT, test_units=5))
    assert "95 % intervals over 5 tiles" in said()[-6]


def test_undefined_scores_are_shown_as_such(said):
    none = dict.fromkeys(("precision", "recall", "f1", "average_precision"))
    test = dataclasses.replace(RESULT.test, **none)
    tables.show_result(dataclasses.replace(RESULT, test=test))
    text = "\n".join(said())
    assert "average precision –" in text
    assert "precision –  recall –  F1 –" in text


@pytest.mark.parametrize("area", [0, 1])
def test_result_at_the_last_epoch_without_a_minimum_size(said, area):
    tables.show_result(dataclasses.replace(RESULT, stopped_early=False, min_area=area))
    assert "7 epochs (last epoch reached)" in said()[0]
    assert not any("components" in line for line in said())


@pytest.mark.parametrize(("best", "mark"), [(12, "  best"), (11, ""), (0, "")])
def test_epoch_is_one_line(said, best, mark):
    row = {
        "epoch": 12,
        "train_loss": 0.25,
        "train_accuracy": 0.875,
        "val_loss": 0.5,
        "val_accuracy": 0.75,
        "learning_rate": 1e-4,
        "seconds": 3.25,
    }
    tables.show_epoch(row, best, 100)
    assert said() == [
        "epoch  12/100  train loss 0.2500 accuracy 0.8750  val loss 0.5000 accuracy "
        f"0.7500  lr 0.0001  3.2 s{mark}"
    ]
    tables.show_epoch(row | {"val_kaggle_map": 0.625, "train_lovasz": 1.5}, best, 100)
    assert said()[1] == (
        "epoch  12/100  train loss 0.2500 accuracy 0.8750  val loss 0.5000 accuracy "
        f"0.7500 Kaggle mAP 0.6250  lr 0.0001  3.2 s{mark}"
    )


ROWS = [
    {"run": "a", "loss": "0.5", "note": "x|y"},
    {"run": "longer", "loss": "10.25", "note": ""},
]


def test_rows_are_aligned(said):
    tables.show_rows(ROWS, ["run", "loss", "note"], ["loss"])
    assert said()[:3] == [
        "run      loss  note",
        "a         0.5  x|y",
        "longer  10.25",
    ]


def test_markdown_table():
    assert tables.markdown(ROWS, ["loss"]) == (
        "| run | loss | note |\n"
        "| --- | ---: | --- |\n"
        "| a | 0.5 | x\\|y |\n"
        "| longer | 10.25 |  |\n"
    )
