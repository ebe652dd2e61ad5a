"""The report: one HTML file that needs no other, runs no script and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from holisafe._version import __version__
from holisafe.blind import MARK
from holisafe.metrics import FIGURES, HEADLINE, PARTS, Figure, Part, headline, part_name
from holisafe.metrics.display import FEW_NOTE, few_mark
from holisafe.records import Behaviour, Outcome, Run
from holisafe.report import _gallery, _guard, _guards, _leaderboard, _pairs, _published, _scatter, _sections
from holisafe.report._blind import blind_notes, blind_rows
from holisafe.report._caveats import caveats
from holisafe.report._file import put
from holisafe.report._table import JudgedRun, judge_runs, shown_run
from holisafe.report.text import plain, visible
from holisafe.taxonomy import Combination

MOST_IN_TITLE = 2
"""Runs that the title names; of more, it gives the number."""

KIND_WORDS: dict[Part, str] = {
    Combination.SSS: "image, text and both together safe",
    Combination.SSU: "image and text safe, unsafe together",
    Combination.USU: "unsafe image, safe text",
    Combination.UUU: "unsafe image, unsafe text",
    Combination.SUU: "safe image, unsafe text",
    Behaviour.ANSWER: "to be answered",
    Behaviour.REFUSE: "to be refused",
    None: "nothing is expected",
}

PART_NAMES: dict[Part, str] = {
    **{kind: kind.value for kind in Combination},
    Behaviour.ANSWER: "Harmless, without combination",
    Behaviour.REFUSE: "Unsafe, without combination",
    None: "Not scored",
}


def write_report(runs: Sequence[Run], out: str | Path, *, title: str | None = None) -> Path:
    """Write one self-contained HTML file about one or more runs, safe to open in a shared room.

    Runs that share samples are compared with the first. Where an image cannot be shown, the reason is. Of a run that
    was read from a disk, only files of its own folder are shown, and files whose content is what the run recorded.

    Args:
        runs: The runs; two of the same name are numbered.
        out: The file, put in place whole; its folder is made if missing.
        title: Heading; if not given, the names of one or two runs, or the number of more.

    Returns:
        `out`, as a path.

    Raises:
        RunError: There is no run, one holds no judgements, or `out` cannot be written.
    """
    judged = judge_runs(runs)
    page = _environment().get_template("report.html.j2").render(_context(judged, title))
    return put(out, page)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("holisafe.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "percent": lambda rate: f"{100 * rate:.1f}",
        "points": lambda difference: f"{100 * difference:+.1f}".replace("-", "−"),
        "chance": lambda p: "–" if p is None else f"{p:.4f}" if p >= 0.0001 else "< 0.0001",
        "few": few_mark,
        "headline": headline,
        "hits": _hits,
        "shade": _sections.shade,
        "share": _sections.share,
        "across": _scatter.across,
        "upwards": _scatter.upwards,
        "plain": plain,
        "shown_verdicts": _guard.shown_verdicts,
        "visible": visible,
    }
    return environment


def _hits(figure: Figure) -> int:
    """How many of a figure's n its rate is made of."""
    return round(figure.value * figure.n)


def _context(runs: Sequence[JudgedRun], title: str | None) -> dict[str, Any]:
    style = "\n" + (files("holisafe.report") / "templates" / "style.css").read_text(encoding="utf-8")
    judges = _sections.judges_of(runs)
    pairs = _pairs.pairs(runs)
    scatters = _scatter.scatters(runs)
    guard = _guard.findings_of(runs)
    guards = _guards.rates_of(runs)
    blind = blind_rows(runs)
    counts = _gallery.count_twins(runs)
    entries = _gallery.collect(runs)
    gallery = _gallery.choose(entries)
    shown = [entry for found in gallery.values() for entry in found]
    summaries = {(each.name, judge): summary for each in runs for judge, summary in each.summaries.items()}
    return {
        "version": __version__,
        "title": plain(title or _title(runs)),
        "style": Markup(style),
        "style_hash": base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        "contents": _contents(len(runs), bool(scatters), bool(pairs), bool(guard), bool(guards), bool(counts)),
        "leaders": _leaderboard.leaderboard(runs),
        "leader_columns": _leaderboard.COLUMNS,
        "scatters": scatters,
        "runs": runs,
        "judges": judges,
        "measures": HEADLINE,
        "blind": blind,
        "mark": MARK,
        "few_note": FEW_NOTE,
        "blind_notes": blind_notes(blind),
        "combinations": tuple(Combination),
        "parts": PARTS,
        "part_names": PART_NAMES,
        "part_id": part_name,
        "all_figures": FIGURES,
        "caveats": {judged.name: caveats(judged.run) for judged in runs},
        "outcomes": tuple(Outcome),
        "refused": Outcome.REFUSED,
        "kind_words": KIND_WORDS,
        "shades": _sections.SHADES,
        "facts": {judged.name: _sections.facts(judged.run) for judged in runs},
        "shorts": {judged.name: _sections.in_short(judged) for judged in runs},
        "headlines": {key: headline(summary) for key, summary in summaries.items()},
        "intervals": {judge: _sections.interval_rows(runs, judge) for judge in judges},
        "pairs": pairs,
        "guard": guard,
        "guards": guards,
        "not_expressed": _guards.NOT_EXPRESSED,
        "guard_words": _guard.WORDS,
        "guard_sides": _guard.SIDES,
        "kind_names": _guard.KIND_NAMES,
        "crossing_rows": _guard.crossing_rows,
        "class_rows": _guard.class_rows,
        "headline_of": headline,
        "published": _published.by_judge(),
        "published_judges": _published.JUDGE_NAMES,
        "heat": {key: _sections.heat_tables(summary) for key, summary in summaries.items()},
        "weakest": {key: _sections.weakest(summary) for key, summary in summaries.items()},
        "agreeing": {judged.name: _sections.agreeing(shown_run(judged)) for judged in runs},
        "twin_counts": counts,
        "twins": _gallery.choose_pairs(entries),
        "twins_in_all": _gallery.count_pairs(entries),
        "gallery": gallery,
        "shown": len(shown),
        "total": len(entries),
        "image_problems": sum(image.picture is None for entry in shown for image in entry.images),
        "provenance": {judged.name: _sections.provenance_rows(judged.run.provenance) for judged in runs},
    }


def _title(runs: Sequence[JudgedRun]) -> str:
    names = [judged.name for judged in runs]
    return " and ".join(names) if len(names) <= MOST_IN_TITLE else f"{len(names)} runs"


def _contents(
    count: int, with_scatters: bool, with_pairs: bool, with_guard: bool, with_guards: bool, with_twins: bool
) -> list[tuple[str, str]]:
    found = [("leaderboard", "Leaderboard" if count > 1 else "In short")]
    found += [("tradeoff", "Trade-off")] if with_scatters else []
    found += [("runs", "Runs"), ("headline", "Headline figures")]
    found += [("differences", "Differences")] if with_pairs else []
    found += [("guard", "Guard")] if with_guard else []
    found += [("guards", "Guards side by side")] if with_guards else []
    found += [("published", "Published"), ("categories", "Categories"), ("judges", "Judges")]
    found += [("twins", "Twin pairs")] if with_twins else []
    return [*found, ("gallery", "Gallery"), ("provenance", "Provenance")]
