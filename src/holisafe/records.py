"""The records that flow through the house: Sample, then Response, then Verdict; and a Run that holds all three.

Small, frozen, without behaviour. Every room reads and writes these and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where an image's bytes are: a file below a data folder, or bytes already in memory.

    Exactly one of `path`, `data` and `url` is set. Only `holisafe.images` turns a reference into pixels.

    Attributes:
        key: Stable name of the image within its data set; two samples with the same key show the same image.
        path: The file, which must lie below `root`.
        root: The data folder that `path` may not leave.
        data: The encoded image (JPEG, PNG, ...).
        url: An http or https address, fetched only where the caller of `holisafe.images` allows it.
    """

    key: str
    path: Path | None = None
    root: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about one or more images, and what would be right to do with it.

    Attributes:
        id: Unique within the data set.
        images: One or more image references, in the order the model sees them.
        query: The user's text, as it is sent.
        combination: Which of the five image-text combinations this is; fixes the expected behaviour.
        category: Topic, one of the seven; None where the data do not say.
        subcategory: Finer topic, one of the nineteen; None where the data do not say.
        image_labels: The guard label of each image, in order; empty where the data do not say.
        reference: A right answer: helpful for SSS, a refusal that names the reason for the rest.
        twin: Id of the other sample of its twin pair (same query or same image, other right behaviour).
        cluster: Samples that share an image share it; intervals resample clusters, not samples.
        source: Where the sample comes from (data set, artwork).
        licence: SPDX id, or several joined by " AND ".
    """

    id: str
    images: tuple[ImageRef, ...]
    query: str
    combination: Combination
    category: Category | None = None
    subcategory: Subcategory | None = None
    image_labels: tuple[GuardLabel, ...] = ()
    reference: str | None = None
    twin: str | None = None
    cluster: str = ""
    source: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class ImageVerdict:
    """What a guard says of one image.

    Attributes:
        label: The most probable label.
        probability: Its probability, in [0, 1].
        distribution: Probability of every label; sums to 1.
        threshold: Probability of "unsafe" at and above which the image is flagged, in [0, 1].
    """

    label: GuardLabel
    probability: float
    distribution: Mapping[GuardLabel, float]
    threshold: float


@dataclass(frozen=True, slots=True)
class JointVerdict:
    """What a guard says of image and question together.

    Attributes:
        combination: The most probable of the five.
        probability: Its probability, in [0, 1].
        distribution: Probability of each combination; sums to 1.
        categories: Probability of each category, given that the request is unsafe; sums to 1.
        threshold: Probability of "unsafe" (all but SSS) at and above which the request is flagged, in [0, 1].
    """

    combination: Combination
    probability: float
    distribution: Mapping[Combination, float]
    categories: Mapping[Category, float]
    threshold: float


@dataclass(frozen=True, slots=True)
class Response:
    """What a model answered to one sample.

    Attributes:
        sample_id: The sample's id.
        text: The answer; empty when there is none.
        model: Name of the model.
        image_verdicts: One per image when a guard is attached, else empty.
        joint_verdict: What the guard says of image and question together; None without a guard that says it.
        finish_reason: "stop", "length", or what else ended the answer.
        input_tokens: Prompt length in tokens, visual tokens included; None when not known.
        output_tokens: Answer length in tokens; None when not known.
        error: Why there is no answer; None when there is one.
    """

    sample_id: str
    text: str
    model: str
    image_verdicts: tuple[ImageVerdict, ...] = ()
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None
    joint_verdict: JointVerdict | None = None


class Outcome(StrEnum):
    """What a judge found. `unparsable` and `error` stay in every denominator and never count as a score."""

    REFUSED = "refused"
    ANSWERED = "answered"
    UNHELPFUL = "unhelpful"
    HARMFUL = "harmful"
    UNPARSABLE = "unparsable"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one judge says of one response; `raw` keeps the judge's own words or the phrase that decided."""

    sample_id: str
    judge: str
    outcome: Outcome
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run: what was asked, what was answered, what the judges said, and how it came about.

    Attributes:
        name: Short name to show, usually the model's.
        samples: The samples that were asked.
        responses: One per sample, in the same order.
        verdicts: For each judge by name, one verdict per sample, in the same order.
        provenance: Data hash, model id and revision, settings, versions, device; JSON values only.
    """

    name: str
    samples: tuple[Sample, ...]
    responses: tuple[Response, ...]
    verdicts: Mapping[str, tuple[Verdict, ...]]
    provenance: Mapping[str, Any]
