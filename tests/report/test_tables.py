"""Tables of runs: LaTeX that compiles, Markdown and JSON, with marks that are earned and names that do nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from holisafe import judges
from holisafe.errors import RunError, UnknownNameError
from holisafe.metrics import FIGURES, HEADLINE, compare, holm, summarise
from holisafe.records import Outcome, Run
from holisafe.report import TableFormat, write_table
from holisafe.report._latex import escape
from latex_check import check_latex
from report_runs import ANSWER, REFUSAL, make_run, make_samples

HOSTILE = (
    r"\input{/etc/passwd}",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "[5cm] & 100\\% \\\\ \\hline",
    "*star*",
    '$x_1^2$ #1 ~ `a\' "b"',
    "--- é ß ø 模型 \u202eabc\u202c 😀",
    "% gone?",
    "}}\\end{table}",
)
SAMPLES = make_samples(8)


def _refusing(share: int, name: str = "careful") -> Run:
    return make_run(name, samples=SAMPLES, answer=lambda at, _: REFUSAL if at % 8 < share else ANSWER)


def _table(runs: list[Run], tmp_path: Path, form: str, **more: object) -> str:
    return write_table(runs, tmp_path / "table", form=form, **more).read_text("utf-8")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_of_any_kind_is_printed_and_does_nothing(name: str, tmp_path: Path) -> None:
    runs = [make_run(name, data={"name": name, "split": name}), make_run("plain")]
    text = _table(runs, tmp_path, "tex", against="plain", judges=["holisafe"])
    rows = check_latex(text)
    assert len(rows) == 2 + 2 + 2  # a head of two lines and, for each model, values and intervals
    assert {len(row) for row in rows} == {1 + len(HEADLINE)}
    assert "\\input" not in text and text.rstrip().splitlines()[-1] == "\\end{table}"


def test_the_check_of_latex_finds_what_would_not_compile() -> None:
    table = "\\begin{tabular}{lr}\na & b \\\\\n\\end{tabular}\n"
    assert check_latex(table) == [["a", "b"]]
    broken = ["a & b & c", "a", "\\input{x} & b", "a_1 & b", "{a & b", "a & $b", "[a & b", "a & b}", "a & é", "\\& & #"]
    for row in broken:
        with pytest.raises(AssertionError):
            check_latex(table.replace("a & b", row))
    with pytest.raises(AssertionError):
        check_latex(table.replace("\\end{tabular}", ""))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine; the check above stands for it")
def test_the_table_compiles(tmp_path: Path) -> None:
    runs = [make_run(name) for name in HOSTILE] + [_refusing(2, "one"), _refusing(3, "other")]
    labels = [*(None for _ in HOSTILE), "seeds", "seeds"]
    write_table(runs, tmp_path / "table.tex", labels=labels, against=None)
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{table}\\end{document}"
    )
    told = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-2000:]


def test_the_caption_says_data_judge_n_and_token_limit(tmp_path: Path) -> None:
    run = make_run("one", data={"name": "drawn", "split": "test"}, generation={"max_new_tokens": 512})
    text = _table([run], tmp_path, "tex", judges=["refusal"])
    assert "drawn{,} split test (30 samples; at most 512 new tokens)" in text
    assert f"Judge refusal{{,}} version {judges.get('refusal').id.version}" in text
    assert "$^{\\circ}$ Fewer than 20 samples" in text


def test_marks_are_those_of_the_paired_test_with_holm_over_the_table(tmp_path: Path) -> None:
    chosen, others = _refusing(1, "chosen"), [_refusing(2, "near"), _refusing(8, "far")]
    record = json.loads(_table([chosen, *others], tmp_path, "json", judges=["holisafe"], against="chosen"))["tables"][0]
    ours = chosen.judgements["holisafe"]
    names = [figure.name for figure in HEADLINE]
    raw = [compare(SAMPLES, ours, run.judgements["holisafe"]).differences[name] for run in others for name in names]
    expected = holm([found.p for found in raw if found])
    rows = {row["model"]: row["figures"] for row in record["rows"]}
    got = [rows[run.name][name]["difference"]["p_holm"] for run in others for name in names]
    assert got == pytest.approx(expected)
    assert record["comparisons"] == 2 * len(HEADLINE) and record["correction"] == "Holm"
    text = _table([chosen, *others], tmp_path, "tex", judges=["holisafe"], against="chosen")
    lines = {line.split(" ")[0]: line for line in text.splitlines() if line.startswith(("near", "far", "chosen"))}
    assert lines["far"].count("*") == sum(p < 0.05 for p in expected[len(names) :]) > 0
    assert "*" not in lines["chosen"]
    assert "corrected after Holm over 16 comparisons" in text


@pytest.mark.parametrize("form", ["tex", "md"])
def test_the_best_of_a_column_is_bold(form: str, tmp_path: Path) -> None:
    text = _table(
        [_refusing(1, "a"), _refusing(6, "b")], tmp_path, form, judges=["holisafe"], figure_names=["rr", "uuu"]
    )
    bold = "\\textbf{" if form == "tex" else "**"
    rows = [line for line in text.splitlines() if line.lstrip("| ").startswith(("a ", "b "))]
    cells = [[bold in cell for cell in row.split("&" if form == "tex" else " |")] for row in rows]
    assert [row[1:3] for row in cells] == [[True, False], [False, True]]


def test_runs_of_one_label_are_one_row_with_both_spreads(tmp_path: Path) -> None:
    runs = [_refusing(2, "seed 1"), _refusing(4, "seed 2"), _refusing(3, "other")]
    labels = ["mine", "mine", None]
    record = json.loads(_table(runs, tmp_path, "json", labels=labels, judges=["holisafe"]))["tables"][0]
    mine, other = record["rows"]
    assert (mine["model"], mine["runs"], other["runs"]) == ("mine", 2, 1)
    values = [summarise(SAMPLES, run.judgements["holisafe"]).rr.value for run in runs[:2]]
    assert mine["figures"]["rr"]["value"] == pytest.approx(sum(values) / 2)
    assert mine["figures"]["rr"]["between"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert other["figures"]["rr"]["between"] is None
    assert (
        "mine (2 runs) & " in (text := _table(runs, tmp_path, "tex", labels=labels))
        and "{\\scriptsize $\\pm$ 17.7}" in text
    )
    assert "| mine (2 runs) |" in _table(runs, tmp_path, "md", labels=labels)


def test_runs_of_one_name_without_a_label_stay_apart(tmp_path: Path) -> None:
    record = json.loads(_table([_refusing(1), _refusing(2)], tmp_path, "json"))["tables"][0]
    assert [row["model"] for row in record["rows"]] == ["careful (run 1)", "careful (run 2)"]


def test_runs_on_other_samples_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    runs = [_refusing(1, "a"), make_run("b", samples=make_samples(3))]
    tables = json.loads(_table(runs, tmp_path, "json", judges=["holisafe"], against="a"))["tables"]
    assert [[row["model"] for row in table["rows"]] for table in tables] == [["a"], ["b"]]
    assert "other samples" in tables[1]["notes"][0]


def test_runs_of_one_label_on_other_samples_are_refused(tmp_path: Path) -> None:
    runs = [_refusing(1, "a"), make_run("b", samples=make_samples(3))]
    with pytest.raises(RunError, match="'same' were asked different samples"):
        _table(runs, tmp_path, "tex", labels=["same", "same"])


def test_two_versions_of_a_judge_are_not_compared_and_the_table_says_so(tmp_path: Path) -> None:
    first, second = _refusing(1, "a"), _refusing(2, "b")
    older = tuple(replace(each, judge=replace(each.judge, version="0")) for each in second.judgements["holisafe"])
    second = replace(second, judgements={"holisafe": older})
    text = _table([first, second], tmp_path, "md", judges=["holisafe"], against="a")
    assert "Not compared with a: b, because" in text


def test_names_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for more in ({"against": "nobody"}, {"judges": ["nobody"]}, {"figure_names": ["asr"]}, {"test": "t"}):
        with pytest.raises(UnknownNameError):
            _table([_refusing(1)], tmp_path, "tex", **more)
    with pytest.raises(UnknownNameError):
        _table([_refusing(1)], tmp_path, "docx")


def test_a_few_samples_are_marked_in_every_form(tmp_path: Path) -> None:
    runs = [make_run("small", samples=make_samples(4))]
    assert "°" in _table(runs, tmp_path, "md") and "\\circ" in _table(runs, tmp_path, "tex")
    many = make_run("large", samples=make_samples(20))
    rows = [line for line in _table([many], tmp_path, "md", judges=["holisafe"]).splitlines() if "| large" in line]
    assert "°" not in rows[0]


def test_a_broken_model_is_seen_in_the_leaderboard(tmp_path: Path) -> None:
    broken = make_run("broken", answer=lambda at, _: "the " * 300)
    row = json.loads(_table([broken], tmp_path, "json"))["tables"][0]["rows"][0]
    assert row["degenerate"]["share"] == 1.0 and row["degenerate"]["kinds"] == {"repetition": 30}


def _failed(name: str, share: int) -> Run:
    """A run of which that many of eight samples ended in an error."""
    run = _refusing(2, name)
    responses = tuple(
        replace(each, text="", error="no connection") if at % 8 < share else each
        for at, each in enumerate(run.responses)
    )
    judged = {judge: judges.judge_all(judges.get(judge), run.samples, responses) for judge in run.judgements}
    return replace(run, responses=responses, judgements=judged)


def _unjudged(name: str, judge: str = "refusal") -> Run:
    """A run on which a judge gave no verdict."""
    run = _refusing(2, name)
    found = tuple(replace(each, outcome=Outcome.UNPARSABLE) for each in run.judgements[judge])
    return replace(run, judgements={judge: found})


@pytest.mark.parametrize("bad", [_failed("bad", 8), _unjudged("bad")], ids=["failed", "unjudged"])
def test_what_gave_no_verdict_has_no_figures_and_is_never_the_best(bad: Run, tmp_path: Path) -> None:
    runs = [_refusing(2, "good"), _refusing(4, "better"), bad]
    more: dict[str, object] = {"judges": ["refusal"], "against": "good"}
    for form, sign in (("tex", "textbf{100.0}"), ("md", "**100.0**")):
        text = _table(runs, tmp_path, form, **more)
        row = next(line for line in text.splitlines() if line.startswith(("bad ", "| bad ")))
        assert not any(character.isdigit() for character in row), row
        assert "No figures of bad" in text.replace("{", "").replace("}", "") and sign not in row
    (board,) = json.loads(_table(runs, tmp_path, "json", **more))["tables"]
    found = {row["model"]: row for row in board["rows"]}
    assert set(found["bad"]["figures"].values()) == {None} and found["bad"]["withheld"]
    assert found["good"]["figures"]["rr"] and found["good"]["withheld"] is None
    alone = _table([bad], tmp_path, "md", judges=["refusal"])
    assert "No figures of bad" in alone


def test_one_failed_run_of_several_seeds_is_not_averaged_away(tmp_path: Path) -> None:
    runs = [_refusing(2, "a"), _failed("b", 8)]
    (board,) = json.loads(_table(runs, tmp_path, "json", labels=["seeds", "seeds"], judges=["refusal"]))["tables"]
    assert set(board["rows"][0]["figures"].values()) == {None}


def test_samples_that_failed_are_told_below_the_table(tmp_path: Path) -> None:
    text = _table([_failed("some", 1), _refusing(2)], tmp_path, "md", judges=["refusal"])
    assert "Errors of some: 5 of 40 samples" in text and "Errors of careful" not in text
    best = [line for line in text.splitlines() if "**" in line and line.startswith("| ")]
    assert not any(line.startswith("| some ") for line in best)


def test_names_that_are_shown_alike_are_not_one_row(tmp_path: Path) -> None:
    runs = [make_run(name, samples=SAMPLES) for name in ("one", "one", "one (run 2)", "one (run 1)")]
    (board, _) = json.loads(_table(runs, tmp_path, "json"))["tables"]
    assert len({row["model"] for row in board["rows"]}) == 4
    with pytest.raises(RunError, match="both shown as"):
        _table(runs[:2], tmp_path, "md", labels=["x" * 120 + "1", "x" * 120 + "2"])


def test_markdown_names_cannot_leave_their_cell(tmp_path: Path) -> None:
    runs = [make_run(name) for name in HOSTILE]
    text = _table(runs, tmp_path, "md", judges=["holisafe"])
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(HOSTILE)
    assert {line.replace("\\|", "").count("|") for line in rows} == {2 + len(HEADLINE)}
    assert "<script" not in text


def test_every_figure_can_be_chosen(tmp_path: Path) -> None:
    names = [figure.name for figure in FIGURES]
    rows = check_latex(_table([_refusing(2)], tmp_path, "tex", figure_names=names, judges=["refusal"]))
    assert len(rows[0]) == 1 + len(FIGURES)
    assert [form.value for form in TableFormat] == ["tex", "md", "json"]


def test_escape_leaves_plain_text_alone() -> None:
    assert escape("Qwen2.5 VL 7B") == "Qwen2.5 VL 7B"
    assert escape("a_b é 模") == "a\\_b \\'{e} {[}U+6A21{]}"
