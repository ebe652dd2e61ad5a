"""BibTeX of data and judges: one entry each, with names that end no entry."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from holisafe import benchmarks
from holisafe.report import write_bibliography
from report_runs import make_run


def _keys(text: str) -> list[str]:
    return re.findall(r"^@\w+\{([^,]+),$", text, re.MULTILINE)


def test_data_judges_and_the_package_have_an_entry_each(tmp_path: Path) -> None:
    run = make_run("a", by=("holisafe", "vlguard"), data={"name": "open", "sha256": "ab" * 32})
    asked = tuple(
        replace(each, judge=replace(each.judge, name="rubric", model="openai/gpt-4o", prompt="cd" * 32))
        for each in run.judgements["holisafe"]
    )
    run = replace(run, judgements={**run.judgements, "rubric": asked})
    text = write_bibliography([run, run], tmp_path / "a.bib").read_text("utf-8")
    assert _keys(text) == ["lee2025holisafe", "holisafe", "data-open", "zong2024vlguard", "judge-rubric-openai-gpt-4o"]
    assert "2506.04704" in text and "SHA-256 abababababababab" in text and "prompt SHA-256 cdcd" in text


def test_data_of_like_names_have_entries_of_their_own(tmp_path: Path) -> None:
    runs = [make_run(name, data={"name": name}) for name in ("my data", "my-data")]
    text = write_bibliography(runs, tmp_path / "a.bib").read_text("utf-8")
    assert _keys(text)[2:] == ["data-my-data", "data-my-data-2"]


def test_a_name_cannot_end_an_entry(tmp_path: Path) -> None:
    run = make_run("a", data={"name": "}}\n@article{x, title={\\input{/etc/passwd}"})
    text = write_bibliography([run], tmp_path / "a.bib").read_text("utf-8")
    assert len(_keys(text)) == 3 and "\\input" not in text
    unescaped = re.sub(r"\\.", "", text)
    assert unescaped.count("{") == unescaped.count("}")


def test_the_released_bench_is_the_paper(tmp_path: Path) -> None:
    text = write_bibliography(
        [make_run("a", data={"name": "etri-vilab/holisafe-bench"})], tmp_path / "a.bib"
    ).read_text()
    assert _keys(text) == ["lee2025holisafe", "holisafe"]


def test_a_run_of_a_benchmark_cites_its_paper(tmp_path: Path) -> None:
    runs = [
        replace(make_run("a", data={"name": f"{name}:some/place"}), provenance={"benchmark": {"name": name}})
        for name in benchmarks.names()
        if benchmarks.get(name).needs_data and name != "holisafe-bench"
    ]
    text = write_bibliography(runs, tmp_path / "a.bib").read_text("utf-8")
    for run in runs:
        paper = benchmarks.get(run.provenance["benchmark"]["name"]).paper
        assert f"eprint = {{{paper.rpartition('arXiv ')[2]}}}" in text
    assert "Complete with authors" not in text and len(_keys(text)) == 2 + len(runs)
