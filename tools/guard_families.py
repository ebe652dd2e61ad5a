"""Try the guard on every family and write what came out: src/holisafe/families/tried.json and docs/families.md.

python tools/guard_families.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from guard.families.all import SUITES  # noqa: E402
from holisafe.families import Family, registered_families  # noqa: E402
from holisafe.guard.conformance import results_of  # noqa: E402

TABLE = ROOT / "src" / "holisafe" / "families" / "tried.json"
PAGE = ROOT / "docs" / "families.md"
GROUPED = {
    "features": "visual features",
    "runs": "unbroken runs",
    "boundaries": "boundary tokens",
}


def main() -> None:
    """Run the suites, print failures, write both files; exits with 1 if a family fails."""
    rows = [tried(name) for name in sorted(SUITES)] + [refused(family) for family in registered_families().values()]
    rows = [row for row in rows if row]
    TABLE.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(rows), encoding="utf-8")
    failed = [row["model_type"] for row in rows if not row["why_not"] and not row["result"].startswith("passes")]
    print(f"{sum(not row['why_not'] for row in rows) - len(failed)} families pass, {len(failed)} fail: {failed}")
    raise SystemExit(bool(failed))


def tried(name: str) -> dict[str, str]:
    """One family's row, from its suite."""
    torch.manual_seed(0)
    suite = SUITES[name]()
    model = suite.case().model
    family = registered_families().get(model.config.model_type, Family(model.config.model_type))
    results = results_of(suite)
    failures = [f"{test}: {why}" for test, why in results.items() if why]
    result = "; ".join(failures) or f"passes {len(results)}/{len(results)}"
    print(f"{name}: {result}", flush=True)
    return {
        "model_type": name,
        "model_class": type(model).__name__,
        "grouping": GROUPED[family.grouping],
        "image_token": family.image_token,
        "features": "language" if family.language_only else "language, projector",
        "result": result,
        "why_not": "",
    }


def refused(family: Family) -> dict[str, str]:
    """The row of a family that cannot be guarded; empty for one that can."""
    if not family.why_not:
        return {}
    blank = dict.fromkeys(("model_class", "grouping", "image_token", "features", "result"), "")
    return {"model_type": family.model_type, **blank, "why_not": family.why_not}


def page(rows: list[dict[str, Any]]) -> str:
    """docs/families.md."""
    can = [row for row in rows if not row["why_not"]]
    lines = [
        "# Guarded families",
        "",
        "A guard can be added to the model families in this table. Each passes the conformance suite",
        "(`holisafe.guard.conformance`) on its real classes with small random weights: verdicts equal a plain",
        "reference computation, one prefill, one to three images, padding, answers unchanged token for token, LoRA and",
        "backward, save and load, detach. `tools/guard_families.py` writes this page.",
        "",
        "A family that is not in the table can be guarded if its transformers model has `get_image_features` and a",
        "placeholder token for images. To know, [run the suite](guard.md#other-families) on your model.",
        "",
        "*Images matched by* says how the placeholders of a prompt are assigned to images: by the number of visual",
        "features of each image, by unbroken runs of placeholders, or by boundary tokens. *Features* lists what the",
        "image head can read.",
        "",
        f"{len(can)} families, transformers {transformers.__version__}.",
        "",
        "| family | class | images matched by | features | suite |",
        "|---|---|---|---|---|",
        *(
            f"| {r['model_type']} | {r['model_class']} | {r['grouping']} | {r['features']} | {r['result']} |"
            for r in can
        ),
        "",
        "## Families that cannot be guarded",
        "",
        "| family | why |",
        "|---|---|",
        *(f"| {r['model_type']} | {r['why_not']} |" for r in rows if r["why_not"]),
        "",
        "If the images of a prompt attend to each other (paligemma, molmo2), the verdict on an image depends on the",
        "images after it. Gemma 3's pan-and-scan and GOT-OCR2's cropping turn each crop into an image, which gets a",
        "verdict of its own.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
