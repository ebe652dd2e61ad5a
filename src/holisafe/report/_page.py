"""What the page shows: the values that its templates read, and the filters with which they write them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from holisafe._version import __version__
from holisafe.blind import MARK
from holisafe.metrics import FIGURES, HEADLINE, PARTS, Figure, Part, headline, part_name
from holisafe.metrics.display import FEW_NOTE, few_mark, group_name
from holisafe.records import Behaviour, Outcome
from holisafe.report import _gallery, _guard, _guards, _leaderboard, _pairs, _published, _scatter, _sections
from holisafe.report._blind import blind_notes, blind_rows
from holisafe.report._caveats import caveats_of, limits
from holisafe.report._own_figures import own_tables
from holisafe.report._page_data import MAX_BYTES, boards, expected_words, pack, packed_samples, tag_values
from holisafe.report._table import JudgedRun, shown_answers
from holisafe.report._thumbnail import Pictures
from holisafe.report.text import plain, visible
from holisafe.taxonomy import Combination

SCRIPTS = ("page.js", "board.js", "gallery.js")
"""The files of the page's one script, in order."""

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


_SAMPLES = Markup("<samples>")
"""Stands for the samples until the size of the rest is known; no text of others can hold it, since "<" is escaped."""


def render(runs: Sequence[JudgedRun], title: str | None, pictures: Pictures | None) -> str:
    """The page, at most `MAX_BYTES` long where the tables alone are not longer.

    Args:
        runs: The runs.
        title: Heading; the default if None.
        pictures: Where images go; None to leave out images, questions and answers.

    Raises:
        RunError: An image cannot be written.
    """
    entries = _gallery.in_order(_gallery.collect(runs, pictures))
    page = _environment().get_template("report.html.j2").render(_context(runs, entries, title, pictures))
    room = MAX_BYTES - len(page.encode())
    return page.replace(_SAMPLES, packed_samples(entries, runs, room))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("holisafe.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "percent": lambda rate: f"{100 * rate:.1f}",
        "points": lambda difference: f"{100 * difference:+.1f}".replace("-", "−"),
        "chance": lambda p: "–" if p is None else f"{p:.4f}" if p >= 0.0001 else "< 0.0001",
        "few": few_mark,
        "harm": _leaderboard.harm,
        "headline": headline,
        "hits": _hits,
        "shade": _sections.shade,
        "share": _sections.share,
        "across": _scatter.across,
        "upwards": _scatter.upwards,
        "expected": expected_words,
        "group_name": group_name,
        "plain": plain,
        "shown_verdicts": _guard.shown_verdicts,
        "visible": visible,
    }
    return environment


def _hits(figure: Figure) -> int:
    """How many of a figure's n its rate is made of."""
    return round(figure.value * figure.n)


def _context(
    runs: Sequence[JudgedRun], entries: Sequence[_gallery.Entry], title: str | None, pictures: Pictures | None
) -> dict[str, Any]:
    summaries = {(each.name, judge): summary for each in runs for judge, summary in each.summaries.items()}
    headlines = {key: headline(summary) for key, summary in summaries.items()}
    return {
        "version": __version__,
        "title": plain(title or _title(runs)),
        "share": pictures is None,
        "runs": runs,
        "judges": _sections.judges_of(runs),
        "measures": [each for each in HEADLINE if any(found[each.name] is not None for found in headlines.values())],
        "all_measures": HEADLINE,
        "headlines": headlines,
        "parts": PARTS,
        "part_names": PART_NAMES,
        "part_id": part_name,
        "kind_words": KIND_WORDS,
        "combinations": tuple(Combination),
        "mark": MARK,
        "few_note": FEW_NOTE,
        "repeated": any(len(judged.epochs) > 1 for judged in runs),
        **_code(),
        **_figures(runs),
        **_tables(runs, summaries),
        **_samples(runs, entries, pictures),
    }


def _code() -> dict[str, Any]:
    """Style and script with the hashes by which the page's policy lets them in; the script is no text of others."""
    folder = files("holisafe.report") / "templates"
    style = "\n" + (folder / "style.css").read_text(encoding="utf-8")
    script = "\n" + "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    found: dict[str, Any] = {"style": Markup(style), "script": Markup(script)}
    for name, text in (("style_hash", style), ("script_hash", script)):
        found[name] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return found


def _figures(runs: Sequence[JudgedRun]) -> dict[str, Any]:
    """What the first screen and the headline section show."""
    data = {judged.name: _leaderboard.data_words(judged) for judged in runs}
    blind = blind_rows(runs)
    return {
        "leaders": _leaderboard.leaderboard(runs),
        "leader_columns": _leaderboard.COLUMNS,
        "scatters": _scatter.scatters(runs),
        "data": data,
        "data_sets": list(dict.fromkeys(data.values())),
        "tag_values": tag_values(runs),
        "boards": pack(boards(runs)),
        "limits": limits(runs),
        "caveats": {judged.name: caveats_of(judged) for judged in runs},
        "facts": {judged.name: _sections.facts(judged.run) for judged in runs},
        "shorts": {judged.name: _sections.in_short(judged) for judged in runs},
        "blind": blind,
        "blind_notes": blind_notes(blind),
        "intervals": {judge: _sections.interval_rows(runs, judge) for judge in _sections.judges_of(runs)},
        "own_tables": own_tables(runs),
    }


def _tables(runs: Sequence[JudgedRun], summaries: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """What the sections of tables show."""
    return {
        "pairs": _pairs.pairs(runs),
        "all_figures": FIGURES,
        "guard": _guard.findings_of(runs),
        "guard_thresholds": _guard.thresholds_of(runs),
        "guards": _guards.rates_of(runs),
        "not_expressed": _guards.NOT_EXPRESSED,
        "guard_words": _guard.WORDS,
        "guard_sides": _guard.SIDES,
        "kind_names": _guard.KIND_NAMES,
        "crossing_rows": _guard.crossing_rows,
        "class_rows": _guard.class_rows,
        "published": _published.by_judge(),
        "published_judges": _published.JUDGE_NAMES,
        "shades": _sections.SHADES,
        "heat": {key: _sections.heat_tables(summary) for key, summary in summaries.items()},
        "weakest": {key: _sections.weakest(summary) for key, summary in summaries.items()},
        "agreeing": {judged.name: _sections.agreement_matrix(shown_answers(judged)) for judged in runs},
        "outcomes": tuple(Outcome),
        "refused": Outcome.REFUSED,
        "provenance": {judged.name: _sections.provenance_rows(judged.epochs) for judged in runs},
    }


def _samples(runs: Sequence[JudgedRun], entries: Sequence[_gallery.Entry], pictures: Pictures | None) -> dict[str, Any]:
    """What is shown of single samples."""
    gallery = _gallery.choose(entries)
    shown = [entry for found in gallery.values() for entry in found]
    return {
        "twin_counts": _gallery.count_twins(runs),
        "twins": _gallery.choose_pairs(entries),
        "twins_in_all": _gallery.count_pairs(entries),
        "gallery": gallery,
        "shown": len(shown),
        "total": len(entries),
        "samples": _SAMPLES,
        "image_problems": sum(image.source is None for entry in entries for image in entry.images),
        "folder": pictures.folder.name if pictures else "",
    }


def _title(runs: Sequence[JudgedRun]) -> str:
    names = [judged.name for judged in runs]
    return " and ".join(names) if len(names) <= MOST_IN_TITLE else f"{len(names)} runs"
