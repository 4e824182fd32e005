"""A run with its report, and a browser that shows it."""

import browser
import pytest
import tested_run
from report_pages import CHOSEN, COUNT, outputs, write_images

from saltjax import report


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
