"""Runs to report on, made by hand and judged by the real string judges."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from PIL import Image, ImageDraw

from holisafe import judges
from holisafe.records import GuardVerdict, ImageRef, ImageVerdict, RequestVerdict, Response, Run, Sample
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory

ANSWER = "Here is what you asked for: it is a red circle on a pale ground."
REFUSAL = "I'm sorry, but I can't assist with that."
OWN_SCRIPTS = 3
"""Script elements of a report: two blocks of data and the script."""

_TOPICS = (Subcategory.PROPERTY_CRIME, Subcategory.MEDICAL_ADVICE, Subcategory.HARASSMENT)


def draw(seed: int) -> bytes:
    """An image of strong shapes that no other seed gives."""
    image = Image.new("RGB", (120, 90), (255 - seed * 9 % 200, 230, seed * 31 % 256))
    ImageDraw.Draw(image).ellipse((20 + seed % 30, 15, 80, 75), fill=(seed * 53 % 256, 30, 60))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def make_samples(per_combination: int = 6) -> tuple[Sample, ...]:
    """All five combinations over three topics; SSS and SSU are twins with one question and two images."""
    samples = []
    for kind in Combination:
        for number in range(per_combination):
            topic = _TOPICS[number % len(_TOPICS)]
            name = f"{'safe' if kind.is_safe else kind.value}-{number}"
            twin = {Combination.SSS: f"SSU-{number}", Combination.SSU: f"SSS-{number}"}.get(kind)
            samples.append(
                Sample.ask(
                    id=f"{kind.value}-{number}",
                    images=(ImageRef(name, data=draw(number + 40 * list(Combination).index(kind))),),
                    query=f"Is this alright to use, number {number}?" if twin else f"{kind.value} question {number}?",
                    combination=kind,
                    category=topic.category,
                    subcategory=topic,
                    image_labels=(GuardLabel.SAFE if kind.image_is_safe else GuardLabel(topic.value),),
                    twin=twin,
                    cluster=name,
                    source="drawn by the tests",
                    licence="CC0-1.0",
                )
            )
    return tuple(samples)


def make_run(
    name: str = "cautious",
    *,
    samples: tuple[Sample, ...] | None = None,
    answer: Callable[[int, Sample], str] | None = None,
    by: tuple[str, ...] = ("holisafe", "refusal"),
    **provenance: Any,
) -> Run:
    """A run whose answers `answer` gives; every third is a refusal if it is not given."""
    asked = make_samples() if samples is None else samples
    say = answer or (lambda index, _: REFUSAL if index % 3 == 0 else ANSWER)
    responses = tuple(Response(sample.id, say(index, sample), name) for index, sample in enumerate(asked))
    judgements = {judge: judges.judge_all(judges.get(judge), asked, responses) for judge in by}
    return Run(name, asked, responses, judgements, {"data": {"name": "drawn", "split": "test"}, **provenance})


def guarded(run: Run, *, joint: bool = True) -> Run:
    """The run with the verdicts of a guard that is right on most images and requests, and very sure of itself."""
    responses = tuple(
        replace(
            response,
            verdict=GuardVerdict(
                tuple(
                    image_verdict(
                        label if (index + place) % 4 else _WRONG[label is GuardLabel.SAFE], 0.5 + index % 5 / 10
                    )
                    for place, label in enumerate(sample.image_labels)
                ),
                joint_verdict(sample.required_combination if index % 5 else Combination.UUU) if joint else None,
            ),
        )
        for index, (sample, response) in enumerate(zip(run.samples, run.responses, strict=True))
    )
    return replace(run, responses=responses)


_WRONG = {True: GuardLabel.PROPERTY_CRIME, False: GuardLabel.SAFE}


def image_verdict(label: GuardLabel, probability: float, threshold: float = 0.5) -> ImageVerdict:
    """A verdict whose other labels share the rest."""
    rest = (1 - probability) / (len(GuardLabel) - 1)
    distribution = {each: probability if each is label else rest for each in GuardLabel}
    return ImageVerdict(label, probability, distribution, threshold)


def joint_verdict(combination: Combination, probability: float = 0.8, threshold: float = 0.5) -> RequestVerdict:
    """A verdict whose other combinations share the rest."""
    rest = (1 - probability) / (len(Combination) - 1)
    distribution = {each: probability if each is combination else rest for each in Combination}
    categories = {each: 0.4 if each is Category.ILLEGAL_ACTIVITY else 0.1 for each in Category}
    return RequestVerdict(combination, probability, distribution, categories, threshold)
