"""Chromium without a window, for the tests that open a page."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


@dataclass(frozen=True)
class Browser:
    """A running Chromium."""

    driver: webdriver.Chrome

    def open(
        self, page: Path | str, *, width: int = 1200, scheme: str = "light", media: str = "screen", script: bool = True
    ) -> Browser:
        """Open a file or an address afresh, as a screen of that width with that colour scheme shows it.

        Its script runs or not.
        """
        self.command("Emulation.setScriptExecutionDisabled", value=not script)
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=media, features=features)
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(page.as_uri() if isinstance(page, Path) else page)
        return self

    def read(self, path: Path, **options: Any) -> Browser:
        """Open a file where scripts do not run, with every section unfolded."""
        self.open(path, script=False, **options)
        self.js("document.querySelectorAll('details.part').forEach(each => each.open = true)")
        return self

    def unfold(self) -> Browser:
        """Unfold everything, and wait until the script has put the gallery there."""
        self.js("document.querySelectorAll('details').forEach(each => each.open = true)")
        WebDriverWait(self.driver, 60).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "#results > *"))
        self.js("document.querySelectorAll('#results details').forEach(each => each.open = true)")
        return self

    def command(self, name: str, **arguments: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def js(self, code: str, *arguments: Any) -> Any:
        """What a function body of JavaScript returns; the page's own policy does not bind it."""
        return self.driver.execute_script(code, *arguments)  # type: ignore[no-untyped-call]

    def asked(self) -> list[str]:
        """Addresses that were asked for since the page was opened."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """One Chromium until the block ends."""
    binary, driver_binary = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver_binary is None:
        pytest.fail("these tests open a page in a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    profile = tempfile.mkdtemp(prefix="holisafe-chromium-")
    for flag in (
        "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        f"--disable-component-update --disable-sync --disable-dev-shm-usage --user-data-dir={profile}"
    ).split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_binary))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)
