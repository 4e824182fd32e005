"""The page of a run in a browser: gallery, views, keyboard and widths."""

import json

import browser
import numpy as np
import pytest
import tested_run
from PIL import Image
from report_pages import (
    CHOSEN,
    COUNT,
    choose,
    counts_of,
    move,
    pixels,
    shown,
    visible_tiles,
)

from saltjax import report
from saltjax.scoring import metrics, postprocess

pytestmark = pytest.mark.slow


def test_the_gallery_is_in_order(page, saved):
    counts = counts_of(saved, *CHOSEN)
    iou = metrics.tile_scores(counts)["iou"]
    wrong = counts[:, 1] + counts[:, 2]
    coverage = saved.labels.mean(axis=(1, 2))
    ids = np.array(saved.ids)
    assert visible_tiles(page) == ids[np.lexsort((-wrong, iou))].tolist()
    for name, keys in (
        ("error", -wrong),
        ("coverage", coverage),
        ("id", np.arange(COUNT)),
        ("worst", None),
    ):
        choose(page, "sort", name)
        order = (
            np.lexsort((-wrong, iou))
            if keys is None
            else np.argsort(keys, kind="stable")
        )
        assert visible_tiles(page) == ids[order].tolist(), name
    # The order follows the sliders when they rest.
    before = visible_tiles(page)
    focused = "document.activeElement.dataset.tile"
    page.execute_script("document.querySelector('[data-tile=t07]').focus()")
    move(page, 0.8, 0)
    counts = counts_of(saved, 0.8, 0)
    wrong = counts[:, 1] + counts[:, 2]
    expected = ids[np.lexsort((-wrong, metrics.tile_scores(counts)["iou"]))].tolist()
    assert expected != before
    browser.wait(
        page,
        f"explorer.gallery.shown.join() === '{','.join(map(str, [saved.ids.index(i) for i in expected]))}'",
    )
    assert visible_tiles(page) == expected
    assert page.execute_script(f"return {focused}") == "t07"


def test_the_gallery_is_filtered(page, saved):
    counts = counts_of(saved, *CHOSEN)
    tp, fp, fn, _ = counts.T
    ids = np.array(saved.ids)
    choose(page, "sort", "id")
    for name, which in (
        ("empty", tp + fn == 0),
        ("salt", tp + fn > 0),
        ("false", (tp + fn == 0) & (fp > 0)),
        ("missed", (tp + fn > 0) & (tp == 0)),
        ("poor", metrics.tile_scores(counts)["iou"] <= 0.5),
        ("all", tp >= 0),
    ):
        choose(page, "filter", name)
        assert which.any(), name
        assert visible_tiles(page) == ids[which].tolist(), name
    page.execute_script(
        "const find = document.getElementById('find'); find.value = 'T1';"
        "find.dispatchEvent(new Event('input'))"
    )
    assert visible_tiles(page) == [f"t1{i}" for i in range(10)]


def test_the_views_show_image_label_probability_mask_and_difference(page, saved, run):
    move(page, 0.5, 4)
    prob = postprocess.from_sixteen_bits(saved.prob)
    masks = postprocess.salt_mask(prob, postprocess.Postprocessing(0.5, 4))
    for tile in (0, 7, COUNT - 1):
        image = np.asarray(Image.open(run.parent / f"tiles/images/t{tile:02d}.png"))
        assert (pixels(page, tile, "image") == image[..., None]).all()
        assert (pixels(page, tile, "label")[..., 0] == 255 * saved.labels[tile]).all()
        assert (pixels(page, tile, "mask")[..., 2] == 255 * masks[tile]).all()
        drawn = pixels(page, tile, "difference").astype(int)
        wrong = masks[tile] != saved.labels[tile].astype(bool)
        right_and_empty = ~masks[tile] & ~wrong
        assert (drawn == image[..., None])[right_and_empty].all()
        for where, color in (
            (masks[tile] & ~wrong, (0, 158, 115)),
            (masks[tile] & wrong, (230, 159, 0)),
            (~masks[tile] & wrong, (0, 114, 178)),
        ):
            expected = 0.45 * image[where][:, None] + 0.55 * np.array(color)
            assert np.abs(drawn[where] - expected).max(initial=0) <= 1
    # Viridis, from dark violet to yellow.
    assert pixels(page, 1, "probability")[0, 0].tolist() == [68, 1, 84]
    assert pixels(page, 2, "probability")[0, 0].tolist() == [253, 231, 37]


def test_everything_is_reached_with_the_keyboard_alone(page, saved):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys):
        for key in keys:
            ActionChains(page).send_keys(key).perform()

    def focused(attribute="id"):
        return page.execute_script(
            "return document.activeElement.getAttribute(arguments[0])", attribute
        )

    def tab_to(found, attribute="id"):
        for _ in range(60):
            if found(focused(attribute)):
                return
            press(Keys.TAB)
        raise AssertionError("not reached with the Tab key")

    page.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    tab_to(lambda name: name == "threshold")
    before = shown(page, "f1")
    press(*[Keys.ARROW_RIGHT] * 20)
    browser.wait(
        page,
        f"!document.querySelector('[data-score=f1]').textContent.startsWith('{before:.4f}')",
    )
    threshold = page.execute_script(
        "return Number(document.getElementById('threshold').value)"
    )
    assert threshold > CHOSEN[0]
    counts = counts_of(saved, threshold, CHOSEN[1])
    browser.wait(
        page,
        f"document.querySelector('[data-score=iou]').textContent.startsWith('{metrics.mean_score(counts, 'iou'):.4f}')",
    )
    tab_to(lambda name: name == "reset")
    press(Keys.ENTER)
    assert shown(page, "f1") == before
    tab_to(lambda name: name is not None, "data-tile")
    order = visible_tiles(page)
    assert focused("data-tile") == order[0]
    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert focused("data-tile") == order[1]
    press("3")
    view = "return document.querySelector('#views input:checked').value"
    assert page.execute_script(view) == "probability"
    press(Keys.ENTER)
    name = "return document.querySelector('dialog[open] h2')?.textContent"
    assert page.execute_script(name) == order[1]
    press(Keys.ARROW_RIGHT, "4")
    assert page.execute_script(name) == order[2]
    assert page.execute_script(view) == "mask"
    press(Keys.ESCAPE)
    browser.wait(page, "!document.querySelector('dialog[open]')")
    browser.wait(
        page, f"document.activeElement.dataset.tile === {json.dumps(order[2])}"
    )
    assert browser.messages(page) == []


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_is_wider_than_the_window(driver, run, width):
    browser.open_page(driver, run / "report.html", width)
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width


def test_without_images_the_other_views_remain(driver, saved, tmp_path):
    run = tmp_path / "run"
    tested_run.write(run, saved, {"data.dir": str(tmp_path / "moved")}, chosen=CHOSEN)
    report.report(run)
    browser.open_page(driver, run / "report.html")
    assert browser.messages(driver) == []
    notes = driver.execute_script(
        "return [...document.querySelectorAll('.note')].map((n) => n.textContent).join()"
    )
    assert "Without the images of the tiles" in notes
    assert driver.execute_script(
        "return document.querySelector('[value=image]').disabled"
    )
    assert driver.execute_script("return explorer.gallery.view") == "probability"
    assert len(visible_tiles(driver)) == COUNT
    move(driver, 0.5, 4)
    drawn = pixels(driver, 3, "difference")
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 1
