import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_taxonomy_page_is_what_its_script_writes() -> None:
    written = runpy.run_path(str(DOCS / "taxonomy.py"))["render"]()
    assert (DOCS / "taxonomy.md").read_text(encoding="utf-8") == written, "run: python docs/taxonomy.py"
