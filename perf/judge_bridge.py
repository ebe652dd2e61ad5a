"""Two judges side by side on files in the released prediction format: writes docs/results/judge-bridge.md and .json.

Run: holisafe bench pocket --limit 120 --max-new-tokens 64 --out runs/pocket
     holisafe bench pocket-safe --limit 120 --max-new-tokens 64 --out runs/pocket-safe
     python perf/judge_bridge.py runs/pocket runs/pocket-safe --out docs/results

Each run becomes one file, named after it, with the fields of HoliSafe-Bench and the answer in `prediction`; then
`holisafe judge bridge` reads the files as it would read released ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holisafe.bench import read_run
from holisafe.metrics import FIGURES
from holisafe.records import CATEGORY_TAG, SUBCATEGORY_TAG, Run

JUDGES = ("holisafe", "refusal")
NOTHING = "–"
LABELS = {figure.name: figure.label for figure in FIGURES}


def main() -> None:
    """Convert, measure, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders on the same samples")
    parser.add_argument("--out", type=Path, help="folder to write judge-bridge.md and .json to")
    args = parser.parse_args()
    runs = [read_run(place) for place in args.runs]
    with tempfile.TemporaryDirectory() as folder:
        files = [
            write_released(run, Path(folder) / f"{place.name}.json") for run, place in zip(runs, args.runs, strict=True)
        ]
        found = bridge(files)
    found["generation"] = [run.provenance["generation"] for run in runs]
    found["data"] = {name: runs[0].provenance["data"][name] for name in ("name", "split", "samples", "sha256")}
    for model in found["models"]:
        model["differ"] = len(model.pop("disagreements"))
    text = page(found)
    print(text)
    if args.out is not None:
        (args.out / "judge-bridge.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (args.out / "judge-bridge.md").write_text(text, encoding="utf-8")


def write_released(run: Run, file: Path) -> Path:
    """A run's answers in the released format; a failed one has no prediction."""
    records = []
    for sample, response in zip(run.samples, run.responses, strict=True):
        (image,) = sample.images
        assert sample.combination is not None
        record = {
            "id": sample.id,
            "image": f"{sample.tags[CATEGORY_TAG]}/{sample.tags[SUBCATEGORY_TAG]}/{image.key}.jpg",
            "query": sample.query,
            "type": sample.combination.value,
            "category": sample.tags[CATEGORY_TAG],
            "subcategory": sample.tags[SUBCATEGORY_TAG],
            "image_safe": sample.combination.image_is_safe,
            "image_safety_label": sample.image_labels[0].value,
        }
        records.append(record if response.error is not None else {**record, "prediction": response.text})
    file.write_text(json.dumps(records), encoding="utf-8")
    return file


def bridge(files: Sequence[Path]) -> dict[str, Any]:
    """What the command says."""
    judges = [word for name in JUDGES for word in ("--judge", name)]
    command = [sys.executable, "-m", "holisafe", "judge", "bridge", *map(str, files), *judges, "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def page(found: Mapping[str, Any]) -> str:
    """The page in Markdown."""
    first, second = (judge["name"] for judge in found["judges"])
    data, tokens = found["data"], found["generation"][0]["max_new_tokens"]
    intro = (
        f"`perf/judge_bridge.py` writes this page. Recorded answers of {len(found['models'])} models to "
        f"{found['samples']} samples of `{data['name']}` ({data['split']}), at most {tokens} new tokens each, were "
        "written in the format of the released prediction files and judged by `holisafe judge bridge`: by the "
        f"published string match (`{first}`) and by `{second}`. Rates in %, differences in points, 95 % intervals; the "
        "differences are paired. It is an example of the table: these models answer in plain phrases, which both "
        "judges read alike; [String judges](judges.md) has answers on which they differ. The samples are a stratified "
        "draw, few enough to measure in minutes without a GPU."
    )
    lines = ["# Judge bridge", "", *textwrap.wrap(intro, 110), ""]
    lines += [f"| model | figure | `{first}` | `{second}` | difference |", "| --- | --- | ---: | ---: | ---: |"]
    for model in found["models"]:
        for name, by in model["figures"].items():
            change = model["differences"][second][name]
            cells = [_rate(by[first]), _rate(by[second]), _points(change)]
            lines.append(f"| `{model['model']}` | {LABELS[name]} | {' | '.join(cells)} |")
    lines += ["", "| model | agree, % | κ | prevalence | answers that differ |", "| --- | ---: | ---: | --- | ---: |"]
    for model in found["models"]:
        (pair,) = model["agreement"]
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in pair["prevalence"].items())
        kappa = NOTHING if pair["kappa"] is None else f"{pair['kappa']:.2f}"
        cells = [f"{100 * pair['agreement']:.1f}", kappa, shares, str(model["differ"])]
        lines.append(f"| `{model['model']}` | {' | '.join(cells)} |")
    versions = ", ".join(f"`{judge['name']}` {judge['version']}" for judge in found["judges"])
    return "\n".join([*lines, "", f"Versions: {versions}.", ""])


def _rate(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return NOTHING
    value, low, high = (f"{100 * figure[name]:.1f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _points(change: Mapping[str, Any] | None) -> str:
    if change is None:
        return NOTHING
    value, low, high = (f"{100 * change[name]:+.1f}".replace("-", "−") for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    main()
