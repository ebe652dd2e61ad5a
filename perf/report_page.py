"""A report on many samples: the size of its file, and how long its script takes to open, search, filter and sort.

    python perf/report_page.py --samples 10000 --runs 3 --out perf/results/report_page.json

Answers are random words, which compress worse than those of a model. Times are wall clock in Chromium, the median of
several tries. Needs Debian's chromium and chromium-driver.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from holisafe.images import content_hash
from holisafe.records import ImageRef, JudgeId, Judgement, Outcome, Response, Run, Sample
from holisafe.report import write_report
from holisafe.taxonomy import Combination, Subcategory

IMAGES = 100
WORDS = 40
TRIES = 7

FILTERS = {
    "search, one word": ("find-text", "w17"),
    "search, three words": ("find-text", "w17 w40 w3"),
    "search, nothing found": ("find-text", "no such words"),
    "runs differ": ("find-kind", "differ"),
    "one run wrong": ("find-kind", "1"),
    "one combination": ("find-part", "1"),
    "one tag": ("find-tag", "3"),
}
"""Name of a measurement → field of the gallery, and what is put into it."""

SET = """
const [id, value] = arguments;
const field = document.getElementById(id);
field.value = value;
const start = performance.now();
field.dispatchEvent(new Event("input"));
document.body.offsetHeight;
return performance.now() - start;
"""


def made(samples: int, runs: int) -> Iterator[Run]:
    """Runs on the same samples, with answers of random words and a judge that decides by chance."""
    chance = random.Random(0)
    vocabulary = [f"w{number}" for number in range(3000)]

    def words(count: int) -> str:
        return " ".join(chance.choices(vocabulary, k=count))

    encoded = [_image(chance) for _ in range(IMAGES)]
    images = [ImageRef(f"image-{at}", data=data, digest=content_hash(data)) for at, data in enumerate(encoded)]
    topics = list(Subcategory)
    asked = tuple(
        Sample.ask(
            f"sample-{number}",
            (images[number % IMAGES],),
            words(12),
            combination=list(Combination)[number % 5],
            category=topics[number % len(topics)].category,
            subcategory=topics[number % len(topics)],
        )
        for number in range(samples)
    )
    for number in range(runs):
        responses = tuple(Response(sample.id, words(WORDS), f"model {number}") for sample in asked)
        judgements = tuple(
            Judgement(sample.id, JudgeId("chance", "1"), chance.choice((Outcome.REFUSED, Outcome.ANSWERED)))
            for sample in asked
        )
        yield Run(f"model {number}", asked, responses, {"chance": judgements}, {"data": {"name": "random"}})


def _image(chance: random.Random) -> bytes:
    small = Image.frombytes("RGB", (8, 8), chance.randbytes(192))
    buffer = io.BytesIO()
    small.resize((320, 320)).save(buffer, "PNG")
    return buffer.getvalue()


def browser(profile: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={profile}")
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def measure(driver: Any, page: Path) -> dict[str, float]:
    """Milliseconds of each step."""
    start = time.perf_counter()
    driver.get(page.as_uri())
    found = {"load": 1000 * (time.perf_counter() - start)}
    found["open the gallery"] = driver.execute_async_script(
        "const done = arguments[0], start = performance.now();"
        "document.querySelector('#gallery > details').open = true;"
        "const look = () => document.querySelector('#results').childElementCount ? done(performance.now() - start)"
        " : setTimeout(look, 5); look();"
    )
    for name, (field, value) in FILTERS.items():
        times = []
        for _ in range(TRIES):
            times.append(driver.execute_script(SET, field, value))
            driver.execute_script(SET, field, "")
        found[name] = statistics.median(times)
    found["sort the leaderboard"] = driver.execute_script(
        "const start = performance.now(); document.querySelector('.sort').click(); document.body.offsetHeight;"
        "return performance.now() - start"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = list(made(arguments.samples, arguments.runs))
        start = time.perf_counter()
        page = write_report(runs, Path(folder) / "report.html")
        seconds = time.perf_counter() - start
        driver = browser(f"{folder}/profile")
        driver.set_script_timeout(600)
        try:
            milliseconds = measure(driver, page)
            longest = driver.execute_script("return gallery.data.longest")
        finally:
            driver.quit()
        found = {
            "samples": arguments.samples,
            "runs": arguments.runs,
            "bytes": page.stat().st_size,
            "image_bytes": sum(file.stat().st_size for file in Path(folder, "report_images").iterdir()),
            "characters_kept_per_text": longest,
            "write_s": round(seconds, 1),
            "milliseconds": {name: round(value, 1) for name, value in milliseconds.items()},
        }
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
