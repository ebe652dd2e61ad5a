"""docs/security.md: every line of the threat model names a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text("utf-8")


def test_every_threat_names_tests_that_there_are() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_[\w.:]+)`", row.rsplit("|", 2)[1])
        assert named, row
        file = named[0].partition("::")[0]
        for name in named:
            path, _, test = name.rpartition("::") if "::" in name else (file, "", name)
            if name.endswith(".py"):
                path, test = name, ""
            text = (ROOT / "tests/serve" / (path or file)).read_text("utf-8")
            file = path or file
            assert not test or f"def {test}(" in text, name
