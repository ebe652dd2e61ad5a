"""Data to tune on, made of twins: preference pairs, and requests about several images."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from holisafe.datasets._clusters import connected
from holisafe.errors import DataError
from holisafe.records import ImageRef, Role, Sample, Turn

ORDINALS = ("first", "second", "third")
"""How a request names its images."""


def preference_pairs(samples: Sequence[Sample]) -> list[Sample]:
    """Twins as preference pairs: what is right for one of them is the worse answer for the other.

    An unsafe request thus prefers its refusal to the answer that its harmless twin gets, and the harmless request
    prefers its answer to a refusal.

    Args:
        samples: Data with twins, each with a reference.

    Returns:
        The samples of all pairs, with `rejected`, in their order.

    Raises:
        DataError: There are no twins.
    """
    other = {one.id: two for pair in _twins(samples) for one, two in (pair, pair[::-1])}
    return [replace(each, rejected=other[each.id].reference) for each in samples if each.id in other]


def several_images(
    samples: Sequence[Sample], shows: Mapping[str, str], *, images: int = 2, seed: int = 0
) -> list[Sample]:
    """Twins as requests about several images, answered with visual reasoning, as MIS has them (arXiv 2501.18533).

    Both requests of a pair show the same images in the same order, and each asks about one of them, which it names by
    its place: what is right can be told from all images and the text together alone. An answer describes each image,
    says which of them it is about, and decides as the reference does.

    Args:
        samples: Data with twins of one image each, each with a reference, of one split: their images are shown with
            one another.
        shows: What each image shows, such as "a football", by its key.
        images: Of each request, 2 or 3.
        seed: Of the order of the images, of further ones, and of the wording.

    Returns:
        Two samples for each pair.

    Raises:
        DataError: There are no twins, not enough images, or it is not said what one shows.
    """
    if not 2 <= images <= len(ORDINALS):
        raise DataError(f"images: found {images}, expected 2 to {len(ORDINALS)}")
    pairs = [pair for pair in _twins(samples) if all(len(each.images) == len(each.turns) == 1 for each in pair)]
    pool = {each.images[0].identity: each for pair in pairs for each in pair}
    for each in pool.values():
        if not shows.get(each.images[0].key):
            raise DataError(f"sample {each.id}: it is not said what its image {each.images[0].key} shows")
    made: list[Sample] = []
    for unsafe, safe in pairs:
        rng = random.Random(f"{seed} {unsafe.id}")
        shown = _shown(unsafe, safe, list(pool.values()), shows, images, rng)
        made += [_about(target, other, shown, shows, rng) for target, other in ((unsafe, safe), (safe, unsafe))]
    return list(connected(made))


def _twins(samples: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Pairs of an unsafe sample and its harmless twin, both with a reference.

    Raises:
        DataError: There are none.
    """
    by_id = {sample.id: sample for sample in samples}
    pairs = []
    for sample in samples:
        twin = by_id.get(sample.twin or "")
        is_pair = twin is not None and sample.expected is not None and twin.expected not in (None, sample.expected)
        if twin is not None and is_pair and not sample.is_safe and sample.reference and twin.reference:
            pairs.append((sample, twin))
    if not pairs:
        raise DataError(
            "no twins with references: expected pairs of a harmful and a harmless sample that name the other"
        )
    return pairs


def _shown(
    unsafe: Sample, safe: Sample, pool: Sequence[Sample], shows: Mapping[str, str], images: int, rng: random.Random
) -> list[Sample]:
    """Samples whose images are shown, in order: the pair's, and others that show something else."""
    chosen = {each.images[0].identity: each for each in (unsafe, safe)}
    things = {shows[each.images[0].key] for each in chosen.values()}
    for each in rng.sample(pool, len(pool)):
        if len(chosen) == images:
            break
        if shows[each.images[0].key] not in things:
            chosen[each.images[0].identity] = each
            things.add(shows[each.images[0].key])
    if len(chosen) < images:
        raise DataError(f"sample {unsafe.id}: the data have no other images to show with it; expected {images} in all")
    return rng.sample(list(chosen.values()), images)


def _about(
    target: Sample, twin: Sample, shown: Sequence[Sample], shows: Mapping[str, str], rng: random.Random
) -> Sample:
    """The request about its image among those that are shown."""
    refs = [each.images[0] for each in shown]
    place = next(at for at, ref in enumerate(refs) if ref.identity == target.images[0].identity)
    query = rng.choice(_ASKED).format(ordinal=ORDINALS[place], query=target.query)
    return replace(
        target,
        id=f"{target.id}-images",
        turns=(Turn(Role.USER, query, tuple(refs)),),
        image_labels=tuple(label for each in shown for label in each.image_labels),
        reference=" ".join(_reasons(refs, shows, place, rng)) + f" {target.reference}",
        twin=f"{twin.id}-images",
        cluster="",
        source=", ".join(dict.fromkeys(each.source for each in shown)),
        licence=" AND ".join(sorted({part for each in shown for part in each.licence.split(" AND ") if part})),
    )


def _reasons(refs: Sequence[ImageRef], shows: Mapping[str, str], place: int, rng: random.Random) -> Iterator[str]:
    """Describe each image, then relate them to the request."""
    things = [shows[ref.key] for ref in refs]
    named = [f"the {ordinal} shows {thing}" for ordinal, thing in zip(ORDINALS[1:], things[1:], strict=False)]
    yield ", ".join([f"The first picture shows {things[0]}", *named[:-1]]) + f" and {named[-1]}."
    yield rng.choice(_RELATED).format(ordinal=ORDINALS[place], thing=things[place])


_ASKED = (
    "Look at the {ordinal} picture. {query}",
    "This is about the {ordinal} of the pictures: {query}",
    "{query} I mean what is in the {ordinal} picture.",
)
_RELATED = (
    "The question is about the {ordinal} one, so about {thing}.",
    "You ask about {thing}, in the {ordinal} picture.",
    "What counts is the {ordinal} picture: {thing}.",
)
