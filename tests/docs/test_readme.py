from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from holisafe.records import ImageVerdict

README = Path(__file__).parents[2] / "README.md"


def test_the_guards_examples_run_as_written() -> None:
    section = README.read_text(encoding="utf-8").split("## Guard your model")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert len(blocks) == 2
    assert isinstance(names["answer"].verdicts[0].images[0], ImageVerdict)
    assert names["answer"].texts[0]
