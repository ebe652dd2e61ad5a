"""From 200 pictures to a tuned model: `holisafe build`, `tune` on Pocket, and what it does, before and after.

    python perf/build_end_to_end.py --work FOLDER [--pictures 200] [--max-steps 60] [--limit 100] [--build-only]
                                    [--out docs/results/build.json] [--page docs/results/build.md]

The pictures are drawn from icons of the package mkdocs-material (`perf/data/build_pictures.toml`), harmless all of
them; what a symbol stands for is its label. Requests and answers come from the templates, so that nothing is asked of a
hosted model. Safe Pocket's guard is compared with the labels, and pictures of HoliSafe-Open are left out. Pocket is
then tuned by LoRA on the split `train`, with as many harmless samples as unsafe ones, and answers HoliSafe-Open's test
split and the data's own test split before and after. Steps that are done are read back. Differences are paired,
intervals 95 %, allowing for shared pictures.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import random
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import resvg_py

from holisafe.bench import measure
from holisafe.metrics import HEADLINE, compare, headline, summarise
from holisafe.records import Run
from holisafe.taxonomy import Combination

JUDGE = "refusal"
ICONS = Path("templates", ".icons", "material")
SIDE = 224
Row = dict[str, Any]


def main() -> None:
    """Do what is not done yet, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of pictures, data and runs")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--max-steps", type=int, default=60)
    parser.add_argument("--limit", type=int, default=100, help="samples of HoliSafe-Open, and of the own test split")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--build-only", action="store_true", help="neither tune nor measure")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    pictures, data, tuned = args.work / "pictures", args.work / "data", args.work / "tuned"
    draw(pictures, args.work / "labels.csv", args.pictures)
    holisafe(
        "build", pictures, "--labels", args.work / "labels.csv", "--out", data, "--against", "open",
        "--held-out", "0.25", "--licence", "Apache-2.0", "--guard", "pocket-safe", "--check-labels", "--device", "cpu",
    )  # fmt: skip
    recipe = [
        "--max-steps", args.max_steps, "--save-steps", "10", "--batch-size", "4", "--gradient-accumulation-steps", "1",
        "--lora-r", "16", "--learning-rate", "language=2e-4", "--learning-rate", "projector=2e-4", "--learning-rate",
        "vision=off", "--precision", "float32", "--device", "cpu", "--safe-weight", "4",
    ]  # fmt: skip
    measured = []
    if not args.build_only:
        holisafe("tune", "pocket", "--data", data, "--method", "sft", "--out", tuned, *recipe)
        asked = {"HoliSafe-Open, test": ("open", "test"), "Own test split": (str(data), "test")}
        measured = [_measured(name, *where, tuned, args) for name, where in asked.items()]
    result = result_of(data, measured, args)
    page = markdown(result)
    print(page)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if args.page:
        args.page.write_text(page, "utf-8")


def result_of(data: Path, measured: Sequence[Row], args: argparse.Namespace) -> Row:
    """All that the page tells."""
    built = json.loads((data / "build.json").read_text("utf-8"))
    given = {name: getattr(args, name) for name in ("pictures", "max_steps", "max_new_tokens")}
    counts = {name: built[name] for name in ("steps", "stats", "blind")}
    return {**given, "judge": JUDGE, **counts, "doubts": doubts(data), "measured": list(measured)}


def holisafe(*words: object) -> None:
    """One command, as a user types it."""
    print("holisafe", *words, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "holisafe", *map(str, words)], check=True)


def draw(folder: Path, labels: Path, count: int) -> None:
    """Draw icons on plain grounds, each once, with a CSV file of their labels; symbols with a label come first."""
    if labels.exists():
        return
    names = tomllib.loads((Path(__file__).parent / "data" / "build_pictures.toml").read_text("utf-8"))
    chosen = [(name, label) for label, found in names["labels"].items() for name in found]
    chosen += [(name, "safe") for name in (*names["safe"]["with_care"], *names["safe"]["others"])]
    if len(chosen) < count:
        sys.exit(f"{len(chosen)} icons are listed, {count} pictures are wanted; give --pictures {len(chosen)} or fewer")
    chance = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, label in chosen[:count]:
        (folder / f"{name}.png").write_bytes(_drawing(name, chance))
        rows.append((f"{name}.png", label, f"a {name.replace('-', ' ')}" if label == "safe" else ""))
    with labels.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label", "shows"), *rows])


def _drawing(name: str, chance: random.Random) -> bytes:
    """The icon in one colour on another, as PNG."""
    found = importlib.util.find_spec("material")
    if found is None or found.origin is None:
        sys.exit("the icons are in mkdocs-material, which is not installed; run: pip install mkdocs-material")
    text = (Path(found.origin).parent / ICONS / f"{name}.svg").read_text("utf-8")
    hue, turn = chance.randrange(360), chance.randrange(120, 240)
    ground = f'<rect width="24" height="24" fill="hsl({hue}, 60%, {chance.randrange(75, 95)}%)"/>'
    size = chance.uniform(0.6, 0.9)
    place = (
        f'<g transform="translate({12 - 12 * size} {12 - 12 * size}) scale({size})" fill="hsl({hue + turn}, 70%, 30%)">'
    )
    drawn = re.sub(r"(<svg[^>]*>)(.*)(</svg>)", rf"\1{ground}{place}\2</g>\3", text, flags=re.DOTALL)
    return bytes(resvg_py.svg_to_bytes(svg_string=drawn, width=SIDE, height=SIDE))


def doubts(data: Path) -> list[Row]:
    """What the guard doubts of the labels."""
    rows = [json.loads(line) for line in (data / "steps" / "doubts.jsonl").read_text("utf-8").splitlines()]
    return [{"picture": row["picture"], "doubt": row["doubt"]} for row in rows if "doubt" in row]


def _measured(name: str, data: str, split: str, tuned: Path, args: argparse.Namespace) -> Row:
    runs: dict[str, Run] = {}
    for state, model in (("before", "pocket"), ("after", str(tuned))):
        print(f"{name}, {state}", file=sys.stderr, flush=True)
        folder = args.work / f"{'open' if data == 'open' else 'own'}-{state}"
        runs[state] = measure(
            model, data=data, split=split, judges=(JUDGE,), limit=args.limit, out=folder, device="cpu",
            max_new_tokens=args.max_new_tokens,
        )  # fmt: skip
    before, after = runs["before"], runs["after"]
    change = compare(before.samples, before.judgements[JUDGE], after.judgements[JUDGE])
    found = {state: summarise(run.samples, run.judgements[JUDGE], by=()) for state, run in runs.items()}
    return {
        "data": name,
        "samples": len(before.samples),
        **{state: {key: _json(figure) for key, figure in headline(each).items()} for state, each in found.items()},
        "difference": change.to_json(),
        "answers": [_pair(before, after, at) for at in range(0, len(before.samples), max(1, len(before.samples) // 5))],
    }


def _pair(before: Run, after: Run, at: int) -> Row:
    sample = before.samples[at]
    texts = {"before": before.responses[at].text, "after": after.responses[at].text}
    return {"combination": str(sample.combination), "request": sample.query, **texts}


def _json(figure: Any) -> Any:
    return None if figure is None else figure.to_json()


def markdown(result: Mapping[str, Any]) -> str:
    """The page."""
    steps = [
        f"| {each['step']} | {each['unit']} | {each['given']} | {each['kept']} | {_why(each)} |"
        for each in result["steps"]
    ]
    kinds = ("samples", "pictures", "requests", "twin pairs", *Combination)
    counts = [
        f"| {split} | " + " | ".join(str(found[kind]) for kind in kinds) + " |"
        for split, found in result["stats"].items()
    ]
    told = (
        f" → `holisafe tune pocket --method sft`, {result['max_steps']} steps → measured before and after. Judge "
        f"`{result['judge']}`, answers of up to {result['max_new_tokens']} new tokens."
        if result["measured"]
        else ". Neither tuned nor measured (`--build-only`): this page does not say what the data teach a model."
    )
    lines = [
        "# Data from pictures, end to end", "", "Written by `perf/build_end_to_end.py`; its docstring says how.", "",
        f"{result['pictures']} pictures → `holisafe build` (templates){told}", "",
        "## Steps", "", "| step | of | in | out | left out |", "|---|---|---|---|---|", *steps, "",
        "## Samples", "", "| split | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|", *counts, "",
        f"Labels that the guard doubts: {len(result['doubts'])}, kept.", "",
    ]  # fmt: skip
    for each in result["measured"]:
        lines += [
            f"## {each['data']}", "",
            f"{each['samples']} samples; %, in brackets 95 % intervals; the change in points.", "",
            "| figure | before | after | change |", "|---|---|---|---|",
            *(f"| {figure.label} | {_cell(each['before'][figure.name])} | {_cell(each['after'][figure.name])} | "
              f"{_cell(each['difference'].get(figure.name))} |" for figure in HEADLINE), "",
        ]  # fmt: skip
    lines += ["## Blind baselines of the data", "", *_blind(result["blind"]), ""]
    return "\n".join(lines)


def _blind(found: Mapping[str, Any]) -> Sequence[str]:
    if "left_out" in found:
        return [f"Not measured: {found['left_out']}"]
    baselines = [each for result in found["results"] for each in result["baselines"]]
    rows = [f"| {each.label} | " + " | ".join(_cell(one[each.name]) for one in baselines) + " |" for each in HEADLINE]
    head = ["| figure | " + " | ".join(one["name"] for one in baselines) + " |", "|---" * (len(baselines) + 1) + "|"]
    return [*head, *rows]


def _why(step: Mapping[str, Any]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in step["reasons"].items())


def _cell(figure: Mapping[str, float] | None) -> str:
    if figure is None:
        return "-"
    value, low, high = (100 * figure[name] for name in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
