"""The tests every benchmark has to pass.

Run them on your own, with a small release that you wrote in its exact form, and one in which a record is damaged:

    from holisafe.benchmarks.conformance import BenchmarkConformance

    class TestMine(BenchmarkConformance):
        name = "mine"

        def place(self) -> Path: ...
        def damaged(self) -> Path: ...

pytest finds the inherited tests by their names; nothing here needs pytest.
"""

from __future__ import annotations

from pathlib import Path

from holisafe import judges as judging
from holisafe.benchmarks._answerers import ANSWERERS, constant_figures
from holisafe.benchmarks._benchmark import Benchmark, BenchmarkFigure
from holisafe.benchmarks._registry import get
from holisafe.datasets import BENCHMARK_TAG, SETTING_TAG
from holisafe.errors import UnknownNameError
from holisafe.records import Judgement, Outcome, Response, Sample

_CLOSE = 1e-9


class BenchmarkConformance:
    """Tests of the registered benchmark called `name`."""

    name: str

    def place(self) -> Path | None:
        """A small release with samples for every figure; None where no data are needed."""
        raise NotImplementedError

    def damaged(self) -> Path | None:
        """A release of which some records are damaged and others are not; None where no data are needed."""
        raise NotImplementedError

    def test_it_says_what_it_is(self) -> None:
        """Everything that `holisafe benchmarks` lists is there."""
        made = self._benchmark()
        for field in ("title", "paper", "size", "licence", "how_to_get", "protocol", "tells", "cannot_tell"):
            assert getattr(made, field).strip(), f"{made.name} has no {field}"
        assert made.settings and len(set(made.settings)) == len(made.settings)
        assert made.suites, "a benchmark is in a suite"

    def test_every_setting_gives_tagged_samples_with_unique_ids(self) -> None:
        """Ids, tags and questions."""
        for setting in self._benchmark().settings:
            samples = self._samples(setting)
            assert samples, f"setting {setting} gives no samples"
            assert len({sample.id for sample in samples}) == len(samples), f"setting {setting}: an id twice"
            for sample in samples:
                assert sample.tags.get(BENCHMARK_TAG) == self.name
                assert sample.tags.get(SETTING_TAG) == setting
                assert sample.query.strip() or sample.images, f"{sample.id} asks nothing"
                assert all(image.digest for image in sample.images), f"{sample.id} has an image without a digest"

    def test_samples_that_share_an_image_share_a_cluster(self) -> None:
        """Intervals take clusters for independent."""
        clusters: dict[str, str] = {}
        for sample in self._samples():
            for image in sample.images:
                found = clusters.setdefault(image.identity, sample.cluster)
                assert found == sample.cluster, f"image {image.key} is in two clusters"

    def test_an_unknown_setting_is_refused(self) -> None:
        """Rather than read as the default."""
        try:
            self._benchmark().samples(self.place(), "no-such-setting")
        except UnknownNameError:
            return
        raise AssertionError(f"{self.name} gave samples of a setting that it does not have")

    def test_its_judges_exist_and_need_no_model(self) -> None:
        """The default must work out of the box."""
        made = self._benchmark()
        for setting in made.settings:
            judging.with_model(judging.get(made.judge_for(setting)), None)

    def test_constant_answerers_get_exactly_what_is_stated(self) -> None:
        """Identities hold for every answerer, whatever the data."""
        made = self._benchmark()
        assert made.identities.keys() == ANSWERERS.keys(), f"{made.name} states identities for {set(made.identities)}"
        for answerer, stated in made.identities.items():
            assert stated, f"nothing is stated of {answerer}"
            found = {each.name: each.figure for each in constant_figures(made, answerer, self._samples())}
            for name, value in stated.items():
                figure = found[name]
                assert figure is not None, f"{answerer}: no {name}; the small release has no samples for it"
                assert abs(figure.value - value) < _CLOSE, f"{answerer}: {name} is {figure.value}, stated {value}"

    def test_what_has_no_verdict_stays_in_every_denominator(self) -> None:
        """Half of the answers lost: n is what it was, and no figure where more is better gains by it."""
        samples = self._samples()
        whole = {each.name: each for each in self._figures(samples, lost=0)}
        for outcome in (Outcome.ERROR, Outcome.NO_ANSWER, Outcome.UNPARSABLE, Outcome.REFUSED_TO_JUDGE):
            for each in self._figures(samples, lost=2, outcome=outcome):
                before = whole[each.name].figure
                if each.figure is None or before is None:
                    assert each.figure is None and before is None, f"{each.name} comes and goes with {outcome}"
                    continue
                assert each.figure.n == before.n, f"{each.name}: n is {before.n}, and {each.figure.n} with {outcome}"

    def test_nothing_is_a_success_without_a_verdict(self) -> None:
        """All answers lost: whatever is better when higher is 0."""
        for each in self._figures(self._samples(), lost=1):
            if each.figure is not None and not each.lower_is_better:
                assert each.figure.value == 0, f"{each.name} is {each.figure.value} with no verdict at all"

    def test_intervals_hold_their_values(self) -> None:
        """Within [0, 1]."""
        for answerer in ANSWERERS:
            for each in constant_figures(self._benchmark(), answerer, self._samples()):
                if each.figure is not None:
                    figure = each.figure
                    assert 0 <= figure.low <= figure.value <= figure.high <= 1, f"{answerer}: {each.name} {figure}"

    def test_published_rows_name_figures_and_settings_that_exist(self) -> None:
        """A row that nobody can compare with is a mistake."""
        made = self._benchmark()
        known = {kind.name for kind in made.kinds}
        for row in made.published:
            assert row.values.keys() <= known, f"{row.model}: {set(row.values) - known} are no figures"
            assert row.setting in made.settings, f"{row.model}: setting {row.setting!r}"
            assert row.judge and row.source, f"{row.model}: no judge or source"

    def test_a_damaged_record_is_a_problem_and_the_others_load(self) -> None:
        """Typed: file, field, what was found, what was expected, and what to do."""
        damaged = self.damaged()
        if damaged is None:
            return
        loaded = self._benchmark().samples(damaged)
        assert loaded.samples, "the good records load"
        assert loaded.broken, "the damaged record is reported"
        for problem in loaded.broken:
            for field in ("file", "field", "found", "expected", "remedy"):
                assert str(getattr(problem, field)).strip(), f"a problem without {field}: {problem}"

    def _benchmark(self) -> Benchmark:
        return get(self.name)

    def _samples(self, setting: str | None = None) -> tuple[Sample, ...]:
        return self._benchmark().samples(self.place(), setting).samples

    def _figures(
        self, samples: tuple[Sample, ...], *, lost: int, outcome: Outcome = Outcome.ERROR
    ) -> tuple[BenchmarkFigure, ...]:
        """Figures of answers that comply, with every `lost`-th (0: none) without a verdict."""
        made = self._benchmark()
        responses = [ANSWERERS["comply"](sample) for sample in samples]
        judgements = list(judging.judge_all(judging.get(made.judge), samples, responses))
        for at in range(0, len(samples) if lost else 0, lost or 1):
            if outcome is Outcome.ERROR:
                responses[at] = Response(samples[at].id, "", "lost", error="lost")
            judgements[at] = Judgement(samples[at].id, judgements[at].judge, outcome)
        return made.figures(samples, responses, judgements)
