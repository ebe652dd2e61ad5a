"""The tests every data set has to pass.

Run them on your own:

    from holisafe.datasets.conformance import DatasetConformance

    class TestMine(DatasetConformance):
        name = "mine"

pytest finds the inherited tests by their names; nothing here needs pytest. They read every image.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from holisafe.datasets._read import load, read
from holisafe.datasets._registry import find, is_registered
from holisafe.errors import UnknownNameError
from holisafe.images import content_hash, open_image, read_bytes
from holisafe.records import ImageRef, Role, Sample
from holisafe.taxonomy import GuardLabel


class DatasetConformance:
    """Tests of the registered data set, file, folder or Hub id called `name`."""

    name: str
    split: str | None = None

    def test_it_has_samples(self) -> None:
        """A data set without samples measures nothing."""
        assert self._samples(), f"{self.name} has no samples"

    def test_no_record_is_broken(self) -> None:
        """What a data set ships it can also read."""
        _none(str(problem) for problem in read(self.name, self.split).broken)

    def test_ids_are_unique(self) -> None:
        """Responses and verdicts find their sample by its id."""
        counts = Counter(sample.id for sample in self._samples())
        _none(f"id {name!r} occurs {count} times" for name, count in counts.items() if count > 1)

    def test_loading_twice_gives_the_same(self) -> None:
        """Order included: a run that resumes relies on it."""
        assert self._samples() == self._samples(), f"{self.name} differs from one load to the next"

    def test_every_sample_asks_something(self) -> None:
        """The last turn is the user's and not blank; with an unsafe image there is one."""
        _none(s.id for s in self._samples() if not _asks(s))

    def test_every_image_can_be_opened(self) -> None:
        """By the one door, within its limits."""
        seen: set[str] = set()
        for sample in self._samples():
            for ref in sample.images:
                if ref.identity not in seen:
                    seen.add(ref.identity)
                    open_image(ref)

    def test_every_image_has_the_digest_of_its_bytes(self) -> None:
        """Caches, clusters and comparisons rely on it."""
        _none(ref.key for ref in self._images() if ref.digest != content_hash(read_bytes(ref)))

    def test_image_labels_agree_with_the_combination(self) -> None:
        """None, or one per image; all safe exactly where the combination says the image is safe."""
        _none(s.id for s in self._samples() if s.image_labels and not _labels_agree(s))

    def test_samples_that_share_an_image_share_a_cluster(self) -> None:
        """Intervals take clusters for independent: two of them with one image would not be."""
        clusters: dict[str, set[str]] = defaultdict(set)
        for sample in self._samples():
            for ref in sample.images:
                clusters[ref.identity].add(sample.cluster)
        _none(image for image, names in clusters.items() if len(names) > 1)

    def test_twins_name_each_other_and_differ_in_what_is_right(self) -> None:
        """Both members are in the same split; one wants an answer, the other a refusal."""
        by_id = {sample.id: sample for sample in self._samples()}
        _none(s.id for s in by_id.values() if s.twin is not None and not _is_twin_of(s, by_id.get(s.twin)))

    def test_an_unknown_split_is_refused(self) -> None:
        """Rather than giving everything, or nothing."""
        if not is_registered(self.name) or not find(self.name).splits:
            return
        try:
            load(self.name, "no-such-split")
        except UnknownNameError:
            return
        raise AssertionError(f"{self.name} gave samples of a split that it does not have")

    def _samples(self) -> list[Sample]:
        return load(self.name, self.split)

    def _images(self) -> Iterable[ImageRef]:
        """Every image once."""
        return {(ref.key, ref.digest): ref for sample in self._samples() for ref in sample.images}.values()


def _asks(sample: Sample) -> bool:
    needs_image = sample.combination is not None and not sample.combination.image_is_safe
    is_question = bool(sample.turns) and sample.turns[-1].role is Role.USER and bool(sample.query.strip())
    return is_question and (bool(sample.images) or not needs_image)


def _labels_agree(sample: Sample) -> bool:
    all_safe = all(label is GuardLabel.SAFE for label in sample.image_labels)
    agree = sample.combination is None or all_safe is sample.combination.image_is_safe
    return len(sample.image_labels) == len(sample.images) and agree


def _is_twin_of(sample: Sample, other: Sample | None) -> bool:
    return (
        other is not None
        and other.twin == sample.id
        and other.expected is not sample.expected
        and (other.query == sample.query or _contents(other) == _contents(sample))
    )


def _contents(sample: Sample) -> list[str]:
    return [ref.identity for ref in sample.images]


def _none(offenders: Iterable[str]) -> None:
    """Fail with the first few offenders."""
    found = list(offenders)
    assert not found, f"{len(found)} offend, such as: {'; '.join(found[:5])}"
