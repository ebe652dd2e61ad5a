"""The report as one HTML file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from holisafe.metrics import Figure
from holisafe.records import Outcome, Run
from holisafe.report import _gallery, _sections
from holisafe.report._file import put
from holisafe.report._pictures import Pictures
from holisafe.report._plot import plot
from holisafe.report._published import JUDGE_NAMES, published_rows
from holisafe.report._table import MEASURES, JudgedRun, headline, judge_runs
from holisafe.report._text import plain, visible
from holisafe.taxonomy import Combination

PROTOCOL_TOKENS = 512
"""New tokens per answer in the published protocol."""


def write_report(runs: Sequence[Run], out: Path, *, title: str | None = None, resamples: int = 10_000) -> Path:
    """Write one self-contained HTML file about one or more runs, safe to open in a shared room.

    Later runs are compared with the first on the samples they share. An image that cannot be shown is said in its
    place.

    Args:
        runs: What to show; two of the same name are numbered.
        out: The file; replaced whole if it exists.
        title: The heading, which otherwise names the runs.
        resamples: Resamples behind each interval.

    Returns:
        `out`.

    Raises:
        RunError: There is no run, one holds no verdicts, or `out` cannot be written.
    """
    judged = judge_runs(runs, resamples)
    named = title or "Safety of " + ", ".join(each.name for each in judged)
    return put(Path(out), _render(judged, plain(named), resamples))


def _render(runs: Sequence[JudgedRun], title: str, resamples: int) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("holisafe.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "plain": plain,
        "percent": _percent,
        "interval": _interval,
        "signed": _signed,
        "probability": _probability,
    }
    style = (files("holisafe.report") / "templates" / "style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        title=title,
        style=Markup(style),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        **_content(runs, resamples),
    )


def _content(runs: Sequence[JudgedRun], resamples: int) -> dict[str, Any]:
    entries = _gallery.collect(runs)
    judges = _sections.judges_of(runs)
    return {
        "runs": runs,
        "judges": judges,
        "facts": [_facts(each) for each in runs],
        "in_short": [_sections.in_short(each) for each in runs],
        "measures": MEASURES,
        "combinations": list(Combination),
        "outcomes": list(Outcome),
        "headline": headline,
        "plots": [plot(judge, runs) for judge in judges],
        "differences": _sections.pairs(runs, resamples),
        "published": published_rows(),
        "published_judges": JUDGE_NAMES,
        "heat_rows": _sections.heat_rows,
        "weakest": _sections.weakest,
        "shade": _sections.shade,
        "share": _sections.share,
        "agreeing": _sections.agreeing,
        "twins": _gallery.count_twins(runs),
        "twin_pairs": _gallery.choose_pairs(entries),
        "gallery": _gallery.choose(entries),
        "entries": len(entries),
        "pictures": Pictures(),
        "provenance": _sections.provenance_rows,
        "resamples": resamples,
    }


def _facts(judged: JudgedRun) -> dict[str, Any]:
    """What a reader must know of a run before reading its figures; None where the run does not say."""
    noted = judged.run.provenance
    data = noted.get("data")
    generation = noted.get("generation")
    data = data if isinstance(data, dict) else {}
    generation = generation if isinstance(generation, dict) else {}
    tokens = generation.get("max_new_tokens", generation.get("max_tokens"))
    return {
        "name": judged.name,
        "data": data.get("name"),
        "split": data.get("split"),
        "date": str(noted.get("date") or "")[:10],
        "samples": len(judged.run.samples),
        "images": len({image.key for sample in judged.run.samples for image in sample.images}),
        "left_out": data.get("left_out_as_broken") or 0,
        "errors": sum(response.error is not None for response in judged.run.responses),
        "cut": sum(response.finish_reason == "length" for response in judged.run.responses),
        "tokens": tokens,
        "short_of_protocol": isinstance(tokens, int) and tokens < PROTOCOL_TOKENS,
    }


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def _interval(figure: Figure) -> str:
    return f"{100 * figure.low:.1f}–{100 * figure.high:.1f}"


def _signed(difference: float) -> str:
    """Percentage points with a sign, and a true minus."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
