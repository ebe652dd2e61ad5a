"""Commands and code blocks of the documentation, and the working folder that they speak of."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl import Workbook
from PIL import Image

from benchmarks.small_releases import write_mis, write_mmsafeaware, write_mssbench
from drawn_pictures import draw
from editing.tiny import clip, quadruples
from holisafe.bench import measure
from holisafe.datasets import load
from holisafe.datasets.export import export_parquet
from holisafe.taxonomy import Combination
from judges.guard_models.tiny_guards import TINY, save_guard
from scan.corpus import img2dataset
from tuning.tiny_run import general, write_data, write_model

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*$")
"""Stands before a block that the suite cannot run, and says why."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: Path of its page, from the repository's root.
        line: Its first line on the page, from 1.
        language: What stands behind the fence.
        text: What it holds.
        why_not: Why it is not run; empty where it is.
    """

    page: str
    line: int
    language: str
    text: str
    why_not: str


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = (ROOT / page).read_text("utf-8")
    for found in re.finditer(r"^```(\w+)[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        before = text[: found.start()]
        skipped = NOT_RUN.search(before)
        yield Block(page, before.count("\n") + 1, found[1], found[2], skipped[1] if skipped else "")


def commands(block: Block) -> list[list[str]]:
    """The words of each command in a block of a shell; of a console, of the lines behind a `$`."""
    text = block.text.replace("\\\n", " ")
    lines = text.splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    parts = [
        part for line in lines for part in re.split(r"\s(?:\||&&)\s", re.sub(r"(^|\s)#.*", "", line)) if part.strip()
    ]
    return [shlex.split(part) for part in parts]


def make_place(folder: Path) -> Path:
    """A working folder with every file that the pages name."""
    for name in ("path/to/checkpoint", "my-checkpoint", "org/model"):
        write_model(folder / name)
    for name in ("path/to/data", "safety-data"):
        write_data(folder / name)
    for name in ("path/to/general", "instructions"):
        export_parquet(general(), folder / name, "train")
    recipe = next(block for block in blocks("docs/tune.md") if block.language == "json")
    (folder / "my-recipe.json").write_text(recipe.text)
    names = {"shieldgemma-2-4b-it": "shieldgemma2"} | {name: name for name in ("wildguard", "llama-guard-3-vision")}
    for name, guard in names.items():
        save_guard(TINY[guard](), folder / "guards" / name)
    clip(folder / "my-clip")
    quadruples(folder / "pairs")
    draw(folder / "my-pictures", folder / "my-labels.csv")
    _write_pictures(folder)
    _write_records(folder)
    for write in (write_mis, write_mmsafeaware, write_mssbench):
        write(folder / "safety" / write.__name__.removeprefix("write_"))
    return folder


def add_runs(place: Path, *names: str) -> None:
    """Run folders of one small run, and its log in `logs/some.eval`."""
    run = place / "a-run"
    if not run.exists():
        measure("path/to/checkpoint", data="path/to/bench", limit=5, max_new_tokens=2, out=run)
    for name in names:
        shutil.copytree(run, place / "runs" / name)
    (place / "logs").mkdir(exist_ok=True)
    shutil.copy(next((run / "logs").glob("*.eval")), place / "logs" / "some.eval")


def _write_pictures(folder: Path) -> None:
    colours = {"safe": "#20c040", "weapon_related_violence": "#c02020", "drug_related_hazards": "#2020c0"}
    (folder / "photos").mkdir()
    for name, colour in colours.items():
        labelled = folder / "labelled" / name
        labelled.mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (32 + number, 32), colour).save(labelled / f"{number}.png")
        Image.new("RGB", (40, 32), colour).save(folder / "photos" / f"{name}.png")
    Image.new("RGB", (64, 48), "red").save(folder / "upload.jpg")
    img2dataset(folder / "shards", shards=1)
    rows = [{"image": {"bytes": file.read_bytes(), "path": file.name}} for file in (folder / "photos").iterdir()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "dump.parquet")


def _write_records(folder: Path) -> None:
    """Data and recorded answers in the released form."""
    images = folder / "images"
    images.mkdir()
    records = []
    for number, combination in enumerate(combination for combination in Combination for _ in range(2)):
        Image.new("RGB", (40, 40), f"#{10 * number:02x}40a0").save(images / f"{number}.png")
        is_safe = combination.value.startswith("S")
        records.append(
            {
                "id": number,
                "image": f"{number}.png",
                "query": f"What is this, number {number}?",
                "type": combination.value,
                "category": "violence",
                "subcategory": "weapon_related_violence",
                "image_safe": is_safe,
                "image_safety_label": "safe" if is_safe else "weapon_related_violence",
            }
        )
    (folder / "holisafe_bench.json").write_text(json.dumps(records))
    bench = folder / "path/to/bench"
    shutil.copytree(images, bench / "images")
    shutil.copy(folder / "holisafe_bench.json", bench)
    answered = [{**record, "prediction": "I'm sorry, but I can't help with that."} for record in records]
    for name in ("predictions", "answers", "model", "other-model"):
        (folder / f"{name}.json").write_text(json.dumps(answered))
    _write_other_logs(folder, answered)
    said = (("No, I can't help with that.", "refused"), ("It is a red square.", "answered"))
    rows = [(at, *said[at % 2], who, "m") for at in range(40) for who in ("ann", "bob")]
    rows += [(at, said[at % 2][0], "", "", "m") for at in range(40, 60)]
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "text", "label", "annotator", "model"), *rows])
    for who in ("ann", "bob"):
        scores = [json.dumps({"id": record["id"], "value": "refused"}) for record in records[:8]]
        (folder / f"{who}.jsonl").write_text("\n".join(scores) + "\n")
    with (folder / "answers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prediction"])
        writer.writerows([sample.id, "No."] for sample in load("open", "test")[:5])
    lines = ({"id": sample.id, "prediction": "No."} for sample in load("open", "test")[:5])
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _write_other_logs(folder: Path, answered: list[dict[str, Any]]) -> None:
    """The same answers as lmms-eval and VLMEvalKit log them."""
    (folder / "logs").mkdir()
    lines = [
        {"doc_id": at, "target": each["type"], "filtered_resps": each["prediction"], "input": each["query"]}
        for at, each in enumerate(answered)
    ]
    log = folder / "logs/20260101_101010_samples_holisafe.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = {"results": {"mmstar": {"average,none": 0.4}}, "n-samples": {"mmstar": {"effective": 100}}}
    (folder / "logs/20260101_101010_results.json").write_text(json.dumps(results))
    book = Workbook()
    for row in [["index", "question", "prediction"], *([e["id"], e["query"], e["prediction"]] for e in answered)]:
        book.active.append(row)
    book.save(folder / "model_HoliSafe.xlsx")
