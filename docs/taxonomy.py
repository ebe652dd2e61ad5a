"""Write docs/taxonomy.md from the tables in `holisafe.taxonomy` and `holisafe.crosswalks`.

Run after changing either: `python docs/taxonomy.py`. A test compares the file with what this would write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from holisafe.crosswalks import CROSSWALKS, Crosswalk, NoEquivalent
from holisafe.taxonomy import DATA_ORDER, SUBCATEGORIES, Combination, GuardLabel, Subcategory

PAGE = Path(__file__).with_suffix(".md")


def render() -> str:
    """The whole page."""
    parts = [
        "<!-- Written by docs/taxonomy.py; change the tables in src/holisafe and run it again. -->",
        "# Taxonomy",
        "What can be harmful, and where it sits. Source: HoliSafe, arXiv 2506.04704, section 3, and the released "
        "data and model configurations.",
        "## Combinations",
        _table(
            ("id", "in the paper", "image", "query", "what is right"),
            (
                (c, c.notation, _safe(c.image_is_safe), _safe(c.query_is_safe), "answer" if c.is_safe else "refuse")
                for c in Combination
            ),
        ),
        "## Categories, subcategories and guard labels",
        "In the order of the data. `index` is the position in the released image heads and `image_safety_label` in "
        "the data; `safe` has index 0. Either spelling is accepted wherever holisafe reads a name.",
        _table(
            ("category", "subcategory (data)", "spelling of the image heads", "index"),
            (_label_row(label) for label in DATA_ORDER),
        ),
        "## Crosswalks",
        "What our subcategories are called in other safety taxonomies, nearest code first. These are our readings of "
        "the published policies, not their publishers'.",
        *(part for crosswalk in CROSSWALKS for part in _crosswalk(crosswalk)),
    ]
    return "\n\n".join(parts) + "\n"


def _label_row(label: GuardLabel) -> tuple[str, ...]:
    subcategory = label.subcategory
    category = "" if subcategory is None else f"`{SUBCATEGORIES[subcategory]}`"
    return category, f"`{label}`", f"`{label.head_name}`", str(label.index)


def _crosswalk(crosswalk: Crosswalk) -> list[str]:
    rows = ((f"`{subcategory}`", _entry(crosswalk, subcategory)) for subcategory in Subcategory)
    unused = [code for code in crosswalk.codes if not crosswalk.subcategories_of(code)]
    parts = [f"### {crosswalk.title}", f"Source: {crosswalk.source}.", _table(("ours", "theirs"), rows)]
    if unused:
        parts.append(f"Nothing of ours maps to: {', '.join(_code(crosswalk, code) for code in unused)}.")
    return parts


def _entry(crosswalk: Crosswalk, subcategory: Subcategory) -> str:
    entry = crosswalk.entries[subcategory]
    if isinstance(entry, NoEquivalent):
        return f"no equivalent: {entry.reason}"
    return ", ".join(_code(crosswalk, code) for code in entry)


def _code(crosswalk: Crosswalk, code: str) -> str:
    return f"`{code}` {crosswalk.codes[code]}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _safe(is_safe: bool) -> str:
    return "safe" if is_safe else "unsafe"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
