"""Export, people and import with a real Label Studio: HOLISAFE_LABEL_STUDIO names its program.

    python -m venv /somewhere && /somewhere/bin/pip install label-studio
    HOLISAFE_LABEL_STUDIO=/somewhere/bin/label-studio python -m pytest tests/review/test_real_label_studio.py

HOLISAFE_SCREENSHOTS names a folder for pictures of the page.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from chromium import Browser, chromium
from drawn_pictures import settings
from holisafe.building import build, export_review, import_review
from holisafe.datasets import load
from label_studio import EXPORT_SCHEMA, LabelStudio, label_studio

PROGRAM = os.environ.get("HOLISAFE_LABEL_STUDIO", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM, reason="HOLISAFE_LABEL_STUDIO does not name a label-studio program"),
]


def test_people_see_blurred_pictures_and_what_they_say_comes_back(tmp_path: Path) -> None:
    build(settings(tmp_path))
    data = tmp_path / "data"
    project = export_review(data)
    tasks = json.loads((project.folder / "tasks.json").read_text())
    meant = json.loads((data / "steps" / "review-meant.json").read_text())
    with label_studio(PROGRAM, tmp_path / "label-studio", project.folder) as server:
        number = _project(server, project.folder, tasks)
        ids = [each["id"] for each in server.call("GET", f"/api/tasks?project={number}&page_size=100")["tasks"]]
        other = server.call(
            "POST", "/api/users", {"email": "two@x.org", "username": "two", "password": "holisafe-local"}
        )
        with chromium() as browser:
            _look_and_choose(browser, server, number, ids[0])
        for name, task in zip(ids, tasks, strict=True):
            choice = meant[task["data"]["key"]]["combination"]
            _annotate(server, name, choice, other["id"])
            if name != ids[0]:  # which the first person has done in the browser
                _annotate(server, name, choice, None)
        export = server.call("GET", f"/api/projects/{number}/export?exportType=JSON")
    jsonschema.validate(export, EXPORT_SCHEMA)
    path = tmp_path / "export.json"
    path.write_text(json.dumps(export))
    found = import_review(data, [path])
    assert found.agreed.annotators == 2
    assert (found.tasks, found.kept, len(found.to_adjudicate)) == (len(tasks), len(tasks) - 1, 1)
    build(settings(tmp_path))
    assert {sample.tags["review"] for sample in load(data)} == {"agreed"}
    assert len(load(data)) == len(tasks) - 1


def _project(server: LabelStudio, folder: Path, tasks: list[Any]) -> int:
    configuration = (folder / "configuration.xml").read_text()
    number = int(server.call("POST", "/api/projects", {"title": "review", "label_config": configuration})["id"])
    storage = {"project": number, "path": str(folder / "images"), "use_blob_urls": True, "title": "pictures"}
    server.call("POST", "/api/storages/localfiles", storage)
    assert server.call("POST", f"/api/projects/{number}/import", tasks)["task_count"] == len(tasks)
    return number


def _annotate(server: LabelStudio, task: int, choice: str, who: int | None) -> None:
    result = [{"from_name": "combination", "to_name": "image", "type": "choices", "value": {"choices": [choice]}}]
    body = {"result": result} if who is None else {"result": result, "completed_by": who}
    server.call("POST", f"/api/tasks/{task}/annotations/", body)


def _look_and_choose(browser: Browser, server: LabelStudio, project: int, task: int) -> None:
    """Sign in, hold the mouse button down on the picture, choose that no combination is right, and submit."""
    driver = browser.driver
    browser.open(f"{server.address}/user/login/")
    driver.find_element(By.NAME, "email").send_keys(server.email)
    driver.find_element(By.NAME, "password").send_keys(server.password)
    browser.js("document.querySelector('form').submit()")
    _until(browser, lambda: "login" not in driver.current_url)
    browser.open(f"{server.address}/projects/{project}/data?task={task}")
    _until(browser, lambda: browser.js("return document.querySelectorAll('.lsf-choices input').length") == 6)
    _until(browser, lambda: browser.js("return document.querySelector('.holisafe img')?.naturalWidth > 0"))
    _until(browser, lambda: _sharpness(browser, "") > 0)
    blurred = _sharpness(browser, "blurred")
    assert not _listed_pictures(browser)
    picture = browser.js(
        "const box = document.querySelector('.holisafe img').getBoundingClientRect();"
        "return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)"
    )
    ActionChains(driver).click_and_hold(picture).perform()
    _until(browser, lambda: _sharpness(browser, "held") > 4 * blurred)
    ActionChains(driver).release().perform()
    _until(browser, lambda: _sharpness(browser, "released") < 2 * blurred)
    unusable = driver.find_elements(By.CSS_SELECTOR, ".lsf-choices input")[-1]
    browser.js("arguments[0].scrollIntoView({block: 'center'})", unusable)
    unusable.click()
    next(each for each in driver.find_elements(By.CSS_SELECTOR, "button") if each.text == "Submit").click()
    _until(browser, lambda: len(server.call("GET", f"/api/tasks/{task}")["annotations"]) == 1)
    hosts = {address.split("/")[2] for address in browser.asked() if address.startswith("http")}
    assert hosts == {server.address.split("/")[2]}


def _until(browser: Browser, holds: Callable[[], bool]) -> None:
    WebDriverWait(browser.driver, 60).until(lambda _: holds())


def _sharpness(browser: Browser, name: str) -> float:
    """The largest step between neighbouring pixels on the screen where the picture is."""
    shot = browser.driver.get_screenshot_as_png()
    if name and (folder := os.environ.get("HOLISAFE_SCREENSHOTS")):
        Path(folder, f"{name}.png").write_bytes(shot)
    x, y, width, height = browser.js(
        "const box = document.querySelector('.holisafe img').getBoundingClientRect();"
        "return [box.x, box.y, box.width, Math.min(box.height, 800 - box.y)]"
    )
    place = (int(x + width / 4), int(y + height / 4), int(x + width * 3 / 4), int(y + height * 3 / 4))
    grey = np.asarray(Image.open(io.BytesIO(shot)).convert("L").crop(place), dtype=np.int16)
    return float(np.abs(np.diff(grey, axis=1)).max())


def _listed_pictures(browser: Browser) -> int:
    """Pictures that the list of tasks shows beside the task."""
    return int(
        browser.js(
            "return [...document.querySelectorAll('img')].filter(each => each.src.includes('local-files') &&"
            " !each.closest('.holisafe') && each.naturalWidth > 0).length"
        )
    )
