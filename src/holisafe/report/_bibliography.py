"""BibTeX entries of what a table rests on: the data, the judges, and this package."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from holisafe._version import __version__
from holisafe.records import JudgeId, Run
from holisafe.report._file import put
from holisafe.report._latex import escape
from holisafe.report._provenance import mapping
from holisafe.report._rows import label_runs
from holisafe.report._sections import judge_ids

_PAPER = {
    "author": "Lee, Youngwan and others",
    "title": "{HoliSafe}: Holistic Safety Benchmarking and Modeling for Vision-Language Model",
    "eprint": "2506.04704",
    "archivePrefix": "arXiv",
    "year": "2025",
}
_OPEN = {"author": "{holisafe}", "title": "{HoliSafe-Open}: drawn requests in five image-text combinations"}
_KEY = "lee2025holisafe"
_PHRASE_LISTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "sapt": (
        "safetyreminder2025",
        {
            "title": "The Safety Reminder",
            "eprint": "2506.15734",
            "archivePrefix": "arXiv",
            "year": "2025",
            "note": "Complete with authors",
        },
    ),
}
"""Judges that are phrase lists of a paper that is not one of a benchmark."""


def write_bibliography(runs: Sequence[Run], out: str | Path) -> Path:
    """Write BibTeX entries of the data sets and judges of runs, and of this package.

    Data of other sources have an entry with their name, size and hash, to be completed with authors.

    Raises:
        RunError: There is nothing to write, or `out` cannot be written.
    """
    entries: dict[str, str] = {}
    _add(entries, "misc", _KEY, _PAPER)
    _add(
        entries, "software", "holisafe", {"author": "{holisafe}", "title": "holisafe", "note": f"version {__version__}"}
    )
    papers = _papers()
    for run in label_runs(runs):
        name = mapping(run.provenance.get("benchmark")).get("name")
        _add(entries, *(papers[name] if name in papers else ("misc", *_of_data(run))))
        for judge in judge_ids(run):
            if judge.name in _PHRASE_LISTS:
                _add(entries, "misc", *_PHRASE_LISTS[judge.name])
            elif judge.name in papers:  # a phrase list that came with a benchmark
                _add(entries, *papers[judge.name])
            elif judge.model:
                _add(entries, "misc", *_of_judge(judge))
    return put(out, "\n".join(entries.values()))


def _papers() -> dict[str, tuple[str, str, Mapping[str, str]]]:
    """Benchmark → kind, key and fields of the entry of its paper."""
    text = resources.files("holisafe.report").joinpath("data/references.toml").read_text("utf-8")
    found: dict[str, tuple[str, str, Mapping[str, str]]] = {}
    for name, fields in tomllib.loads(text).items():
        key = fields.pop("key")
        found[name] = ("inproceedings" if "booktitle" in fields else "misc", key, {**fields, "archivePrefix": "arXiv"})
    return found


def _add(entries: dict[str, str], kind: str, key: str, fields: Mapping[str, str]) -> None:
    """An entry once; another of the same key gets a number."""
    number, named = 1, key
    while entries.get(named, entry := _entry(kind, named, fields)) != entry:
        number += 1
        named = f"{key}-{number}"
    entries[named] = entry


def _of_data(run: Run) -> tuple[str, Mapping[str, str]]:
    data = mapping(run.provenance.get("data"))
    name = str(data.get("name") or "unnamed data")
    digest = str(data.get("sha256") or "")
    facts = f"{len(run.samples)} samples" + (f", SHA-256 {digest[:16]}" if digest else "")
    if re.fullmatch(r"open(@\d+)?", name):
        return _key("data", name), {**_OPEN, "note": f"{escape(name)}, {facts}"}
    if "holisafe-bench" in name.lower():
        return _KEY, _PAPER
    note = f"{facts}. Complete with authors and source"
    return _key("data", name), {"title": escape(name), "note": note}


def _of_judge(judge: JudgeId) -> tuple[str, Mapping[str, str]]:
    note = f"judge {escape(judge.name)}, version {escape(judge.version)}"
    if judge.prompt:
        note += f", prompt SHA-256 {escape(judge.prompt[:16])}"
    return _key("judge", f"{judge.name} {judge.model}"), {"title": escape(judge.model), "note": note}


def _key(kind: str, name: str) -> str:
    return f"{kind}-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-').lower() or 'unnamed'}"


def _entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])
