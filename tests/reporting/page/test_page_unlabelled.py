"""The pages of runs whose test tiles are labelled in part, in a browser."""

import browser
import numpy as np
import pytest
import tested_run
from report_pages import (
    CHOSEN,
    COUNT,
    counts_of,
    move,
    outputs,
    pixels,
    shown,
)

from saltjax.data.tiles import UNLABELLED, Tiles
from saltjax.reporting import run_contents, run_report, runs_report
from saltjax.scoring import metrics

pytestmark = pytest.mark.slow
LEGEND = "unlabelled, in no score"
# Without them the page has no images; the default would be 4000 built-in sections.
NO_TILES = {"data.dir": "none"}


@pytest.fixture(scope="module")
def saved():
    """Outputs whose tiles are labelled in a number of columns, from the left."""
    found = outputs([f"t{i:02d}" for i in range(COUNT)])
    for i, label in enumerate(found.labels):
        label[:, 3 + i % 15 :] = UNLABELLED
    return found


@pytest.fixture(scope="module")
def run(saved, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabelled") / "run"
    tested_run.write(folder, saved, chosen=CHOSEN)
    images = np.full((*saved.labels.shape, 3), 100, np.uint8)
    tiles = Tiles(tuple(saved.ids), images, saved.labels[..., None], "folder")
    run_report.write(run_contents.read(folder), tiles=tiles)
    return folder


@pytest.mark.parametrize(("threshold", "min_size"), [CHOSEN, (0.5, 0), (0.3, 25)])
def test_scores_are_those_of_the_program(page, saved, threshold, min_size):
    move(page, threshold, min_size)
    counts = counts_of(saved, threshold, min_size)
    pooled = metrics.pooled_scores(counts.sum(axis=0))
    for name in ("iou", "kaggle_map"):
        expected = metrics.mean_score(counts, name)
        assert shown(page, name) == pytest.approx(expected, abs=6e-5)
    for name in ("f1", "precision", "recall", "accuracy"):
        assert shown(page, name) == pytest.approx(float(pooled[name]), abs=6e-5)
    cells = page.execute_script("return total(confusionOf(explorer.masks))")
    assert [cells[name] for name in ("tp", "fp", "fn", "tn")] == counts.sum(0).tolist()
    assert browser.messages(page) == []


def test_curves_and_coverage_are_those_of_the_program(page, saved):
    from sklearn.metrics import precision_score, recall_score

    over, curve, coverage = page.execute_script(
        "return [scoresOver(explorer.tiles, [0, 0.2, 0.5, 0.9]), precisionRecall(explorer.tiles),"
        "explorer.gallery.stats.map((one) => one.coverage)]"
    )
    for row in over:
        counts = counts_of(saved, row["threshold"], 0)
        for name in ("f1", "iou", "kaggle_map"):
            expected = metrics.mean_score(counts, name)
            assert row[name] == pytest.approx(expected, abs=1e-12)
    labelled = saved.labels != UNLABELLED
    label, prob = saved.labels[labelled], saved.prob[labelled]
    for point in curve[:: len(curve) // 10]:
        predicted = prob >= round(point["threshold"] * 65535)
        assert point["precision"] == pytest.approx(precision_score(label, predicted))
        assert point["recall"] == pytest.approx(recall_score(label, predicted))
    expected = [y[y != UNLABELLED].mean() for y in saved.labels]
    assert coverage == pytest.approx(expected)


def test_unlabelled_pixels_are_tinted_in_label_and_difference(page, saved):
    move(page, 0.0, 0)
    for view in ("label", "difference"):
        found = pixels(page, 4, view)
        hidden = saved.labels[4] == UNLABELLED
        assert len(np.unique(found[hidden], axis=0)) == 1
        red, green, blue = found[hidden][0].tolist()
        assert red > blue > green
        assert not (found[~hidden] == (red, green, blue)).all(axis=1).any()
    assert LEGEND in page.find_element("id", "legend").text


def test_the_pixel_under_the_pointer_is_called_unlabelled(page, saved):
    text = page.execute_script(
        """
        const { gallery } = explorer;
        gallery.enlarge(0);
        const { clientWidth, clientHeight } = gallery.large;
        const event = (x) => ({ offsetX: x * clientWidth, offsetY: 0.5 * clientHeight });
        const texts = [0.01, 0.99].map((x) => {
          gallery.readPixel(event(x));
          return gallery.dialog.querySelector(".pixel").textContent;
        });
        gallery.dialog.close();
        return texts;"""
    )
    assert text[1].endswith(", unlabelled")
    assert text[0].endswith("salt")


def test_runs_beside_each_other(driver, saved, tmp_path):
    for name in ("a", "b"):
        tested_run.write(tmp_path / name, saved, NO_TILES, chosen=CHOSEN)
    runs_report.write(tmp_path, "")
    browser.open_page(driver, tmp_path / "report.html")
    browser.wait(driver, "window.sideBySide")
    assert browser.messages(driver) == []
    assert LEGEND in driver.find_element("id", "legend").text
    coverage = driver.execute_script("return sideBySide.stats.map((s) => s.coverage)")
    expected = [y[y != UNLABELLED].mean() for y in saved.labels]
    assert coverage == pytest.approx(expected)
    text = driver.execute_script(
        """
        sideBySide.at = [sideBySide.tiles.width - 1, 0];
        sideBySide.drawPoint();
        return document.getElementById("pixel").textContent;"""
    )
    assert text.endswith(": unlabelled in the label")


def test_without_unlabelled_pixels_the_legend_names_none(tmp_path):
    tested_run.write(
        tmp_path / "run", outputs(["a", "b", "c"]), NO_TILES, chosen=CHOSEN
    )
    run_report.write(run_contents.read(tmp_path / "run"))
    assert LEGEND not in (tmp_path / "run/report.html").read_text(encoding="utf-8")
