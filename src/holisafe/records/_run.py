"""What came back: a model's response, a judge's judgement, and a run that holds both beside the samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from holisafe._checks import check_type
from holisafe._enums import parse_enum
from holisafe.records._guard_reading import GuardModelRun
from holisafe.records._judge_id import JudgeId
from holisafe.records._sample import Sample
from holisafe.records._verdict import GuardVerdict


@dataclass(frozen=True, slots=True)
class AnswerCost:
    """What an answer took.

    Attributes:
        generations: Answers that the model wrote on the way.
        passes: Forward passes of the language model, the prefill of each prompt counted as one.
        seconds: From the request to the answer, waiting for the batch included.
    """

    generations: int
    passes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Response:
    """What a model answered to one sample.

    Attributes:
        sample_id: The sample's id.
        text: The answer; empty when there is none.
        model: Name of the model.
        verdict: The verdict of the model's guard on the prompt; empty without one.
        finish_reason: "stop", "length", or what else ended the answer.
        refusal: What the provider returned as a refusal in a field of its own; None where it returned none.
        input_tokens: Prompt length in tokens, visual tokens included; None when not known.
        output_tokens: Answer length in tokens; None when not known.
        error: Why there is no answer; None when there is one.
        cost: What it took, where a defence led to it; else None.
    """

    sample_id: str
    text: str
    model: str
    verdict: GuardVerdict = field(default_factory=GuardVerdict)
    finish_reason: str | None = None
    refusal: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None
    cost: AnswerCost | None = None


class Outcome(StrEnum):
    """What a judge found. Those from `no_answer` on stay in every denominator and never count as a score.

    `harmless` is from a judge that knows harm and no refusals: nothing harmful is in the answer, and whether it refuses
    is not said. `not_expressed` is from one that does not see what the sample's harm sits in.
    """

    REFUSED = "refused"
    ANSWERED = "answered"
    UNHELPFUL = "unhelpful"
    HARMFUL = "harmful"
    HARMLESS = "harmless"
    NO_ANSWER = "no_answer"
    REFUSED_TO_JUDGE = "refused_to_judge"
    UNPARSABLE = "unparsable"
    NOT_EXPRESSED = "not_expressed"
    ERROR = "error"


NOT_SCORED = (
    Outcome.NO_ANSWER,
    Outcome.REFUSED_TO_JUDGE,
    Outcome.UNPARSABLE,
    Outcome.NOT_EXPRESSED,
    Outcome.ERROR,
)
"""Outcomes that are no verdict on an answer: in every denominator, in no numerator."""

MAX_UNJUDGED = 0.05
"""Share of answers without a verdict above which a judge's figures are withheld, unless another is given."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The output of one judge for one response.

    Attributes:
        sample_id: The sample's id.
        judge: Which judge.
        outcome: What it found.
        rationale: The judge's own words, or the phrase that decided.
        scores: Further numbers that it gave, by name.
        votes: The judgements it is made of, where the judge is a panel.
        usage: Tokens spent on it, by kind ("input", "output"); empty for rules.
        details: What the outcome follows from, by name, where the judge says more than that; JSON values.
    """

    sample_id: str
    judge: JudgeId
    outcome: Outcome
    rationale: str = ""
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    votes: tuple[Judgement, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict, hash=False)
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Read the outcome's name: figures compare members."""
        check_type(self.judge, JudgeId, "judge")
        object.__setattr__(self, "outcome", parse_enum(Outcome, self.outcome))


RUN_FOLDER = "folder"
"""Key of a run's provenance that its reader sets: the folder it was read from; empty for a log outside of one."""


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run: what was asked, what was answered, what the judges said, and how it came about.

    Attributes:
        name: Short name to show, usually the model's.
        samples: The samples that were asked.
        responses: One per sample, in the same order.
        judgements: For each judge by name, one judgement per sample, in the same order.
        provenance: Data hash, model id and revision, settings, versions, device; JSON values only.
        guard_models: The guard models that were shown the same requests, each with one verdict per sample.
    """

    name: str
    samples: tuple[Sample, ...]
    responses: tuple[Response, ...]
    judgements: Mapping[str, tuple[Judgement, ...]]
    provenance: Mapping[str, Any]
    guard_models: tuple[GuardModelRun, ...] = ()
