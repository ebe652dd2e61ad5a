import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from guard.families.all import SUITES
from holisafe.families import registered_families

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "guard_families.py"))


@pytest.fixture(scope="module")
def rows(script: dict[str, Any]) -> list[dict[str, str]]:
    loaded: list[dict[str, str]] = json.loads(script["TABLE"].read_text(encoding="utf-8"))
    return loaded


def test_the_table_holds_every_family_that_is_tried_and_every_one_that_is_refused(rows: list[dict[str, str]]) -> None:
    refused = {name: family.why_not for name, family in registered_families().items() if family.why_not}
    assert {row["model_type"] for row in rows if not row["why_not"]} == set(SUITES)
    assert {row["model_type"]: row["why_not"] for row in rows if row["why_not"]} == refused


def test_the_page_is_what_its_script_writes_of_the_table(script: dict[str, Any], rows: list[dict[str, str]]) -> None:
    kept = script["PAGE"].read_text(encoding="utf-8")
    version = kept.split("families, transformers ")[1].split(".\n")[0]
    written = script["page"](rows).replace(script["transformers"].__version__, version)
    assert kept == written, "run: python tools/guard_families.py"
