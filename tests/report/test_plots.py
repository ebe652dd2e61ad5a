"""Figures: SVG and PDF of the same runs are the same files, and names are text in them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.errors import RunError
from holisafe.records import Run
from holisafe.report import Plot, write_figure
from holisafe.report._plots import pareto_front
from report_runs import ANSWER, REFUSAL, make_run, make_samples

NAMES = (r"\input{/etc/passwd}", "<script>alert(1)</script>", "$\\frac{", "_hidden", "模型 & 😀")


def _runs() -> list[Run]:
    return [
        make_run(name, answer=lambda at, _, every=at + 2: REFUSAL if at % every == 0 else ANSWER)
        for at, name in enumerate(NAMES)
    ]


@pytest.mark.parametrize("kind", list(Plot))
def test_every_name_is_in_the_drawing_as_text(kind: Plot, tmp_path: Path) -> None:
    path = write_figure(_runs(), tmp_path / "plot.svg", kind=kind)
    tree = ET.fromstring(path.read_text("utf-8"))
    texts = "\n".join("".join(each.itertext()) for each in tree.iter("{http://www.w3.org/2000/svg}text"))
    assert all(name in texts for name in NAMES)
    assert not list(tree.iter("{http://www.w3.org/2000/svg}script"))


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_the_same_runs_give_the_same_file(suffix: str, tmp_path: Path) -> None:
    ones, others = (write_figure(_runs()[:2], tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert ones == others and len(ones) > 1000


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"neither \.svg nor \.pdf"):
        write_figure(_runs(), tmp_path / "plot.png")
    with pytest.raises(RunError, match="different samples"):
        write_figure([make_run("a"), make_run("b", samples=make_samples(2))], tmp_path / "plot.svg")
    with pytest.raises(RunError, match="b: not judged by 'refusal'"):
        write_figure([make_run("a", by=("refusal",)), make_run("b", by=("holisafe",))], tmp_path / "plot.svg")
    safe = tuple(sample for sample in make_samples() if sample.is_safe)
    with pytest.raises(RunError, match="RR and mASR"):
        write_figure([make_run("a", samples=safe)], tmp_path / "plot.svg")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)).map(lambda p: (float(p[0]), float(p[1]))), min_size=1))
def test_the_front_holds_exactly_the_points_that_none_beats(points: list[tuple[float, float]]) -> None:
    def is_beaten(at: int) -> bool:
        return any(other[0] <= points[at][0] and other[1] <= points[at][1] and other != points[at] for other in points)

    assert sorted(pareto_front(points)) == [at for at in range(len(points)) if not is_beaten(at)]
