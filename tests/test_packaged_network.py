"""The network in the package: that it works, and that its model card says what its file holds."""

import json

import forked
import numpy as np
import pytest
from program import ROOT
from tile_files import link_tiles

import saltjax
from saltjax.runs import network_file, trained

CARD = ROOT / "docs/tgs.md"
LARGEST = 8_000_000  # bytes
CLASSES = {
    "0": "none",
    "0-0.1": "up to 10 %",
    "0.1-0.4": "10 to 40 %",
    "0.4-1": "over 40 %",
}


@pytest.fixture(scope="module")
def network():
    return network_file.read(trained.PACKAGED / "tgs.safetensors")


def interval(score):
    return f"{score.value:.3f} ({score.low:.3f}–{score.high:.3f})"


def table(result):
    """Returns the rows of the card's scores, as Markdown."""
    rows = [("all", sum(row.tiles for row in result.by_coverage), result.test_native)]
    rows += [(CLASSES[row.coverage], row.tiles, row) for row in result.by_coverage]
    return [
        f"| {name} | {tiles} | {interval(scores.kaggle_map)} | {interval(scores.iou)} | "
        f"{interval(scores.accuracy)} |"
        for name, tiles, scores in rows
    ]


def calibration(result):
    return [
        f"| {row.low:.1f}–{row.high:.1f} | {row.pixels:,} | {row.mean_probability:.2f} | "
        f"{row.salt_share:.2f} |"
        for row in result.calibration.bins
    ]


def test_card_has_the_scores_that_the_file_holds(network):
    text, result = CARD.read_text(), network.result
    for row in table(result) + calibration(result):
        assert row in text
    for words in (
        f"threshold {result.threshold.value:.3f}",
        f"minimum component size {result.min_area} pixels",
        f"expected calibration error is {result.calibration.ece:.3f}",
        f"{result.epochs} epochs",
        f"{result.data.train}/{result.data.val}/{result.data.test}",
    ):
        assert words in text


def test_file_is_small_and_names_no_directory(network):
    content = network.path.read_bytes()
    assert len(content) < LARGEST
    assert network.config.data.dir == "tgs/train"
    for place in (b"/work", b"/home", b"/tmp"):
        assert place not in content


def test_it_segments_a_section(network):
    loaded = saltjax.load("tgs")
    assert loaded.threshold == network.result.threshold.value
    section = np.random.default_rng(0).normal(size=(120, 150)).astype(np.float32)
    prob = loaded.predict(section)
    assert prob.shape == section.shape
    assert 0 <= prob.min() < prob.max() <= 1


@pytest.mark.tgs
@pytest.mark.slow
def test_its_scores_are_those_of_its_test_tiles(network, tgs, tmp_path):
    tiles = link_tiles(tgs, network.tiles.splits["test"], tmp_path / "tiles")
    done = forked.launch(
        "--mode=evaluate",
        "--workdir=tgs",
        f"--input={tiles}",
        f"--output={tmp_path}/scores",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "scores/evaluation.json").read_text())
    expected = network.result
    assert found["test"]["loss"] == pytest.approx(expected.test.loss, abs=1e-5)
    for name in ("iou", "kaggle_map", "accuracy"):
        score = getattr(expected.test_native, name).value
        assert found["test_native"][name]["value"] == pytest.approx(score, abs=1e-4)
