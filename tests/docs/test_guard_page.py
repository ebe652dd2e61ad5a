from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from PIL import Image

from holisafe.records import ImageVerdict

PAGE = Path(__file__).parents[2] / "docs" / "guard.md"


def test_the_first_examples_run_as_written() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Two lines")[1].split("\n## ")[0]
    names: dict[str, Any] = {"prompt": "<image>\nWhat is this?", "image": Image.new("RGB", (64, 48), "red")}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    verdict = names["answer"].verdicts[0]
    assert isinstance(verdict.images[0], ImageVerdict)
    assert verdict.joint is None, "the page says so of Pocket's own guard"
