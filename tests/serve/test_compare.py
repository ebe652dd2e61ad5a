"""`--compare`: a second model without a guard beside the guarded one, on the page alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import tiny_models
from chromium import chromium
from holisafe.errors import RunError
from holisafe.models import Engine
from holisafe.serve import Compared, EngineBackend, Settings, application
from serve.site import BLOCK, NAME, PICTURES, SAFE, UNSAFE, Site, guarded, running, shown, wait_until


@pytest.fixture(scope="module")
def page() -> Iterator[Site]:
    tiny, base = guarded(), tiny_models.llava()
    with (
        Engine(tiny.model, tiny.processor, window=0.005) as engine,
        Engine(base.model, base.processor, window=0.005) as other,
    ):
        compared = Compared("base", EngineBackend.unguarded(other, "base"))
        with running(EngineBackend(engine, NAME), PICTURES, ui=True, compared=compared) as site:
            yield site


def test_the_second_model_answers_what_the_first_refuses(page: Site) -> None:
    body = {"messages": shown(UNSAFE), "max_tokens": 3}
    refused = page.post("/v1/chat/completions", {**body, "moderation": BLOCK}).json()
    answered = page.post("/ui/compare", body).json()
    assert refused["choices"][0]["finish_reason"] == "content_filter"
    assert answered["choices"][0]["finish_reason"] == "length" and answered["image_safety"] == []
    assert answered["model"] == "base"
    of_answers = {"model": "holisafe", "policy": {"output": {"mode": "block"}}}
    assert page.post("/ui/compare", {**body, "moderation": of_answers}).status_code == 400


def test_it_is_served_and_counted_nowhere_else(page: Site) -> None:
    body = {"model": "base", "messages": shown(SAFE), "max_tokens": 1}
    before = page.count("generation_tokens_total")
    assert page.post("/ui/compare", body).status_code == 200
    assert page.post("/v1/chat/completions", body).status_code == 404
    listed = httpx.get(f"{page.url}/v1/models", trust_env=False, timeout=60).json()["data"]
    assert [each["id"] for each in listed] == [NAME]
    assert page.count("generation_tokens_total") == before


def test_without_it_the_page_has_no_such_route_and_where_flags_block_it_is_refused(page: Site) -> None:
    compared = Compared("base", page.backend)
    with pytest.raises(RunError, match="--policy block"):
        application(page.backend, Settings(policy="block"), ui=True, compared=compared)  # type: ignore[arg-type]
    assert "/ui/compare" not in {
        getattr(each, "path", "") for each in application(page.backend, PICTURES, ui=True).routes
    }


@pytest.mark.slow
def test_both_answers_stand_side_by_side(page: Site, tmp_path: Path) -> None:
    (tmp_path / "unsafe.png").write_bytes(UNSAFE)
    with chromium() as browser:
        browser.open(page.url + "/")
        one = browser.driver.find_element

        def said(where: str) -> str:
            return str(one(By.ID, where).text)

        one(By.ID, "files").send_keys(str(tmp_path / "unsafe.png"))
        wait_until(lambda: browser.driver.find_elements(By.CSS_SELECTOR, "#pictures img"))
        one(By.ID, "block").click()
        one(By.ID, "question").send_keys("What is it?", Keys.CONTROL, Keys.ENTER)
        wait_until(lambda: said("status").startswith("Refused") and said("other-status").startswith("Answered"), 120)
        assert said("other-heading") == "base, without a guard"
        assert "I'm sorry" in said("answer") and said("other") and "I'm sorry" not in said("other")
        left, right = (one(By.ID, name).rect for name in ("answer", "other"))
        assert left["x"] + left["width"] <= right["x"]
        browser.driver.save_screenshot(str(tmp_path / "compare.png"))
