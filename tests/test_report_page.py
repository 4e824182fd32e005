"""The page of a run in a browser: its scores, gallery, keyboard, and what it must not do."""

import json

import browser
import numpy as np
import pytest
import tested_run
from PIL import Image

from saltjax import report
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.scoring import metrics, postprocess

pytestmark = pytest.mark.slow
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=alert(1)>&amp;\"'"
COUNT, HEIGHT, WIDTH = 24, 13, 17
CHOSEN = (0.37, 3)


def smooth(rng, shape):
    """Returns a random field in [0, 1] whose neighbours are alike, with spots."""
    field = rng.random(shape)
    for axis in (1, 2):
        field = (field + np.roll(field, 1, axis) + np.roll(field, -1, axis)) / 3
    low, high = field.min((1, 2), keepdims=True), field.max((1, 2), keepdims=True)
    return (field - low) / (high - low)


def outputs(ids):
    """Returns the outputs of a network that is often right; some tiles hold no salt."""
    rng = np.random.default_rng(3)
    shape = len(ids), HEIGHT, WIDTH
    truth = smooth(rng, shape) * rng.uniform(0.6, 1.4, (len(ids), 1, 1))
    labels = (truth > 0.55).astype(np.uint8)
    labels[::5] = 0
    prob = 0.5 * smooth(rng, shape) + 0.5 * np.clip(truth, 0, 1)
    prob[1] = 0.0
    prob[2] = 1.0
    return SavedOutputs(
        ids, np.rint(65535 * prob).astype(np.uint16), labels, np.arange(len(ids))
    )


def write_images(folder, saved):
    """Writes the tiles, of which image i has the value i in its first pixel."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i, (name, label) in enumerate(zip(saved.ids, saved.labels)):
        image = np.random.default_rng(i).integers(0, 256, label.shape).astype(np.uint8)
        image[0, 0] = i
        Image.fromarray(image).save(folder / f"images/{name}.png")
        Image.fromarray(255 * label).save(folder / f"masks/{name}.png")
    return folder


@pytest.fixture(scope="module")
def saved():
    return outputs([f"t{i:02d}" for i in range(COUNT)])


@pytest.fixture(scope="module")
def run(saved, tmp_path_factory):
    """A run's directory with its report."""
    folder = tmp_path_factory.mktemp("report")
    tiles = write_images(folder / "tiles", saved)
    tested_run.write(folder / "run", saved, {"data.dir": str(tiles)}, chosen=CHOSEN)
    report.report(folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.start(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def page(driver, run):
    browser.open_page(driver, run / "report.html")
    return driver


def move(driver, threshold, min_size):
    """Moves the sliders as a script does, and waits until the scores are drawn."""
    driver.execute_script(
        """
        for (const [id, value] of [["threshold", arguments[0]], ["min-size", arguments[1]]]) {
          const slider = document.getElementById(id);
          slider.value = value;
          slider.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        threshold,
        min_size,
    )
    driver.execute_async_script(
        "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
    )


def shown(driver, name):
    text = driver.execute_script(
        "return document.querySelector(`[data-score=${arguments[0]}]`).textContent",
        name,
    )
    return float(text.split()[0])


def counts_of(saved, threshold, min_size):
    prob = postprocess.from_sixteen_bits(saved.prob)
    masks = postprocess.salt_mask(prob, postprocess.Postprocessing(threshold, min_size))
    return metrics.confusion(masks, saved.labels)


def visible_tiles(driver):
    return driver.execute_script(
        "return [...document.querySelectorAll('[data-tile]')]"
        ".filter((card) => !card.hidden).map((card) => card.dataset.tile)"
    )


def choose(driver, name, value):
    driver.execute_script(
        "const list = document.getElementById(arguments[0]); list.value = arguments[1];"
        "list.dispatchEvent(new Event('change'))",
        name,
        value,
    )


def test_nothing_is_requested_and_no_error_is_told(page, run):
    assert browser.messages(page) == []
    requested = browser.requests(page)
    own = (run / "report.html").as_uri()
    assert own in requested
    assert [
        url for url in requested if url != own and not url.startswith("data:")
    ] == []


def test_the_policy_of_the_page_admits_no_other_script_and_no_request(page):
    refused = page.execute_async_script(
        """
        const [done, refused] = [arguments[0], []];
        document.addEventListener("securitypolicyviolation", (event) => {
          refused.push(event.effectiveDirective);
          if (refused.length === 3) done(refused.sort());
        });
        const script = document.createElement("script");
        script.textContent = "window.taken = true";
        document.body.append(script);
        new Image().src = "https://example.invalid/x.png";
        fetch("https://example.invalid/").catch(() => {});
        setTimeout(() => done(refused.sort()), 5000);"""
    )
    assert refused == ["connect-src", "img-src", "script-src-elem"]
    assert page.execute_script("return window.taken") is None


def test_the_sliders_begin_at_the_runs_choice_with_its_scores(page, run):
    native = json.loads((run / "result.json").read_text())["test_native"]
    for name in ("f1", "iou", "kaggle_map", "precision", "recall", "accuracy"):
        assert shown(page, name) == pytest.approx(native[name]["value"], abs=6e-5), name
    assert (
        page.execute_script("return document.getElementById('threshold').value")
        == "0.37"
    )
    assert (
        page.execute_script("return document.getElementById('min-size').value") == "3"
    )


@pytest.mark.parametrize(
    ("threshold", "min_size"),
    [(0.5, 0), (0.25, 0), (0.61, 4), (0.3, 25), (0.0, 0), (1.0, 0), (0.45, 2)],
)
def test_scores_under_other_sliders_are_those_of_the_program(
    page, saved, threshold, min_size
):
    move(page, threshold, min_size)
    counts = counts_of(saved, threshold, min_size)
    pooled = metrics.pooled_scores(counts.sum(axis=0))
    for name in ("iou", "kaggle_map"):
        assert shown(page, name) == pytest.approx(
            metrics.mean_score(counts, name), abs=6e-5
        )
    for name in ("f1", "precision", "recall", "accuracy"):
        assert shown(page, name) == pytest.approx(float(pooled[name]), abs=6e-5)
    cells = page.execute_script(
        "return ['tp', 'fp', 'fn', 'tn'].map((id) => document.getElementById(id).textContent)"
    )
    found = [int(cell.split()[0].replace(",", "")) for cell in cells]
    assert found == counts.sum(axis=0).tolist()
    command = page.execute_script(
        "return document.getElementById('evaluate-command').textContent"
    )
    assert command.endswith(f"--threshold={threshold:g} --min_area={min_size}")


def test_scores_by_coverage_follow_the_sliders(page, saved):
    move(page, 0.5, 4)
    counts = counts_of(saved, 0.5, 4)
    coverage = saved.labels.mean(axis=(1, 2))
    rows = page.execute_script(
        "return [...document.querySelectorAll('#by-coverage tr')].map("
        "(row) => [row.dataset.coverage, ...[...row.cells].slice(1).map((c) => c.textContent)])"
    )
    bounds = {"0": (-1, 0), "0-0.1": (0, 0.1), "0.1-0.4": (0.1, 0.4), "0.4-1": (0.4, 1)}
    assert sum(int(row[1]) for row in rows) == COUNT
    assert len(rows) > 2
    for name, tiles, f1, iou, kaggle_map, _ in rows:
        low, high = bounds[name]
        of = counts[(coverage > low) & (coverage <= high)]
        assert int(tiles) == len(of)
        assert float(iou) == pytest.approx(metrics.mean_score(of, "iou"), abs=6e-5)
        assert float(kaggle_map) == pytest.approx(
            metrics.mean_score(of, "kaggle_map"), abs=6e-5
        )
        if name == "0":
            assert f1 == "–"
        else:
            assert float(f1) == pytest.approx(metrics.mean_score(of, "f1"), abs=6e-5)


def test_the_curves_are_those_of_the_program(page, saved):
    from sklearn.metrics import precision_score, recall_score

    over, curve = page.execute_script(
        "return [scoresOver(explorer.tiles, [0, 0.2, 0.5, 0.9]), precisionRecall(explorer.tiles)]"
    )
    for row in over:
        counts = counts_of(saved, row["threshold"], 0)
        for name in ("f1", "iou", "kaggle_map"):
            assert row[name] == pytest.approx(
                metrics.mean_score(counts, name), abs=1e-12
            )
    assert len(curve) > 20
    for point in curve[:: len(curve) // 10]:
        predicted = saved.prob.ravel() >= round(point["threshold"] * 65535)
        label = saved.labels.ravel()
        assert point["precision"] == pytest.approx(precision_score(label, predicted))
        assert point["recall"] == pytest.approx(recall_score(label, predicted))


def test_a_threshold_between_two_floats_of_32_bits_is_compared_as_the_program_does(
    page,
):
    thresholds = [i / 65535 for i in range(0, 65536, 97)]
    thresholds += [np.nextafter(t, 1) for t in thresholds[1:-1]] + [
        1 / 3,
        0.1,
        1.0,
        0.0,
    ]
    values = postprocess.from_sixteen_bits(np.arange(65536, dtype=np.uint16))
    cuts = page.execute_script(
        "return arguments[0].map(cutOf)", list(map(float, thresholds))
    )
    expected = [int(np.argmax(values >= np.float32(t))) for t in thresholds]
    assert cuts == expected


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


def pixels(driver, tile, view):
    """Returns the colours uint8[H, W, 3] that a view of a tile is drawn in."""
    flat = driver.execute_script(
        """
        const canvas = document.createElement("canvas");
        const { tiles, masks } = explorer;
        drawTile(canvas, tiles, masks, arguments[0], arguments[1]);
        return [...canvas.getContext("2d").getImageData(0, 0, tiles.width, tiles.height).data];""",
        tile,
        view,
    )
    return np.array(flat, np.uint8).reshape(HEIGHT, WIDTH, 4)[..., :3]


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


def test_hostile_names_are_shown_as_text(driver, tmp_path):
    ids = [f"{i:02d}{HOSTILE.replace('/', '∕')}" for i in range(4)]
    saved = outputs(ids)
    run = tmp_path / HOSTILE.replace("/", "∕")
    tiles = write_images(tmp_path / "<b>tiles", saved)
    tested_run.write(run, saved, {"data.dir": str(tiles)}, chosen=CHOSEN)
    report.report(run)
    browser.open_page(driver, run / "report.html")
    assert browser.messages(driver) == []
    assert "taken" not in driver.title.partition("<script>")[0]
    assert HOSTILE.replace("/", "∕") in driver.execute_script(
        "return document.querySelector('h1').textContent"
    )
    assert sorted(visible_tiles(driver)) == ids
    driver.execute_script("document.querySelector('[data-tile]').click()")
    assert (
        driver.execute_script("return document.querySelector('dialog h2').textContent")
        in ids
    )
    assert driver.execute_script("return document.querySelectorAll('img').length") == 0


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


def test_a_run_without_test_outputs_says_how_to_make_them(driver, tmp_path):
    run = tmp_path / "run"
    tested_run.write(run, None)
    report.report(run)
    browser.open_page(driver, run / "report.html")
    assert browser.messages(driver) == []
    text = driver.execute_script("return document.body.innerText")
    assert f"--mode=evaluate --workdir={run}" in text
    assert (
        driver.execute_script(
            "return document.querySelectorAll('#loss path.line').length"
        )
        > 2
    )
