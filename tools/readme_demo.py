"""Put the demo's own output between the markers in README.md: python tools/readme_demo.py OUTPUT.txt."""

from __future__ import annotations

import sys
from pathlib import Path

BEGIN, END = "<!-- demo:begin (tools/readme_demo.py) -->", "<!-- demo:end -->"


def main(output: Path, readme: Path = Path("README.md")) -> None:
    """Replace what stands between the markers with the output as a text block."""
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    shown = output.read_text(encoding="utf-8").rstrip()
    readme.write_text(f"{before}{BEGIN}\n```text\n{shown}\n```\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
