"""The page of a run in a browser: its scores, and what it must not do."""

import json
import re

import browser
import numpy as np
import pytest
import tested_run
from report_pages import (
    CHOSEN,
    COUNT,
    begin,
    counts_of,
    move,
    outputs,
    shown,
    visible_tiles,
    write_images,
)

from saltjax import report
from saltjax.data import synthetic
from saltjax.reporting import run_report
from saltjax.scoring import metrics, postprocess

pytestmark = pytest.mark.slow
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=alert(1)>&amp;\"'"


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


def test_lines_of_commands_end_between_words(page):
    pre = page.find_element("id", "predict-command")
    command = pre.get_attribute("textContent")
    assert "--threshold=0.37 --min_area=3" in command
    # The characters that stand on another line than the one before them, at every width.
    breaks = page.execute_script(
        """
        const pre = arguments[0];
        const found = new Set();
        pre.style.flex = "none";
        for (let width = 60; width < 700; width += 7) {
          pre.style.width = `${width}px`;
          const nodes = document.createTreeWalker(pre, NodeFilter.SHOW_TEXT);
          let [at, bottom] = [0, null];
          while (nodes.nextNode()) {
            for (let i = 0; i < nodes.currentNode.length; i++, at++) {
              const range = document.createRange();
              range.setStart(nodes.currentNode, i);
              range.setEnd(nodes.currentNode, i + 1);
              const box = range.getBoundingClientRect();
              if (bottom !== null && box.top >= bottom) found.add(at);
              bottom = box.bottom;
              if (box.right > pre.getBoundingClientRect().right) throw new Error("too wide");
            }
          }
        }
        getSelection().selectAllChildren(pre);
        return [...found];""",
        pre,
    )
    ends = [command[:i].split(" ")[-1] for i in breaks]
    assert len(ends) > 20
    assert {"-", "--"}.isdisjoint(ends)
    # What is selected and copied by hand is the command.
    assert page.execute_script("return getSelection().toString()") == command


def test_the_page_is_readable_on_a_phone(driver, run):
    browser.open_page(driver, run / "report.html", 390)
    driver.execute_script("document.querySelector('#settings details').open = true")
    lines = driver.execute_script(
        "return [...document.querySelectorAll('.settings th code')].map((x) => x.getClientRects().length)"
    )
    assert len(lines) > 40
    assert set(lines) == {1}
    percentages = driver.execute_script(
        "return document.querySelector('.confusion').textContent.match(/[^0-9]%/g)"
    )
    assert percentages == ["\u00a0%"] * 4


def test_the_curves_of_one_epoch_are_dots_that_can_be_seen(driver, tmp_path):
    run = begin(tmp_path / "run", epochs=1)
    run_report.refresh(run, synthetic.make_tiles(1, 0), running=False)
    browser.open_page(driver, run / "report.html")
    drawn = browser.wait(
        driver,
        "[...document.querySelectorAll('figure path.line[d*=h]')].map(getComputedStyle)"
        ".map((s) => [parseFloat(s.strokeWidth), s.strokeDasharray])",
    )
    assert len(drawn) >= 5
    assert all(width >= 6 and dashes == "none" for width, dashes in drawn)


@pytest.mark.parametrize(("minutes", "stale"), [(0, False), (10, True)])
def test_a_page_that_training_no_longer_refreshes_says_so(
    driver, tmp_path, minutes, stale
):
    run = begin(tmp_path / "run", epochs=2)
    run_report.refresh(run, synthetic.make_tiles(1, 0), running=True)
    path = run / "report.html"
    text = path.read_text(encoding="utf-8")
    earlier, count = re.subn(
        r'("written": )([\d.]+)',
        lambda found: found[1] + str(float(found[2]) - 60_000 * minutes),
        text,
    )
    assert count == 1
    path.write_text(earlier, encoding="utf-8")
    browser.open_page(driver, path)
    note = driver.find_element("id", "stale")
    assert note.is_displayed() is stale
    if stale:
        assert f"Nothing was written for {minutes} minutes" in note.text
        assert f"--mode=report --workdir={run}" in note.text
