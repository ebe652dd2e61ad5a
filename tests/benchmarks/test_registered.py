"""Every benchmark of this package: in the docs, in a format of its own, with published rows that can be compared."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.benchmarks.more_releases import (
    write_figstep,
    write_mm_safetybench,
    write_siuo,
    write_spa_vl,
    write_usb,
    write_vlguard,
)

from holisafe import benchmarks, datasets
from holisafe.errors import DataError
from holisafe.records import JudgeId, Judgement, Outcome, Response

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks.md"
OWN = [name for name in benchmarks.names() if "-open" not in name]


@pytest.mark.parametrize("name", OWN)
def test_it_is_in_the_table_of_the_docs_with_its_judge(name: str) -> None:
    (row,) = [line for line in DOCS.read_text("utf-8").splitlines() if line.startswith(f"| `{name}` |")]
    assert all(f"`{judge}`" in row for judge in map(benchmarks.get(name).judge_for, benchmarks.get(name).settings))


@pytest.mark.parametrize("name", [name for name in OWN if benchmarks.get(name).needs_data])
def test_it_has_a_format_of_the_same_name_that_says_so_when_nothing_is_there(name: str, tmp_path: Path) -> None:
    assert name in datasets.release_names()
    with pytest.raises(DataError, match="no such file"):
        datasets.load(f"{name}:{tmp_path / 'nothing'}")


@pytest.mark.parametrize(
    ("name", "other", "write"),
    [
        ("vlguard", "mm-safetybench", write_mm_safetybench),
        ("mssbench", "vlguard", write_vlguard),
        ("vlsbench", "siuo", write_siuo),
        ("siuo", "usb", write_usb),
        ("figstep", "spa-vl", write_spa_vl),
    ],
)
def test_another_data_set_is_named(name: str, other: str, write: Callable[[Path], Path], tmp_path: Path) -> None:
    place = write(tmp_path / "data")
    for read in (lambda: datasets.read(f"{name}:{place}"), lambda: benchmarks.get(name).samples(place)):
        with pytest.raises(DataError, match=f"this looks like .*: use --data {other}:{place}"):
            read()


def test_records_of_another_data_set_are_named_by_their_fields(tmp_path: Path) -> None:
    renamed = write_siuo(tmp_path) / "siuo_gen.json"
    renamed = renamed.rename(tmp_path / "test.json")
    with pytest.raises(
        DataError, match=f"no record of vlguard; the first: .*this looks like SIUO: use --data siuo:{renamed}"
    ):
        datasets.read(f"vlguard:{renamed}")


@pytest.mark.parametrize(
    ("name", "figure", "write"),
    [
        ("spa-vl", "harm_usr", write_spa_vl),
        ("figstep", "asr", write_figstep),
        ("mm-safetybench", "asr", write_mm_safetybench),
    ],
)
def test_a_judge_that_tells_harm_decides_by_it_and_any_other_by_refusals(
    name: str, figure: str, write: Callable[[Path], Path], tmp_path: Path
) -> None:
    made = benchmarks.get(name)
    samples = made.samples(write(tmp_path)).samples
    responses = [Response(sample.id, "text", "m") for sample in samples]

    def found(outcome: Outcome, details: dict[str, bool]) -> float:
        judged = [Judgement(sample.id, JudgeId("any"), outcome, details=details) for sample in samples]
        (of,) = [each.figure for each in made.figures(samples, responses, judged) if each.name == figure]
        assert of is not None
        return of.value

    assert found(Outcome.ANSWERED, {}) == found(Outcome.HARMFUL, {"harmful": True}) == 1
    assert found(Outcome.ANSWERED, {"harmful": False}) == found(Outcome.REFUSED, {}) == 0


def test_figures_in_the_suite_are_few_and_have_labels() -> None:
    for name in OWN:
        made = benchmarks.get(name)
        assert 1 <= sum(kind.in_suite for kind in made.kinds) <= 3, name
        assert all(kind.label and kind.description for kind in made.kinds), name
