"""The page of `--ui` opened in Chromium, against a server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from chromium import Browser, chromium
from holisafe.guard import DecideBy, Policy, decide
from holisafe.models import Engine
from holisafe.records import GuardVerdict, RequestVerdict
from holisafe.serve import Ask, Delta, EngineBackend, Judged, KeyRing, new_key
from holisafe.serve.backend import Event
from holisafe.taxonomy import Category, Combination
from serve.site import NAME, SAFE, UNSAFE, Site, guarded, running, shown, wait_until

HOSTILE = "<img src=x onerror=document.title='pwned'><b>bold</b> \u202eabc\u202c </script>"


TOGETHER = RequestVerdict(
    combination=Combination.SSU,
    probability=0.9,
    distribution={combination: 0.9 if combination is Combination.SSU else 0.025 for combination in Combination},
    categories={category: 0.4 if category is Category.VIOLENCE else 0.1 for category in Category},
    threshold=0.5,
)


class Saying(EngineBackend):
    """Judges images as the model does and every request as unsafe together, and answers with hostile text.

    Attributes:
        is_held: Whether it waits after the first piece.
    """

    is_held = False

    async def answer(self, ask: Ask, model: str) -> AsyncGenerator[Event]:
        answer = super().answer(ask, model)
        judged = await anext(answer)
        assert isinstance(judged, Judged) and judged.verdict
        yield Judged(GuardVerdict(judged.verdict.images, TOGETHER), judged.input_tokens)
        for piece in (HOSTILE[:9], HOSTILE[9:]):
            yield Delta({"content": piece})
            while self.is_held:
                await asyncio.sleep(0.01)
        async for event in answer:
            if not isinstance(event, Delta):
                yield event


@pytest.fixture(scope="module")
def page() -> Iterator[Site]:
    with Engine(guarded().model, guarded().processor) as engine, running(Saying(engine, NAME), ui=True) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("pictures")
    (safe, unsafe) = folder / "<i>safe</i>.png".replace("/", "_"), folder / "unsafe.png"
    safe.write_bytes(SAFE)
    unsafe.write_bytes(UNSAFE)
    return str(safe), str(unsafe)


def find(browser: Browser, selector: str) -> Any:
    return browser.driver.find_element(By.CSS_SELECTOR, selector)


def status(browser: Browser) -> str:
    return str(find(browser, "#status").text)


def ask(browser: Browser, *pictures: str, question: str = "What is it?") -> None:
    """Choose pictures, ask, and wait for the end."""
    if pictures:
        find(browser, "#files").send_keys("\n".join(pictures))
    wait_until(lambda: len(browser.driver.find_elements(By.CSS_SELECTOR, "#pictures img")) == len(pictures))
    find(browser, "#question").send_keys(question, Keys.CONTROL, Keys.ENTER)
    wait_until(lambda: status(browser).startswith(("Answered", "Refused", "Not answered")))


def blurred(browser: Browser) -> list[bool]:
    """Of each picture."""
    filters = browser.js("return [...document.querySelectorAll('.frame img')].map(i => getComputedStyle(i).filter)")
    return ["blur" in each for each in filters]


def test_an_answer_streams_and_says_what_was_made_of_it(browser: Browser, page: Site, files: tuple[str, str]) -> None:
    browser.open(page.url + "/")
    ask(browser, *files)
    assert status(browser).startswith("Answered")
    safe, unsafe = browser.driver.find_elements(By.CSS_SELECTOR, "#pictures > li")
    assert "Not flagged: unsafe" in safe.text and "threshold" in safe.text
    assert "\nFlagged: unsafe" in unsafe.text
    assert len(browser.js("return arguments[0].querySelectorAll('.bars li')", unsafe)) == 1 + 20
    cells = browser.js("return [...document.querySelectorAll('#rows tr')].map(r => [...r.cells].map(c => c.innerText))")
    assert cells == [
        ["observe", *["answers, reports the flag"] * 3],
        ["warn", *["answers after a note"] * 3],
        ["refuse", *["refuses"] * 3],
    ]
    assert find(browser, "td.own").text == cells[0][2]  # this server decides by image and only reports
    assert "I'm sorry" in find(browser, "#texts").text
    assert "Flagged: unsafe 97.5" in find(browser, "#request").text
    assert "Unsafe only together\n90.0" in find(browser, "#request").text
    assert browser.driver.get_log("browser") == []
    asked = [url for url in browser.asked() if not url.startswith("data:")]
    assert {url.removeprefix(page.url) for url in asked} == {"/", "/v1/chat/completions", "/ui/explain"}


def test_the_answer_is_shown_as_it_comes_and_can_be_stopped(browser: Browser, page: Site) -> None:
    browser.open(page.url + "/")
    page.backend.is_held = True
    find(browser, "#question").send_keys("What?", Keys.CONTROL, Keys.ENTER)
    wait_until(lambda: find(browser, "#answer").text == HOSTILE[:9])
    assert status(browser) == "Answering…"
    find(browser, "#stop").click()
    wait_until(lambda: status(browser) == "Stopped.")
    wait_until(lambda: page.count("num_requests_running") == 0)
    page.backend.is_held = False


def test_hostile_text_stays_text(browser: Browser, page: Site, files: tuple[str, str]) -> None:
    browser.open(page.url + "/")
    ask(browser, files[0])
    assert browser.js("return document.getElementById('answer').textContent") == (
        HOSTILE.replace("\u202e", "[U+202E]").replace("\u202c", "[U+202C]")
    )
    assert browser.js("return document.querySelectorAll('#answer *, #pictures i').length") == 0
    assert browser.driver.title == "holisafe playground"
    assert Path(files[0]).name in find(browser, "#pictures").text


def test_a_flagged_picture_is_blurred_until_it_is_opened(browser: Browser, page: Site, files: tuple[str, str]) -> None:
    browser.open(page.url + "/")
    find(browser, "#files").send_keys("\n".join(files))
    wait_until(lambda: blurred(browser) == [True, True])  # nothing is judged yet
    find(browser, "#question").send_keys("What?", Keys.CONTROL, Keys.ENTER)
    wait_until(lambda: status(browser).startswith("Answered"))
    assert blurred(browser) == [False, True]
    find(browser, "[aria-label='Show picture 2']").send_keys(Keys.ENTER)
    assert blurred(browser) == [False, False]
    assert browser.js("return document.activeElement.getAttribute('aria-label')") == "Blur picture 2"


def test_what_is_flagged_is_refused_on_request(browser: Browser, page: Site, files: tuple[str, str]) -> None:
    browser.open(page.url + "/")
    find(browser, "#block").click()
    ask(browser, files[1])
    assert status(browser).startswith("Refused")
    assert find(browser, "#answer").text.startswith("I'm sorry")


def test_the_keyboard_reaches_everything_in_order(browser: Browser, page: Site, files: tuple[str, str]) -> None:
    browser.open(page.url + "/")
    ask(browser, files[0])
    browser.js("document.getElementById('files').focus()")
    reached = []
    for _ in range(7):
        browser.command("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.append(
            browser.js("const e = document.activeElement; return e.id || e.getAttribute('aria-label') || e.textContent")
        )
    assert reached == ["Blur picture 1", "Remove picture 1", "16 more labels", "question", "block", "send", "answer"]


def test_every_control_and_picture_has_a_name(browser: Browser, page: Site, files: tuple[str, str]) -> None:
    browser.open(page.url + "/")
    ask(browser, files[0])
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    names = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in ("button", "checkbox", "textbox", "image", "region", "table")
    ]
    assert len(names) >= 8 and [each for each in names if not each[1]] == []


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_does_not_scroll_sideways(browser: Browser, page: Site, files: tuple[str, str], width: int) -> None:
    browser.open(page.url + "/", width=width)
    ask(browser, *files)
    browser.js("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.js("return document.scrollingElement.scrollWidth") <= width


def test_with_keys_the_page_is_open_and_asks_for_one(browser: Browser, files: tuple[str, str]) -> None:
    key, entry = new_key("team")
    with (
        Engine(guarded().model, guarded().processor) as engine,
        running(Saying(engine, NAME), keys=KeyRing((entry,)), ui=True) as site,
    ):
        browser.open(site.url + "/")
        find(browser, "#key").send_keys("hs-wrong")
        ask(browser, files[0])
        assert status(browser).startswith("Not answered")
        find(browser, "#key").clear()
        find(browser, "#key").send_keys(key)
        find(browser, "#send").click()
        wait_until(lambda: status(browser).startswith("Answered"))
        kept = browser.js("return [localStorage.length, sessionStorage.length, document.cookie, location.href]")
        assert kept == [0, 0, "", site.url + "/"]
        assert site.post("/ui/explain", {"images": []}).status_code == 401


def test_without_ui_there_is_no_page(site: Site) -> None:
    assert httpx.get(site.url + "/", trust_env=False).status_code == 404
    assert site.post("/ui/explain", {"images": []}).status_code == 404


def test_what_is_explained_is_what_the_policies_decide(page: Site) -> None:
    answer = page.chat(messages=shown(SAFE, UNSAFE)).json()
    verdict = GuardVerdict.from_json({"images": answer["image_safety"], "request": answer["request_safety"]})
    told = page.post("/ui/explain", {"images": answer["image_safety"], "request": answer["request_safety"]}).json()
    for each in told["policies"]:
        found = decide(Policy(each["policy"]), verdict.images, verdict.request, DecideBy(each["decide_by"]))
        assert (each["text"], each["does"] != "answers") == (found.text, found.flagged)
    assert len(told["policies"]) == 9
    assert [each["flagged"] for each in told["images"]] == [False, True]


@pytest.mark.parametrize("combination", Combination)
def test_a_picture_stays_blurred_where_the_request_is_flagged_for_it(page: Site, combination: Combination) -> None:
    images = page.chat().json()["image_safety"]
    spread = {each.value: 0.9 if each is combination else 0.025 for each in Combination}
    request = TOGETHER.to_json() | {"combination": combination.value, "distribution": spread}
    told = page.post("/ui/explain", {"images": images, "request": request}).json()
    assert told["images"][0]["stays_blurred"] is not combination.image_is_safe


@pytest.mark.parametrize(
    "images",
    [
        [{"label": "safe"}],
        [{"label": "safe", "probability": 2, "distribution": {}, "unsafe": 0, "threshold": 0.5, "flagged": False}],
        [{"label": "safe", "probability": 1, "distribution": {}, "unsafe": 0, "threshold": 0.5, "flagged": False}],
        [{"label": "safe", "probability": 0.1, "distribution": {"safe": 0.1}, "unsafe": 0.9, "threshold": 0.5,
          "flagged": True}],
    ],
)  # fmt: skip
def test_what_is_no_verdict_is_refused(page: Site, images: Any) -> None:
    assert page.post("/ui/explain", {"images": images}).status_code == 400


def test_the_page_may_run_its_own_script_alone(page: Site) -> None:
    told = httpx.get(page.url + "/", trust_env=False)
    policy = told.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert "innerHTML" not in told.text and "http" not in told.text
