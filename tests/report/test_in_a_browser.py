"""The report opened in Chromium: at rest, by mouse and keyboard, on a phone, in the dark, on paper, read aloud."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SHOWN = "const box = arguments[0].getBoundingClientRect(); return arguments[0].checkVisibility() && box.width > 20;"

# every visible piece of text with its colour and what lies behind it
TEXT_COLOURS = """
const opaque = element => {
  for (let e = element; e; e = e.parentElement) {
    const found = getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).map(Number);
    if (found.length === 3 || found[3] === 1) return found.slice(0, 3);
    if (found[3] > 0) throw new Error("half-transparent background");
  }
  throw new Error("no background");
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
  const colour = getComputedStyle(element).color.match(/[\\d.]+/g).map(Number).slice(0, 3);
  found.push([colour, opaque(element), walker.currentNode.data.trim().slice(0, 40)]);
}
return found;
"""


def test_it_opens_without_a_word_on_the_console(browser: Any, page: Path) -> None:
    assert browser.open(page).driver.get_log("browser") == []


def test_it_asks_nothing_of_any_network(browser: Any, page: Path) -> None:
    browser.open(page)
    open_everything(browser)
    browser.js("document.querySelectorAll('img').forEach(each => each.loading = 'eager')")
    events = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked
    assert [url[:60] for url in asked if not url.startswith(("file://", "data:"))] == []


def test_only_its_own_script_runs_and_there_is_no_form_to_send(browser: Any, page: Path) -> None:
    browser.open(page)
    assert browser.js("return document.querySelectorAll('form, iframe, object, embed, base').length") == 0
    policy = browser.js("return document.querySelector('meta[http-equiv=Content-Security-Policy]').content")
    script = browser.js("return [...document.scripts].find(each => !each.type).textContent")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy and "unsafe" not in policy


def test_pictures_are_not_drawn_until_asked_for(browser: Any, page: Path) -> None:
    browser.open(page)
    open_parts(browser)
    pictures = browser.driver.find_elements(By.CSS_SELECTOR, "main img.clear")
    assert len(pictures) >= 24
    assert not any(browser.js(SHOWN, picture) for picture in pictures)


def test_what_is_drawn_instead_holds_only_a_few_pixels_and_is_blurred(browser: Any, page: Path) -> None:
    browser.open(page)
    open_parts(browser)
    veils = browser.js("return [...document.querySelectorAll('img.veil')].map("
                       "i => [i.getAttribute('src'), getComputedStyle(i).filter])")  # fmt: skip
    assert veils
    assert all("blur" in blur for _, blur in veils)
    for name, _ in veils:
        shown, hidden = re.findall(r"<image ([^>]*)/>", (page.parent / name).read_text(encoding="utf-8"))
        assert max(size_of(shown)) <= 16 and "display" not in shown
        assert max(size_of(hidden)) > 50 and 'display="none"' in hidden


def test_an_image_file_by_itself_is_blurred(browser: Any, page: Path) -> None:
    file = next((page.parent / f"{page.stem}_images").glob("*.svg"))
    browser.open(file)
    assert browser.js("return getComputedStyle(document.getElementById('clear')).display") == "none"


def test_a_click_opens_a_picture_and_another_closes_it(browser: Any, page: Path) -> None:
    browser.open(page)
    summary, picture = first_picture(browser)
    click(browser, summary)
    assert browser.js(SHOWN, picture)
    until(browser, "return arguments[0].complete && arguments[0].naturalWidth > 0", picture)
    assert browser.js("return [arguments[0].naturalWidth, getComputedStyle(arguments[0]).filter]", picture) == [
        120,
        "none",
    ]
    click(browser, summary)
    assert not browser.js(SHOWN, picture)


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE])
def test_the_keyboard_opens_a_picture(browser: Any, page: Path, key: str) -> None:
    browser.open(page)
    summary, picture = first_picture(browser)
    browser.js("arguments[0].focus()", summary)
    summary.send_keys(key)
    assert browser.js(SHOWN, picture)


def test_one_picture_opens_no_other(browser: Any, page: Path) -> None:
    browser.open(page)
    summary, _ = first_picture(browser)
    click(browser, summary)
    shown = [browser.js(SHOWN, each) for each in browser.driver.find_elements(By.CSS_SELECTOR, "img.clear")]
    assert sum(shown) == 1


def test_answers_are_folded(browser: Any, page: Path) -> None:
    browser.open(page, script=False)
    open_parts(browser)
    quotes = browser.driver.find_elements(By.TAG_NAME, "blockquote")
    assert len(quotes) >= 30
    assert not any(browser.js(SHOWN, quote) for quote in quotes)


@pytest.mark.parametrize("width", [320, 375, 768])
@pytest.mark.parametrize("opened", [False, True])
def test_a_narrow_screen_never_scrolls_sideways(browser: Any, page: Path, width: int, opened: bool) -> None:
    browser.open(page, width=width)
    if opened:
        open_everything(browser)
    assert browser.js("return document.scrollingElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(browser: Any, page: Path, scheme: str) -> None:
    browser.open(page, scheme=scheme)
    open_everything(browser)
    found = browser.js(TEXT_COLOURS)
    assert len(found) > 500
    faint = {(text, round(contrast(ink, ground), 2)) for ink, ground, text in found if contrast(ink, ground) < 4.5}
    assert faint == set()


def test_dark_is_dark_and_light_is_light(browser: Any, page: Path) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    light = luminance(browser.open(page, scheme="light").js(ground))
    dark = luminance(browser.open(page, scheme="dark").js(ground))
    assert light > 0.8
    assert dark < 0.05


def test_paper_shows_no_picture_even_where_one_was_opened(browser: Any, page: Path) -> None:
    browser.open(page, media="print")
    open_everything(browser)
    pictures = browser.driver.find_elements(By.CSS_SELECTOR, "img.clear")
    assert pictures
    assert not any(browser.js(SHOWN, picture) for picture in pictures)


def test_paper_is_black_on_white_even_in_the_dark(browser: Any, page: Path) -> None:
    browser.open(page, media="print", scheme="dark")
    found = browser.js(TEXT_COLOURS)
    assert all(luminance(ground) > 0.9 and contrast(ink, ground) >= 7 for ink, ground, _ in found)


def test_it_prints(browser: Any, page: Path) -> None:
    browser.open(page)
    pdf = base64.b64decode(browser.command("Page.printToPDF", printBackground=False)["data"])
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") >= 2


def test_the_published_table_shows_one_judge_at_a_time(browser: Any, page: Path) -> None:
    browser.read(page)
    rows = (
        "return [...document.querySelectorAll('#published tbody tr')].filter(r => r.checkVisibility())"
        ".map(r => r.textContent)"
    )
    before = browser.js(rows)
    (claude,) = [
        radio
        for radio in browser.driver.find_elements(By.CSS_SELECTOR, "#published input[type=radio]")
        if "Claude" in browser.js("return arguments[0].labels[0].textContent", radio)
    ]
    click(browser, claude)
    after = browser.js(rows)
    assert len(before) == len(after) == 4 + 21  # two runs by two judges, then the published models
    assert before[:4] == after[:4]
    assert not set(before[4:]) & set(after[4:])
    assert any("79.1" in row and "LLaVA-v1.5-7B" in row for row in after)


def open_everything(browser: Any) -> None:
    browser.unfold()


def open_parts(browser: Any) -> None:
    """Unfold the sections, and wait for the gallery where the script runs."""
    browser.js("document.querySelectorAll('details.part').forEach(each => each.open = true)")
    if not browser.js("return document.querySelector('.filters').hidden"):
        until(browser, "return document.querySelector('#results').childElementCount > 0")


def until(browser: Any, condition: str, *arguments: Any) -> None:
    WebDriverWait(browser.driver, 60).until(lambda _: browser.js(condition, *arguments))


def size_of(image: str) -> tuple[int, int]:
    """Pixels of the encoded image in an element's attributes."""
    (encoded,) = re.findall(r"base64,([^\"]+)", image)
    return Image.open(io.BytesIO(base64.b64decode(encoded))).size


def first_picture(browser: Any) -> tuple[Any, Any]:
    open_parts(browser)
    box = browser.driver.find_element(By.CSS_SELECTOR, "#gallery details.picture")
    return box.find_element(By.TAG_NAME, "summary"), box.find_element(By.CSS_SELECTOR, "img.clear")


def click(browser: Any, element: Any) -> None:
    """A press of the mouse on the middle of the element's visible label."""
    label = browser.js("return arguments[0].labels ? arguments[0].labels[0] : arguments[0]", element)
    browser.js("arguments[0].scrollIntoView({block: 'center'})", label)
    label.click()


def luminance(colour: list[float]) -> float:
    """Relative luminance of sRGB values in 0 to 255 (WCAG 2.2)."""
    parts = [value / 255 for value in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: list[float], other: list[float]) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
