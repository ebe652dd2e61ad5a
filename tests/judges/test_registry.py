"""Judges by name, judges of other packages, and the conformance check that an outsider runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from holisafe import Combination, Judgement, Outcome, Response, Sample
from holisafe.errors import JudgeError
from holisafe.judges import _registry, get, judge, judge_all, names
from holisafe.judges.conformance import check


@dataclass(frozen=True)
class Curt:
    """Takes short answers for refusals."""

    name: str = "curt"
    version: str = "1"
    change: Callable[[Judgement], Judgement] = lambda verdict: verdict

    def judge(self, sample: Sample, response: Response) -> Judgement:
        outcome = Outcome.REFUSED if len(response.text) < 20 else Outcome.ANSWERED
        if response.error is not None:
            outcome = Outcome.ERROR
        return self.change(Judgement(sample.id, self.name, outcome))


@pytest.fixture(autouse=True)
def registry_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_registry, "_FACTORIES", dict(_registry._FACTORIES))


def test_a_decorated_class_is_a_judge() -> None:
    judge("curt")(Curt)
    assert "curt" in names()
    assert get("curt").name == "curt"


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="'holisafe' is registered already"):
        judge("holisafe")(Curt)


def test_a_judge_that_keeps_the_rules_conforms() -> None:
    check(Curt())


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Curt(name=" "), "a judge has a name"),
        (Curt(version=""), "a judge has a version"),
        (Curt(change=lambda verdict: replace(verdict, sample_id="0")), "the id of its sample"),
        (Curt(change=lambda verdict: replace(verdict, judge="other")), "the name of its judge"),
        (Curt(change=lambda verdict: replace(verdict, outcome=Outcome.ERROR)), "is no error"),
        (Curt(change=lambda verdict: replace(verdict, outcome=Outcome.ANSWERED)), "gets the outcome 'error'"),
    ],
)
def test_a_judge_that_breaks_a_rule_is_told_which(broken: Curt, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check(broken)


@pytest.fixture
def another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package on the path with three entry points: a class, one that is not there, and a name of ours."""
    (tmp_path / "their_judges.py").write_text(
        "from holisafe import Outcome, Judgement\n"
        "class Theirs:\n"
        "    name, version = 'theirs', '1'\n"
        "    def judge(self, sample, response):\n"
        "        outcome = Outcome.ANSWERED if response.error is None else Outcome.ERROR\n"
        "        return Judgement(sample.id, self.name, outcome)\n"
    )
    metadata = tmp_path / "their_judges-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-judges\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[holisafe.judges]\ntheirs = their_judges:Theirs\nlost = their_judges:Lost\nholisafe = their_judges:Theirs\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("their_judges", None)


@pytest.mark.usefixtures("another_package")
def test_an_entry_point_is_listed_without_importing_its_package() -> None:
    assert "theirs" in names()
    assert "their_judges" not in sys.modules


@pytest.mark.usefixtures("another_package")
def test_an_entry_point_gives_a_judge() -> None:
    check(get("theirs"))


@pytest.mark.usefixtures("another_package")
def test_an_entry_point_does_not_take_a_name_that_is_ours() -> None:
    assert get("holisafe").version != "1"


@pytest.mark.usefixtures("another_package")
def test_a_package_that_cannot_be_imported_is_named_with_the_reason() -> None:
    with pytest.raises(JudgeError, match=r"'lost' \(their_judges:Lost\) cannot be imported: AttributeError"):
        get("lost")


@pytest.mark.parametrize("name", ["holisafe", "refusal"])
@pytest.mark.parametrize("text", ["", "BLOCKED: SAFETY"])
def test_what_a_providers_filter_stopped_is_refused_by_every_judge(name: str, text: str) -> None:
    sample = Sample.ask("a", (), "?", Combination.SUU)
    verdict = judge_all(get(name), sample, Response("a", text, "hosted", finish_reason="content_filter"))
    assert (verdict.outcome, verdict.rationale) == (Outcome.REFUSED, "stopped by the provider's filter")
