"""A report to look at, and a real browser to open reports in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from holisafe.records import Run
from holisafe.report import write_report
from report_runs import ANSWER, REFUSAL, make_run


@pytest.fixture(scope="session")
def two_runs() -> tuple[Run, Run]:
    """Two runs on the same samples, judged by both string judges."""
    return make_run("cautious"), make_run("candid", answer=lambda index, _: REFUSAL if index % 7 == 0 else ANSWER)


@pytest.fixture(scope="session")
def page(two_runs: tuple[Run, Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of both runs."""
    return write_report(two_runs, tmp_path_factory.mktemp("report") / "report.html")


@dataclass(frozen=True)
class Browser:
    """Chromium without a window."""

    driver: webdriver.Chrome

    def open(
        self, path: Path, *, width: int = 1200, scheme: str = "light", media: str = "screen", script: bool = True
    ) -> Browser:
        """Open a file afresh, as a screen of that width with that colour scheme shows it; its script runs or not."""
        self.command("Emulation.setScriptExecutionDisabled", value=not script)
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=media, features=features)
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())
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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.fail("the report's tests open it in a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tempfile.mkdtemp(prefix="holisafe-chromium-")
    for flag in (
        "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        f"--disable-component-update --disable-sync --disable-dev-shm-usage --user-data-dir={profile}"
    ).split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield Browser(driver)
    driver.quit()
    shutil.rmtree(profile, ignore_errors=True)
