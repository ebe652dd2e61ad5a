"""The datasheet: what happened, in numbers, as `build.json` and as a page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holisafe._files import write_atomically
from holisafe._version import __version__
from holisafe.metrics import HEADLINE, twin_pairs
from holisafe.records import Sample
from holisafe.taxonomy import Combination

_FIXED = """
## Limits

- Labels, requests and answers are as good as what wrote them. The rules reject what is certainly wrong and cannot tell
  that the rest is right.
- Requests are at the level of intent. Those that carry a method, steps or quantities are rejected by a rule.
- Nobody in a picture is named or identified: models are told so, and requests to do so get no helpful answer. Pictures
  of people need their consent and a lawful ground all the same.
- File names and metadata of pictures were read into no prompt. The data name a picture after its digest, and hold its
  bytes as given, metadata included: remove what should not be passed on before building.
- Data that a model has written may be bound by its provider's terms.
"""


def write_sheet(built: Mapping[str, Any], about: Mapping[str, Any], out: Path) -> None:
    """Write `build.json` and `datasheet.md`; the same input gives the same bytes.

    Raises:
        OSError: They cannot be written.
    """
    counts = {**built, "out": None, "about": dict(about), "holisafe": __version__}
    del counts["out"]
    write_atomically(out / "build.json", json.dumps(counts, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
    write_atomically(out / "datasheet.md", _page(built, about))


def _page(built: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    lines = ["# Datasheet", "", f"Built with holisafe {__version__} (`holisafe build`).", "", "## Made with", ""]
    lines += [f"- {name.replace('_', ' ')}: {_text(value)}" for name, value in about.items()]
    lines += ["", "## Steps", "", "| step | of | in | out | left out |", "|---|---|---|---|---|"]
    for step in built["steps"]:
        why = ", ".join(f"{_text(kind)} {count}" for kind, count in step["reasons"].items())
        lines.append(f"| {step['step']} | {step['unit']} | {step['given']} | {step['kept']} | {why} |")
    lines += ["", "## Samples", "", "| split | " + " | ".join(_STATS) + " |", "|---" * (len(_STATS) + 1) + "|"]
    lines += [
        f"| {split} | " + " | ".join(str(found[each]) for each in _STATS) + " |"
        for split, found in built["stats"].items()
    ]
    lines += ["", "## Blind baselines", "", *_blind(built["blind"])]
    lines += ["", "## Not checked", ""]
    lines += [f"- {each}" for each in built["not_checked"]] or ["- nothing that a step looks at was left unchecked"]
    return "\n".join(lines) + "\n" + _FIXED


def stats_of(samples: Sequence[Sample]) -> dict[str, int]:
    """Counts of a split."""
    kinds = Counter(str(sample.combination) for sample in samples)
    return {
        "samples": len(samples),
        "pictures": len({ref.identity for sample in samples for ref in sample.images}),
        "requests": len({sample.query for sample in samples}),
        "twin pairs": len(twin_pairs(samples)),
        **{kind.value: kinds[kind.value] for kind in Combination},
    }


_STATS = ("samples", "pictures", "requests", "twin pairs", *(kind.value for kind in Combination))


def _blind(found: Mapping[str, Any]) -> list[str]:
    """What classifiers reach that see only the request, or only the picture."""
    if "left_out" in found:
        return [f"Not measured: {_text(found['left_out'])}"]
    baselines = [each for result in found["results"] for each in result["baselines"]]
    lines = [
        "What a classifier reaches that sees only the request, or only the picture, in %. A model that learns no more "
        f"than this from the data has not learned to look at both. {_text(found['training']).capitalize()}; scored "
        f"{found['samples']} samples" + (f" of the split {found['split']}." if found["split"] else "."),
        "",
        "| figure | " + " | ".join(each["name"] for each in baselines) + " |",
        "|---" * (len(baselines) + 1) + "|",
    ]
    for figure in HEADLINE:
        lines.append(f"| {figure.label} | " + " | ".join(_percent(each[figure.name]) for each in baselines) + " |")
    return [*lines, *(["", *(f"- {_text(note)}" for note in found["notes"])] if found["notes"] else [])]


def _percent(figure: Mapping[str, float] | None) -> str:
    if figure is None:
        return "-"
    value, low, high = (f"{100 * figure[name]:.1f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _text(value: Any) -> str:
    """A value on one line of a table."""
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(said.replace("|", "\\|").split())
