"""The page of a prediction in a browser: slices, masks, axes and keyboard."""

import browser
import numpy as np
import pytest
import section_pages
from report_pages import choose
from section_pages import CHOSEN, CROSSLINES, DEAD, INLINES, MISSING, SAMPLES

from saltjax.reporting import section_report, trace_sections
from saltjax.scoring import postprocess
from saltjax.seismic import npy

pytestmark = pytest.mark.slow
HOSTILE = "<script>document.title='taken'<∕script><img src=x onerror=alert(1)>&amp;\"'"
SLICE = """
const { width, height, grey, prob, mask, dead, x, y } = explorer.sections.slice(...arguments);
return { width, height, prob: [...prob], mask: [...mask], dead, x: [...x.numbers], y: [...y.numbers] };"""


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """The page of a volume and its probabilities, NaN where no trace is."""
    return section_pages.write_volume(tmp_path_factory.mktemp("volume"))


@pytest.fixture
def page(driver, volume):
    browser.open_page(driver, volume[0])
    return driver


def show(driver, threshold, min_size):
    """Moves the two sliders, and waits until shares and masks have followed."""
    driver.execute_script(
        """
        const [threshold, size] = explorer.choice.sliders;
        threshold.value = arguments[0];
        size.value = arguments[1];
        size.dispatchEvent(new Event("input", { bubbles: true }));""",
        threshold,
        min_size,
    )
    browser.wait(driver, f"document.body.dataset.shares === '{threshold:g} {min_size}'")


def text(driver, name):
    return driver.execute_script(
        "return document.getElementById(arguments[0]).textContent", name
    )


def test_a_button_of_the_list_of_bodies_shows_the_slices_that_meet_in_it(
    driver, tmp_path
):
    bodies = [section_pages.body(1, 108, 35, 11), section_pages.body(2, 102, 38, 4)]
    page = driver
    browser.open_page(page, section_pages.write_volume(tmp_path, bodies)[0])
    # It opens at the first one.
    assert text(page, "title") == "inline 108"
    rows = page.find_elements("css selector", "#bodies tbody tr")
    assert [row.text.split()[0] for row in rows] == ["1", "2"]
    page.execute_script(
        "arguments[0].click()", rows[1].find_element("css selector", "button")
    )
    assert text(page, "title") == "inline 102"
    assert page.execute_script("return explorer.at") == [
        INLINES.index(102),
        CROSSLINES.index(38),
        4,
    ]
    page.execute_script("explorer.setDirection(1)")
    assert text(page, "title") == "crossline 38"


def press(driver, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def masks_of(prob, threshold, min_size):
    """Returns the masks bool[inline, crossline, sample] of `predict`, by sections along inlines."""
    rounded = postprocess.from_sixteen_bits(
        np.rint(65535 * np.nan_to_num(prob)).astype(np.uint16)
    )
    chosen = postprocess.Postprocessing(threshold, min_size)
    live = np.nan_to_num(prob).any(axis=2)
    return postprocess.salt_mask(rounded, chosen) & live[..., None]


@pytest.mark.parametrize(
    ("threshold", "min_size"),
    [(CHOSEN.threshold, CHOSEN.min_area), (0.5, 0), (0.5, 12), (0.6, 4), (0, 0)],
)
def test_masks_and_shares_are_those_of_predict(page, volume, threshold, min_size):
    masks = masks_of(volume[1], threshold, min_size)
    live = np.nan_to_num(volume[1]).any(axis=2)
    show(page, threshold, min_size)
    assert masks[live].any()
    for i, mask in enumerate(masks):
        found = page.execute_script(SLICE, 0, i)
        assert found["mask"] == mask.T.astype(int).ravel().tolist()
    for c in (0, 4, len(CROSSLINES) - 1):
        found = page.execute_script(SLICE, 1, c)
        assert found["mask"] == masks[:, c].T.astype(int).ravel().tolist()
    level = page.execute_script(SLICE, 2, 5)
    assert level["mask"] == masks[::-1, :, 5].astype(int).ravel().tolist()
    share = masks[live].mean()
    assert float(text(page, "share-all").split()[0]) == pytest.approx(
        100 * share, abs=0.051
    )
    command = text(page, "command")
    assert command.endswith(f" --threshold={threshold:g} --min_area={min_size}")


def test_slices_have_the_probabilities_and_numbers_of_their_direction(page, volume):
    prob = np.rint(65535 * np.nan_to_num(volume[1])).astype(int)
    for direction, index, expected, x, y in (
        (0, 2, prob[2].T, CROSSLINES, 8 + 4 * np.arange(SAMPLES)),
        (1, 3, prob[:, 3].T, INLINES, 8 + 4 * np.arange(SAMPLES)),
        (2, 6, prob[::-1, :, 6], CROSSLINES, INLINES[::-1]),
    ):
        found = page.execute_script(SLICE, direction, index)
        assert (found["height"], found["width"]) == expected.shape
        assert found["prob"] == expected.ravel().tolist()
        assert (found["x"], found["y"]) == (list(x), list(y))


def test_dead_and_missing_traces_are_hatched_in_all_directions(page):
    gone = {*MISSING, DEAD}

    def places(direction, index):
        found = page.execute_script(SLICE, direction, index)
        return {
            (found["x"][x], found["y"][y])
            for rect in found["dead"]
            for x in range(rect["x"], rect["x"] + rect["width"])
            for y in range(rect["y"], rect["y"] + rect["height"])
        }

    assert places(2, 0) == {(crossline, inline) for inline, crossline in gone}
    for i, inline in enumerate(INLINES):
        columns = {x for x, _ in places(0, i)}
        assert columns == {crossline for line, crossline in gone if line == inline}
    column = {x for x, _ in places(1, CROSSLINES.index(35))}
    assert column == {104}
    # In the picture the hatch has two colours and no amplitude.
    page.execute_script("explorer.goToNumber(108); explorer.setView('amplitude')")
    column = CROSSLINES.index(DEAD[1])
    colors = page.execute_script(
        """
        const { viewer } = explorer;
        const { box } = viewer;
        const width = box.width / viewer.slice.width;
        const x = box.left + (arguments[0] + 0.2) * width;
        const image = viewer.canvas.getContext("2d").getImageData(x, box.top + 20, 0.6 * width, 60);
        return [...image.data];""",
        column,
    )
    found = {tuple(c) for c in np.array(colors).reshape(-1, 4)[:, :3].tolist()}
    assert (255, 255, 255) in found
    assert all(max(c) - min(c) > 0 or c == (255, 255, 255) for c in found)


def test_the_page_begins_with_the_choice_of_the_prediction(page):
    assert browser.messages(page) == []
    own = page.current_url
    others = [u for u in browser.requests(page) if u != own]
    assert [url for url in others if not url.startswith("data:")] == []
    assert text(page, "title") == "inline 106"
    assert page.execute_script("return explorer.choice.isChosen")
    assert text(page, "command").startswith("saltjax --mode=predict --workdir=/runs/")


def test_ticks_are_line_numbers_and_milliseconds(page):
    ticks = "return explorer.viewer.ticks"
    found = page.execute_script(ticks)
    assert len(found["x"]) > 3
    assert set(found["x"]) <= set(CROSSLINES)
    assert found["y"] == [10, 20, 30, 40, 50, 60, 70]
    choose(page, "unit", "sample")
    found = page.execute_script(ticks)["y"]
    assert (found[0], found[-1]) == (0, SAMPLES - 1)
    # A tick stands in the middle of its pixel.
    place = "return placeOf(explorer.slice.x.numbers, arguments[0])"
    assert page.execute_script(place, 33) == 2.5
    page.execute_script("explorer.setDirection(2)")
    assert page.execute_script("return placeOf(explorer.slice.y.numbers, 110)") == 1.5


def test_everything_is_done_with_the_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    press(page, Keys.ARROW_RIGHT)
    assert text(page, "title") == "inline 108"
    press(page, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert text(page, "title") == "inline 104"
    press(page, "x")
    assert text(page, "title") == "crossline 35"
    press(page, "t")
    assert text(page, "title") == "time slice at 40 ms"
    press(page, "i", "2")
    assert page.execute_script("return explorer.look.view") == "mask"
    press(page, "o")
    assert page.execute_script("return explorer.viewer.outline") is None
    press(page, "+")
    assert page.execute_script("return explorer.viewer.zoomed")
    press(page, "0")
    assert not page.execute_script("return explorer.viewer.zoomed")
    page.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    for _ in range(30):
        press(page, Keys.TAB)
        if page.execute_script("return document.activeElement.id") == "position":
            break
    press(page, Keys.ARROW_RIGHT)
    assert text(page, "title") == "inline 106"
    assert browser.messages(page) == []


def test_a_click_moves_the_other_slices(page):
    page.execute_script(
        """
        const { viewer } = explorer;
        const { box, slice } = viewer;
        const frame = viewer.canvas.getBoundingClientRect();
        const at = {
          clientX: frame.left + box.left + (1.5 / slice.width) * box.width,
          clientY: frame.top + box.top + (3.5 / slice.height) * box.height,
          pointerId: 1,
        };
        viewer.canvas.setPointerCapture = () => {};
        for (const name of ["pointerdown", "pointerup"]) {
          viewer.canvas.dispatchEvent(new PointerEvent(name, at));
        }"""
    )
    assert page.execute_script("return explorer.at") == [3, 1, 3]
    press(page, "t")
    assert text(page, "title") == "time slice at 20 ms"


def test_what_is_drawn_is_the_probability_over_the_amplitudes(page, volume):
    script = """
    Object.assign(explorer.look, { view: arguments[0], opacity: arguments[1] });
    const canvas = document.createElement("canvas");
    paintSlice(canvas, explorer.slice, explorer.look);
    const { width, height } = canvas;
    return [[...explorer.slice.grey], [...explorer.slice.prob],
            [...canvas.getContext("2d").getImageData(0, 0, width, height).data]];"""

    def drawn(view, opacity):
        grey, prob, data = page.execute_script(script, view, opacity)
        return np.array(grey), np.array(prob), np.array(data).reshape(-1, 4)[:, :3]

    most = int(np.nanargmax(np.nanmax(volume[1], axis=(1, 2))))
    page.execute_script("explorer.goTo(arguments[0])", most)
    grey, prob, found = drawn("probability", 0)
    assert (found == grey[:, None]).all()
    grey, _, found = drawn("amplitude", 1)
    assert (found == grey[:, None]).all()
    # From one half on the colour covers the amplitudes; at the end it is viridis' yellow.
    _, prob, found = drawn("probability", 1)
    high = prob > 65000
    assert high.any()
    assert (np.abs(found[high] - [253, 231, 37]) < 12).all()
    assert (found[prob == 0] == grey[prob == 0][:, None]).all()
    mask = masks_of(volume[1], CHOSEN.threshold, CHOSEN.min_area)[most].T.ravel()
    grey, _, found = drawn("mask", 0.5)
    assert (found[~mask] == grey[~mask][:, None]).all()
    half = (grey[mask][:, None] + np.array([230, 159, 0])) / 2
    assert np.abs(found[mask] - half).max() <= 1


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_is_wider_than_the_window(driver, volume, width):
    for dark in (False, True):
        browser.open_page(driver, volume[0], width, dark)
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        picture = driver.execute_script(
            "const { left, right } = byId('picture').getBoundingClientRect(); return [left, right]"
        )
        assert 0 <= picture[0] < picture[1] <= width
    assert browser.messages(driver) == []


def test_images_with_hostile_names_are_listed_and_chosen(driver, tmp_path):
    names = ["a", HOSTILE, "c"]
    path, probs = section_pages.write_images(tmp_path, names)
    browser.open_page(driver, path)
    assert browser.messages(driver) == []
    assert "taken" not in driver.title.partition("<script>")[0]
    show(driver, 0.5, 3)
    chosen = postprocess.Postprocessing(0.5, 3)
    shares = []
    for i, name in enumerate(names):
        prob = postprocess.from_sixteen_bits(probs[name])
        mask = postprocess.salt_mask(prob[None], chosen)[0]
        found = driver.execute_script(SLICE, 0, i)
        assert found["prob"] == probs[name].ravel().tolist()
        assert found["mask"] == mask.astype(int).ravel().tolist()
        shares.append(mask.mean())
    assert 0 < len(set(shares)) == 3

    def listed():
        return driver.execute_script(
            "return [...document.querySelectorAll('[data-section]')].map((c) => c.dataset.section)"
        )

    assert listed() == names
    choose(driver, "sort", "most")
    assert listed() == [names[i] for i in np.argsort(shares)[::-1]]
    driver.execute_script("explorer.list.cards[1].card.click()")
    assert text(driver, "title") == HOSTILE
    assert driver.execute_script("return document.querySelectorAll('img').length") == 0
    # The arrow keys follow the order of the list.
    from selenium.webdriver.common.keys import Keys

    order = listed()
    press(driver, *[Keys.ARROW_LEFT] * 3, Keys.ARROW_RIGHT)
    assert text(driver, "title") == order[1]
    find = "const find = byId('find'); find.value = 'C'; find.dispatchEvent(new Event('input'))"
    driver.execute_script(find)
    assert [name for name in listed() if "c" not in name.lower()] == []


@pytest.mark.parametrize(("names", "steps"), [(["a"], False), (["a", "b"], True)])
def test_keys_that_step_are_offered_where_there_is_something_to_step_to(
    driver, tmp_path, names, steps
):
    path, _ = section_pages.write_images(tmp_path, names)
    browser.open_page(driver, path)
    assert ("step" in driver.find_element("class name", "hint").text) is steps
    assert driver.find_element("class name", "stepper").is_displayed() is steps


def test_a_thinned_volume_says_so_and_keeps_its_numbers(driver, tmp_path, monkeypatch):
    from saltjax.reporting import sections

    monkeypatch.setattr(sections, "MAX_PIXELS", 400)
    prob = np.float32(section_pages.smooth(15, 16, 20))
    traces = npy.ArrayTraces(lambda: prob, "array")
    contents = trace_sections.of_traces(
        traces, traces, "inline", "minmax", section_pages.LIMITS
    )
    path = tmp_path / "page.html"
    page = section_report.render(contents, section_pages.prediction("cube.npy"))
    path.write_text(page, encoding="utf-8")
    browser.open_page(driver, path)
    assert browser.messages(driver) == []
    _, across, down = contents.steps
    assert f"one crossline in {across}" in text(driver, "thinned")
    found = driver.execute_script(SLICE, 0, 1)
    assert found["x"] == list(range(0, 16, across))
    middle = np.minimum(np.arange(0, 20, down) + down // 2, 19)
    inline = round(contents.steps[0])
    expected = np.rint(65535 * prob[inline, ::across][:, middle].T)
    assert found["prob"] == expected.ravel().tolist()
    # A pixel stands for so many of the input: components are held against as many.
    area = across * down
    show(driver, 0.5, 3 * area)
    thin = postprocess.from_sixteen_bits(expected.astype(np.uint16))
    mask = postprocess.salt_mask(thin[None], postprocess.Postprocessing(0.5, 3))[0]
    found = driver.execute_script(SLICE, 0, 1)
    assert found["mask"] == mask.astype(int).ravel().tolist()
