"""The page of several runs without a browser: what it holds and what it says is left out."""

import errno
import json
import logging
import os
import pathlib
import shutil

import numpy as np
import pytest
import tested_run
from page_text import data_of, page_of

from configs import default
from saltjax import compare, report
from saltjax.runs import saved_config, workdir
from saltjax.system.errors import InputError

# Without a directory the tiles would be synthetic ones, made again for the page.
MOVED = {"data.dir": "/nowhere/tiles"}
HOSTILE = "<script>alert(1)<∕script>&\"'"


def rows_of(folder):
    return {row["name"]: row for row in data_of(folder)["rows"]}


def unfinished(folder, epochs):
    folder.mkdir()
    saved_config.write(folder, default.get_config())
    row = dict.fromkeys(workdir.METRICS, 0.5)
    workdir.write_metrics(folder, [row | {"epoch": n + 1} for n in range(epochs)])


@pytest.fixture
def runs(tmp_path):
    """Two runs on the same tiles, one of them better, and one on the tiles of another split."""
    folder = tmp_path / "runs"
    for name, error, rows in (
        ("good", 0.1, range(30)),
        ("poor", 0.3, range(30)),
        ("split", 0.1, range(20, 40)),
    ):
        tested_run.write(
            folder / name,
            tested_run.outputs(error, 1, rows),
            {"model.skip": name != "poor"} | MOVED,
            val_score=1 - error,
        )
    return folder


def test_the_table_is_that_of_compare(runs):
    report.report(runs)
    compare.compare(runs, "", "")
    data = data_of(runs)
    written = tested_run.read_csv(runs / "compare.csv")
    assert [row["name"] for row in data["rows"]] == [row["run"] for row in written]
    titles = [column["title"] for column in data["columns"]]
    assert set(written[0]) <= {"run", *titles}
    for row, expected in zip(data["rows"], written):
        for title, cell in row["cells"].items():
            if title in expected and "value" in cell:
                assert cell["value"] == float(expected[title])
    differences = tested_run.read_csv(runs / "differences.csv")
    assert [row["run"] for row in differences] == ["poor"]
    cells = rows_of(runs)["poor"]["cells"]
    for title in ("IoU", "Kaggle mAP", "F1", "accuracy at threshold", "IoU at 0.5"):
        cell = cells[f"Δ {title}"]
        for key, suffix in (("value", ""), ("low", " low"), ("high", " high")):
            assert cell[key] == float(differences[0][title + suffix])
    assert cells["Δ IoU"]["text"] == f"{cells['Δ IoU']['value']:+.4f}".replace("-", "−")
    assert cells["Δ IoU"]["high"] < 0
    assert "Δ IoU" not in rows_of(runs)["good"]["cells"]
    assert "A difference (Δ) is that to good" in page_of(runs).text
    assert "interval over 30 tiles" in page_of(runs).text
    assert "Ordered by validation F1, the best first;" in page_of(runs).text


def test_scores_have_the_intervals_of_their_result(runs):
    report.report(runs)
    result = json.loads((runs / "good/result.json").read_text())
    cell = rows_of(runs)["good"]["cells"]["IoU"]
    native = result["test_native"]["iou"]
    assert {key: cell[key] for key in ("value", "low", "high")} == native
    assert cell["text"] == f"{native['value']:.4f}"


def test_the_reference_can_be_chosen(runs):
    report.report(runs, "poor")
    rows = rows_of(runs)
    assert "Δ IoU" not in rows["poor"]["cells"]
    assert rows["good"]["cells"]["Δ IoU"]["low"] > 0
    assert "that to poor" in page_of(runs).text
    with pytest.raises(InputError, match="--reference=none: no completed run of that"):
        report.report(runs, "none")
    with pytest.raises(InputError, match="good is not one"):
        report.report(runs / "good", "poor")


def test_what_each_run_adds_to_the_one_before(runs):
    report.report(runs, "previous")
    rows = rows_of(runs)
    assert list(rows) == ["good", "poor", "split"]
    assert rows["poor"]["cells"]["Δ IoU"]["value"] < 0
    text = page_of(runs).text
    assert "is the gain over the row above by name" in text
    assert "gains over the row above, at 95 %" in text
    assert "model.skip=False" in text


def test_means_over_seeds_are_rows_of_the_table(tmp_path):
    for seed, loss in ((0, 0.2), (1, 0.4)):
        tested_run.write(tmp_path / f"a{seed}", None, {"seed": seed}, loss=loss)
    report.report(tmp_path)
    row = data_of(tmp_path)["rows"][-1]
    assert (row["name"], row["mean"]) == (
        "a*",
        "2 runs (seeds 0-1); error over 2 seeds",
    )
    # The error is half the difference of two runs.
    assert row["cells"]["test loss"] == {
        "text": "0.3000 ± 0.1000",
        "value": pytest.approx(0.3),
    }
    assert "seed" not in row["cells"]


def test_curves_are_those_of_every_run_also_unfinished_ones(runs):
    unfinished(runs / "young", 3)
    unfinished(runs / "unborn", 0)
    report.report(runs)
    data = data_of(runs)
    assert data["completed"] == 3
    assert data["names"] == ["good", "split", "poor", "unborn", "young"]
    curves = {data["names"][one["run"]]: one for one in data["curves"]}
    assert set(curves) == {"good", "split", "poor", "young"}
    assert curves["young"]["values"]["epoch"] == [1, 2, 3]
    assert curves["young"]["best"] is None
    assert curves["good"]["best"] == 2
    assert curves["good"]["values"]["val_loss"] == [0.6, 0.5]
    assert "young: not complete yet, left out" in page_of(runs).text


def test_what_is_left_out_is_said_on_the_page_and_printed(runs, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    for name in ("damaged", "torn", "uncounted", "without"):
        tested_run.write(runs / name, tested_run.outputs(0.2, 5, range(30)), MOVED)
    (runs / "damaged/result.json").write_text("{")
    (runs / "torn/test_outputs.npz").write_bytes(b"PK")
    (runs / "uncounted/metrics.csv").write_text("epoch\n1\n")
    (runs / "without/test_outputs.npz").unlink()
    outputs = tested_run.outputs(0.2, 6)
    tested_run.write(runs / "other", outputs, MOVED, content="other")
    report.report(runs)
    page = page_of(runs)
    for part in (
        "damaged: left out (",
        "torn: no differences",
        "uncounted: no curves",
        "No differences of without",
        "other: other data, not among the tiles side by side",
        "Without the images of the tiles",
    ):
        assert part in page.text, part
        assert part in caplog.text, part
    names = data_of(runs)["names"]
    shown = {names[one["run"]] for one in data_of(runs)["tiles"]["runs"]}
    assert shown == {"good", "poor", "split", "uncounted"}
    assert "damaged" not in names


def test_tiles_hold_what_each_run_predicts(runs):
    import base64
    import zlib

    report.report(runs)
    data = data_of(runs)
    tiles = data["tiles"]
    assert tiles["ids"] == [f"t{i:02d}" for i in range(30)]
    saved = tested_run.outputs(0.3, 1, range(30))
    (poor,) = [one for one in tiles["runs"] if data["names"][one["run"]] == "poor"]
    page = (runs / "report.html").read_text(encoding="utf-8")

    def unpacked(name):
        _, _, rest = page.partition(f'id="{name}">')
        content = zlib.decompress(base64.b64decode(rest.partition("<")[0]))
        return np.frombuffer(content, np.uint8).reshape(30, 8, 8)

    assert np.array_equal(unpacked(f"mask-{poor['run']}"), saved.prob > 32767)
    steps = unpacked(f"prob-{poor['run']}")
    prob = np.cumsum(steps, axis=2).astype(np.uint8)
    assert np.array_equal(prob, np.where(saved.prob > 32767, 204, 51))
    (split,) = [one for one in tiles["runs"] if data["names"][one["run"]] == "split"]
    assert [value is None for value in split["iou"]] == [True] * 20 + [False] * 10
    assert np.mean(poor["iou"]) == pytest.approx(
        json.loads((runs / "poor/result.json").read_text())["test_native"]["iou"][
            "value"
        ]
    )


def test_runs_with_a_report_are_linked(runs):
    hostile = runs / f"{HOSTILE} javascript:#%"
    shutil.copytree(runs / "good", hostile)
    for name in ("good", hostile.name):
        report.report(runs / name)
    report.report(runs)
    links = {name: row["link"] for name, row in rows_of(runs).items()}
    assert links.pop("good") == "./good/report.html"
    # Percent-encoded: nothing of the name is read as a scheme, a fragment or markup.
    link = links.pop(hostile.name)
    assert link.startswith("./%3Cscript%3Ealert%281%29%3C")
    assert link.endswith("%20javascript%3A%23%25/report.html")
    assert set(links.values()) == {""}


def test_names_are_escaped_everywhere(tmp_path):
    folder = tmp_path / HOSTILE
    outputs = tested_run.outputs(0.1, 1)
    outputs.ids[3] = "</script><u>"
    for number in range(2):
        changes = {"data.dir": HOSTILE, "seed": number}
        tested_run.write(folder / f"{HOSTILE}{number}", outputs, changes)
    unfinished(folder / f"{HOSTILE}2", 1)
    report.report(folder)
    page = page_of(folder)
    assert page.text.count(HOSTILE) >= 4
    assert "u" not in page.tags
    # The script, its data, and the arrays: labels, mosaic, and two of each run.
    assert page.tags.count("script") == 2 + 2 + 4
    assert data_of(folder)["names"] == [f"{HOSTILE}{i}" for i in range(3)]


def test_one_run_is_enough(tmp_path):
    tested_run.write(tmp_path / "runs/only", tested_run.outputs(0.1, 1), MOVED)
    report.report(tmp_path / "runs")
    page = page_of(tmp_path / "runs")
    # Those of one run are in its own report.
    assert data_of(tmp_path / "runs")["tiles"] is None
    assert "test tile" not in page.text
    assert "difference (Δ)" not in page.text
    assert [row["name"] for row in data_of(tmp_path / "runs")["rows"]] == ["only"]


def test_runs_without_common_tiles_are_not_said_to_have_the_same(tmp_path):
    for number in range(2):
        part = tested_run.outputs(0.1, 1, range(9 * number, 9 * number + 9))
        tested_run.write(tmp_path / f"fold{number}", part, MOVED)
    report.report(tmp_path)
    text = page_of(tmp_path).text
    assert "The test tiles of all runs" in text
    assert "All 18 test tiles." in text
    assert "The same test tile" not in text
    assert "greatest difference" not in text


def test_without_outputs_there_are_no_tiles(tmp_path):
    tested_run.write(tmp_path / "a", None)
    report.report(tmp_path)
    assert data_of(tmp_path)["tiles"] is None
    assert "through all runs" not in page_of(tmp_path).text


def test_a_directory_without_a_completed_run_is_refused(tmp_path):
    unfinished(tmp_path / "young", 1)
    with pytest.raises(InputError, match="no completed run in it"):
        report.report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_run_whose_path_of_tiles_is_none_is_left_out(tmp_path, caplog):
    caplog.set_level("INFO", "saltjax")
    for name in ("good", "bad"):
        tested_run.write(tmp_path / name, tested_run.outputs(0.1, 1), MOVED)
    config = json.loads((tmp_path / "bad/config.json").read_text())
    config["data"]["dir"] = 3
    (tmp_path / "bad/config.json").write_text(json.dumps(config))
    report.report(tmp_path)
    assert [row["name"] for row in data_of(tmp_path)["rows"]] == ["good"]
    assert "bad: left out (" in caplog.text
    assert "data.dir 3" in caplog.text


def test_a_directory_that_cannot_be_read_is_left_out(runs, caplog, monkeypatch):
    caplog.set_level("INFO", "saltjax")
    closed, listdir = runs / "closed", os.listdir
    closed.mkdir()

    def list_others(path="."):
        if pathlib.Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", list_others)
    report.report(runs)
    assert f"closed: left out (cannot read {closed}: Permission denied" in caplog.text
    assert "closed" not in data_of(runs)["names"]
    assert "closed: left out" in page_of(runs).text


def test_a_file_of_somebody_else_is_not_replaced(runs):
    report.report(runs)
    report.report(runs)  # its own is
    (runs / "report.html").write_text("mine")
    with pytest.raises(InputError, match=r"report\.html: not written by this program"):
        report.report(runs)
    assert (runs / "report.html").read_text() == "mine"
