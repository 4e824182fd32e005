"""A headless Chromium for tests of HTML pages; they are skipped where it is missing."""

import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

# Nothing is to be downloaded or reported by what starts the browser.
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str:
    """Returns what is missing for tests in a browser, "" if all is there."""
    if not any(map(shutil.which, BROWSERS)) or not shutil.which("chromedriver"):
        return "no Chromium with its chromedriver is installed"
    if importlib.util.find_spec("selenium") is None:
        return "selenium is not installed"
    return ""


@contextlib.contextmanager
def start(profile: pathlib.Path) -> Iterator[Any]:
    """Yields a WebDriver; skips the test where there is no browser.

    Args:
      profile: an empty directory for the browser's files.
    """
    if reason := missing():
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    os.environ["SE_OFFLINE"] = "true"
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def wait(driver: Any, condition: str, seconds: float = 60) -> Any:
    """Returns the value of a JavaScript expression as soon as it is true."""
    end = time.monotonic() + seconds
    while not (value := driver.execute_script(f"return {condition}")):
        assert time.monotonic() < end, condition
        time.sleep(0.05)
    return value


def open_page(
    driver: Any, path: pathlib.Path, width: int = 1440, dark: bool = False
) -> None:
    """Opens a page from disk, and waits until its script has run."""
    size = {
        "width": width,
        "height": 900,
        "deviceScaleFactor": 1,
        "mobile": width < 600,
    }
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    driver.get_log("browser"), driver.get_log("performance")
    driver.get(path.resolve().as_uri())
    wait(driver, "document.body.dataset.ready")


def messages(driver: Any) -> list[str]:
    """Returns what is on the console since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requests(driver: Any) -> list[str]:
    """Returns the addresses that pages requested since the last call.

    Those of the browser's own first page, which may still be loading, are left out.
    """
    events = [
        json.loads(e["message"])["message"] for e in driver.get_log("performance")
    ]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
        and not event["params"]["documentURL"].startswith(
            ("chrome:", "chrome-untrusted:")
        )
    ]
