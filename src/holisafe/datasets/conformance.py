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
from holisafe.datasets._registry import find
from holisafe.errors import UnknownNameError
from holisafe.images import open_image
from holisafe.records import ImageRef, Sample
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
        """Order included: a run that goes on where it was interrupted counts on it."""
        assert self._samples() == self._samples(), f"{self.name} differs from one load to the next"

    def test_every_sample_asks_about_an_image(self) -> None:
        """One or more images, a query that is not blank."""
        _none(s.id for s in self._samples() if not s.images or not s.query.strip())

    def test_every_image_can_be_opened(self) -> None:
        """By the one door, within its limits."""
        seen: set[ImageRef] = set()
        for sample in self._samples():
            for ref in sample.images:
                if ref not in seen:
                    seen.add(ref)
                    open_image(ref)

    def test_one_key_names_one_image(self) -> None:
        """Image reuse relies on the key."""
        by_key: dict[str, set[ImageRef]] = defaultdict(set)
        for sample in self._samples():
            for ref in sample.images:
                by_key[ref.key].add(ref)
        _none(key for key, refs in by_key.items() if len(refs) > 1)

    def test_image_labels_agree_with_the_combination(self) -> None:
        """None, or one per image; all safe exactly where the combination says the image is safe."""
        _none(s.id for s in self._samples() if s.image_labels and not _labels_agree(s))

    def test_samples_that_share_an_image_share_a_cluster(self) -> None:
        """Intervals resample clusters: two of them with one image would not be independent."""
        clusters: dict[str, set[str]] = defaultdict(set)
        for sample in self._samples():
            for ref in sample.images:
                clusters[ref.key].add(sample.cluster)
        _none(key for key, names in clusters.items() if len(names) > 1)

    def test_twins_name_each_other_and_differ_in_what_is_right(self) -> None:
        """Both members are in the same split; one wants an answer, the other a refusal."""
        by_id = {sample.id: sample for sample in self._samples()}
        _none(s.id for s in by_id.values() if s.twin is not None and not _is_twin_of(s, by_id.get(s.twin)))

    def test_an_unknown_split_is_refused(self) -> None:
        """Rather than giving everything, or nothing."""
        found = find(self.name)
        if found is None or not found.splits:
            return
        try:
            load(self.name, "no-such-split")
        except UnknownNameError:
            return
        raise AssertionError(f"{self.name} gave samples of a split that it does not have")

    def _samples(self) -> list[Sample]:
        return load(self.name, self.split)


def _labels_agree(sample: Sample) -> bool:
    all_safe = all(label is GuardLabel.SAFE for label in sample.image_labels)
    return len(sample.image_labels) == len(sample.images) and all_safe is sample.required_combination.image_is_safe


def _is_twin_of(sample: Sample, other: Sample | None) -> bool:
    return (
        other is not None
        and other.twin == sample.id
        and other.is_safe is not sample.is_safe
        and (other.query == sample.query or other.images == sample.images)
    )


def _none(offenders: Iterable[str]) -> None:
    """Fail with the first few offenders."""
    found = list(offenders)
    assert not found, f"{len(found)} offend, such as: {'; '.join(found[:5])}"
