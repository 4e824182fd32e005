"""The page of several runs in a browser: table, curves, tiles, keyboard and hostile names."""

import json

import browser
import numpy as np
import pytest
import tested_run
from PIL import Image
from report_pages import COUNT, HEIGHT, WIDTH, choose, outputs, write_images

from saltjax import report
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.scoring import metrics, postprocess

pytestmark = pytest.mark.slow

HOSTILE = "<script>taken</script>".replace("/", "∕")
# Of each run: threshold and minimum component size, and how far its probabilities are shifted.
RUNS = {"plain": (0.37, 3, 0.0), HOSTILE: (0.5, 0, 0.15), "low": (0.3, 8, -0.2)}


def shifted(saved, by, rows):
    prob = np.clip(saved.prob + by * 65535, 0, 65535).astype(np.uint16)[rows]
    ids = [saved.ids[i] for i in rows]
    return SavedOutputs(ids, prob, saved.labels[rows], saved.units[rows])


@pytest.fixture(scope="module")
def written(saved, tmp_path_factory):
    """A directory of three runs, of which one lacks the last four tiles, and the outputs of each."""
    folder = tmp_path_factory.mktemp("several")
    tiles = write_images(folder / "tiles", saved)
    every = {}
    for number, (name, (threshold, size, by)) in enumerate(RUNS.items()):
        rows = np.arange(COUNT - 4 * (name == "low"))
        every[name] = shifted(saved, by, rows)
        tested_run.write(
            folder / "runs" / name,
            every[name],
            {"data.dir": str(tiles), "seed": number},
            chosen=(threshold, size),
            val_loss=0.5 - 0.1 * number,
        )
    report.report(folder / "runs/plain")
    report.report(folder / "runs")
    return folder, every


@pytest.fixture
def several(driver, written):
    browser.open_page(driver, written[0] / "runs/report.html")
    yield driver
    assert browser.messages(driver) == []


def masks_of(outputs, name):
    threshold, size, _ = RUNS[name]
    prob = postprocess.from_sixteen_bits(outputs.prob)
    return postprocess.salt_mask(prob, postprocess.Postprocessing(threshold, size))


def iou_of(written):
    """Returns by run and id the IoU of its masks."""
    found = {}
    for name, one in written[1].items():
        counts = metrics.confusion(masks_of(one, name), one.labels)
        found[name] = dict(zip(one.ids, metrics.tile_scores(counts)["iou"]))
    return found


def disputed_of(written, names):
    """Returns by tile in how many pixels the masks of the runs differ."""
    masks = [masks_of(written[1][name], name) for name in names]
    votes = [np.array([m[i] for m in masks if i < len(m)]) for i in range(COUNT)]
    return np.array([(v.any(axis=0) & ~v.all(axis=0)).sum() for v in votes])


def texts(driver, selector):
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((x) => x.textContent)",
        selector,
    )


def strip(driver):
    return driver.execute_script(
        "return [...document.querySelectorAll('#strip [data-tile]')].map((x) => x.dataset.tile)"
    )


def shown_tile(driver):
    return texts(driver, "#tile-name")[0]


def test_nothing_is_loaded_and_nothing_is_taken_for_markup(several, written):
    loaded = [
        url for url in browser.requests(several) if not url.startswith("data:image")
    ]
    assert loaded == [(written[0] / "runs/report.html").as_uri()]
    names = several.execute_script(
        "return [...document.querySelectorAll('#score-table tbody tr')].map((x) => x.dataset.run)"
    )
    # By name, as their scores on validation tiles are equal; then their mean.
    assert names == [HOSTILE, "low", "plain", f"{HOSTILE}, low, plain"]
    assert any(HOSTILE in text for text in texts(several, "#legend-of-runs label"))
    link = several.execute_script(
        "return [...document.querySelectorAll('#score-table a')].map((x) => x.href)"
    )
    assert link == [(written[0] / "runs/plain/report.html").as_uri()]


def test_the_table_is_sorted_by_every_column(several):
    def column(title):
        return several.execute_script(
            """
            const titles = [...document.querySelectorAll("#score-table thead th")];
            const at = titles.findIndex((th) => th.textContent === arguments[0]);
            return [titles[at].ariaSort, [...document.querySelectorAll("#score-table tbody tr")].map(
              (row) => row.cells[at].firstChild.textContent)];""",
            title,
        )

    several.execute_script(
        "for (const box of document.querySelectorAll('#groups input')) if (!box.checked) box.click()"
    )
    titles = texts(several, "#score-table thead th")
    assert {"run", "data", "IoU", "Δ IoU", "Δ F1 at 0.5", "val loss", "seed"} <= {
        *titles
    }
    for title in titles:
        for _ in range(2):
            several.execute_script(
                "[...document.querySelectorAll('[data-sort]')]"
                ".find((x) => x.dataset.sort === arguments[0]).click()",
                title,
            )
            direction, cells = column(title)
            known = [cell for cell in cells if cell != "–"]
            assert cells == known + ["–"] * (len(cells) - len(known)), title
            try:
                values = [float(x.replace("−", "-").split()[0]) for x in known]
            except ValueError:
                values = known
            if title in ("parameters", "run"):
                continue  # numbers with commas; names are ordered by the browser's rules
            assert values == sorted(values, reverse=direction == "descending"), title


def test_a_run_can_be_hidden_in_curves_and_tiles(several, written):
    lines = "return document.querySelectorAll('#val_loss path.line').length"
    assert several.execute_script(lines) == 3
    order = texts(several, "#legend-of-runs label")
    number = next(i for i, text in enumerate(order) if HOSTILE in text)
    # As a user does: a box that cannot be seen cannot be clicked.
    box = f"#legend-of-runs input[value='{number}']"
    several.find_element("css selector", box).click()
    assert several.execute_script(lines) == 2
    visible = "return [...document.querySelectorAll('#cards [data-run]')].filter((x) => !x.hidden).map((x) => x.dataset.run)"
    assert set(several.execute_script(visible)) == {"plain", "low"}
    # The order is that of the runs that are left.
    iou = iou_of(written)
    saved = written[1]["plain"]
    spread = [
        abs(iou["plain"][i] - iou["low"][i]) if i in iou["low"] else 0
        for i in saved.ids
    ]
    # Equal ones are ordered by the pixels in dispute.
    disputed = disputed_of(written, ("plain", "low"))
    expected = [saved.ids[i] for i in np.lexsort((-disputed, -np.array(spread)))]
    assert strip(several) == expected
    several.execute_script("document.getElementById('no-runs').click()")
    assert several.execute_script(lines) == 0
    several.execute_script("document.getElementById('all-runs').click()")
    assert several.execute_script(lines) == 3


def test_tiles_are_in_order(several, written):
    iou = iou_of(written)
    every = written[1]
    ids = every["plain"].ids
    of = [[one[i] for one in iou.values() if i in one] for i in ids]
    disputed = disputed_of(written, RUNS)
    spread = [min(x) - max(x) for x in of]
    same = [n for n, value in zip(disputed, spread) if value == 0]
    assert same != sorted(same, reverse=True)
    for name, keys in (
        ("spread", spread),
        ("disputed", [0] * COUNT),
        ("worst", [sum(x) / len(x) for x in of]),
        ("coverage", -every["plain"].labels.mean(axis=(1, 2))),
        ("id", range(COUNT)),
    ):
        choose(several, "order", name)
        expected = [ids[i] for i in np.lexsort((-disputed, keys))]
        assert strip(several) == expected, name
        assert shown_tile(several) == expected[0]
    names = texts(several, "#order optgroup option")
    # "low" has other test tiles than the first run, to which differences are.
    assert names == [f"plain below {HOSTILE}"]
    choose(
        several,
        "order",
        several.execute_script(
            "return document.querySelector('#order optgroup option').value"
        ),
    )
    gain = [iou["plain"][i] - iou[HOSTILE][i] for i in ids]
    assert strip(several) == [ids[i] for i in np.lexsort((-disputed, gain))]


def test_each_run_has_its_mask_and_iou_of_the_tile(several, written):
    choose(several, "order", "id")
    iou = iou_of(written)
    folder, every = written
    several.execute_script("document.querySelector('#views [value=mask]').click()")
    for tile in (0, 7, COUNT - 1):
        name = every["plain"].ids[tile]
        several.execute_script(
            "const find = document.getElementById('find'); find.value = arguments[0];"
            "find.dispatchEvent(new Event('input'))",
            name,
        )
        assert shown_tile(several) == name
        cards = several.execute_script(
            """
            const pixels = (canvas) => {
              const copy = new OffscreenCanvas(17, 13).getContext("2d", { willReadFrequently: true });
              copy.drawImage(canvas, 0, 0);
              return [...copy.getImageData(0, 0, 17, 13).data];
            };
            return [...document.querySelectorAll("#cards figure")].map((card) => [
              card.dataset.run ?? card.dataset.view, card.lastChild.textContent, card.firstChild.hidden,
              pixels(card.firstChild)]);"""
        )
        drawn = {card[0]: card[1:] for card in cards}
        image = np.asarray(Image.open(folder / f"tiles/images/{name}.png"))

        def pixels(key, drawn=drawn):
            return np.array(drawn[key][2]).reshape(HEIGHT, WIDTH, 4)[..., 0]

        assert np.array_equal(pixels("image"), image)
        assert np.array_equal(pixels("label"), 255 * every["plain"].labels[tile])
        for run, one in every.items():
            if name not in iou[run]:
                assert drawn[run][:2] == ["no test tile of this run", True]
                continue
            assert drawn[run][0] == f"IoU {iou[run][name]:.3f}"
            assert np.array_equal(pixels(run), 255 * masks_of(one, run)[tile])
    several.execute_script(
        "document.querySelector('#views [value=probability]').click()"
    )
    shown = several.execute_script(
        "return sideBySide.runs.map(({ prob }) => [...prob.slice(0, 221)])"
    )
    names = several.execute_script("return sideBySide.runs.map(({ name }) => name)")
    for name, values in zip(names, shown):
        wrong = np.array(values) - every[name].prob[0].ravel().astype(int)
        assert np.abs(wrong).max() <= 129


def test_the_keyboard_is_enough(several):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys):
        for key in keys:
            ActionChains(several).send_keys(key).perform()

    def tab_to(condition):
        for _ in range(60):
            if several.execute_script(f"return {condition}"):
                return
            press(Keys.TAB)
        raise AssertionError(f"not reached with the Tab key: {condition}")

    several.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    tab_to("document.activeElement.dataset.sort === 'IoU'")
    press(Keys.ENTER)
    assert several.execute_script(
        "return document.activeElement.closest('th').ariaSort === 'descending'"
    )
    tab_to("document.activeElement.id === 'cards'")
    order = strip(several)
    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert shown_tile(several) == order[1]
    press("2")
    view = "return document.querySelector('#views input:checked').value"
    assert several.execute_script(view) == "mask"
    press(Keys.END)
    assert shown_tile(several) == order[-1]
    tab_to("document.activeElement.dataset.tile !== undefined")
    press(Keys.ARROW_LEFT)
    focused = several.execute_script("return document.activeElement.dataset.tile")
    assert focused == shown_tile(several) == order[-2]


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_is_wider_than_the_window(driver, written, width):
    browser.open_page(driver, written[0] / "runs/report.html", width)
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width


def test_runs_without_images_and_without_common_tiles(driver, tmp_path):
    saved = outputs([f"t{i}" for i in range(5)])
    moved = {"data.dir": str(tmp_path / "moved")}
    for name, rows in (("a", [0, 1]), ("b", [2, 3, 4])):
        tested_run.write(tmp_path / "runs" / name, shifted(saved, 0, rows), moved)
    report.report(tmp_path / "runs")
    browser.open_page(driver, tmp_path / "runs/report.html")
    assert browser.messages(driver) == []
    assert "Without the images" in json.dumps(texts(driver, "#notes li"))
    assert sorted(strip(driver)) == [f"t{i}" for i in range(5)]
    assert texts(driver, "#order option") == ["least mean IoU", "salt coverage", "id"]


def test_absurd_values_are_left_out_of_the_curves(driver, tmp_path):
    folder = tmp_path / "runs"
    for name, values in (("a", ["1e300", "0.5"]), ("b", ["1.7e308", "-1.7e308"])):
        tested_run.write(folder / name, None)
        rows = [f"{n},{v},0.5,0.5,0.5,1e-310,1\n" for n, v in enumerate(values, 1)]
        head = "epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,seconds\n"
        (folder / name / "metrics.csv").write_text(head + "".join(rows))
        report.report(folder / name)
    report.report(folder)
    for page, chart, told in (
        (folder, "#train_loss", ["a: 1 of 2 values", "b: 2 of 2 values"]),
        (folder / "a", "#loss", ["training: 1 of 2 values"]),
        (folder / "b", "#loss", ["training: 2 of 2 values"]),
    ):
        browser.open_page(driver, page / "report.html")
        browser.wait(driver, f"document.querySelector('{chart} svg text')")
        assert browser.messages(driver) == []
        found = texts(driver, f"{chart} .left-out")
        assert found == [f"{text} not drawn, beyond ±10⁹" for text in told]
        drawn = driver.execute_script(
            "return [...document.querySelectorAll('figure > svg')].map((x) => x.innerHTML)"
        )
        assert not any("NaN" in svg or "Infinity" in svg for svg in drawn)
    # Between two powers of ten their multiples are marked too.
    assert driver.execute_script("return logTicks(7e-4, 6e-3)") == [0.001, 0.002, 0.005]
    assert driver.execute_script("return logTicks(0.02, 200)") == [0.1, 1, 10, 100]


def test_runs_without_outputs(driver, tmp_path):
    tested_run.write(tmp_path / "only", None)
    report.report(tmp_path)
    browser.open_page(driver, tmp_path / "report.html")
    assert browser.messages(driver) == []
    assert len(texts(driver, "#val_loss path.line")) == 1
