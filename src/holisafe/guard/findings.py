"""What a guard said on a measured run: what its flags meet, and what each policy would have changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from holisafe._checks import check_type
from holisafe._enums import parse_enum
from holisafe.guard.image_quality import ImageQuality, image_quality
from holisafe.guard.policy import DecideBy, Decision, Policy, apply, decide
from holisafe.metrics import Comparison, Summary, compare, summarise
from holisafe.metrics import figures as rates
from holisafe.records import NOT_SCORED, Behaviour, Outcome, Response, Run
from holisafe.taxonomy import Combination, GuardLabel


@dataclass(frozen=True, slots=True)
class FlagTable:
    """How many requests were flagged or not, and refused or answered, as one judge sees it.

    Attributes:
        refused: Refused by the model.
        answered: Not refused, whatever became of it.
        not_scored: Without an answer or an outcome (`no_answer`, `unparsable`, `error`).
    """

    refused: int = 0
    answered: int = 0
    not_scored: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.refused + self.answered + self.not_scored

    def to_json(self) -> dict[str, int]:
        """`{refused, answered, not_scored}`."""
        return {"refused": self.refused, "answered": self.answered, "not_scored": self.not_scored}


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """The figures that a run would have had under a policy.

    Attributes:
        policy: What a flag leads to.
        decide_by: Which verdict flags; None for `observe`, which goes by none.
        flagged_safe: Flagged samples that are to be answered.
        flagged_unsafe: Flagged samples that are to be refused.
        summary: The judge's figures; what the policy refuses counts as refused, a note leaves an outcome as it was.
        versus_observe: These figures minus those measured; None where the policy changes no outcome.
    """

    policy: Policy
    decide_by: DecideBy | None
    flagged_safe: int
    flagged_unsafe: int
    summary: Summary
    versus_observe: Comparison | None


@dataclass(frozen=True, slots=True)
class GuardFindings:
    """What a guard's verdicts on a run come to.

    Attributes:
        decided_by: Verdicts that the run has to decide by; EITHER where it has both kinds.
        without: For each, the samples that have no such verdict; they count as not flagged.
        flag_tables: By judge and deciding verdict, a count for each (whether the sample is to be answered, whether it
            is flagged).
        policies: By judge: `observe`, then the other policies by each deciding verdict.
        images: How good the image verdicts are; None where no image's label is known.
    """

    decided_by: tuple[DecideBy, ...]
    without: Mapping[DecideBy, int]
    flag_tables: Mapping[tuple[str, DecideBy], Mapping[tuple[bool, bool], FlagTable]]
    policies: Mapping[str, tuple[PolicyFigures, ...]]
    images: ImageQuality | None

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/json.md)."""
        return {
            "without_verdict": {by.value: count for by, count in self.without.items()},
            "answers": {
                judge: {by.value: _flags_to_json(self.flag_tables[judge, by]) for by in self.decided_by}
                for judge in self.policies
            },
            "policies": {judge: [_figures_to_json(each) for each in found] for judge, found in self.policies.items()},
            "images": None if self.images is None else self.images.to_json(),
        }


def what_if(run: Run, policy: Policy | str, decide_by: DecideBy | str = DecideBy.REQUEST) -> Run:
    """The run as it would have been under a policy, without asking the model or a judge again.

    A request that the policy refuses gets the refusal in place of its answer, and the outcome `refused` from every
    judge. A note is put before the answer and leaves the outcome as it was: it decides nothing, and the answer is
    still given. What ended in an error has no verdict and stays an error.

    Args:
        run: A run whose responses have verdicts.
        policy: What a flag leads to.
        decide_by: Which verdict flags.

    Raises:
        UnknownNameError: The policy or `decide_by` is unknown.
        GuardError: A verdict holds no probability of safe.
    """
    check_type(run, Run, "run")
    policy, decide_by = parse_enum(Policy, policy), parse_enum(DecideBy, decide_by)
    decisions = {response.sample_id: _decision(response, policy, decide_by) for response in run.responses}
    responses = tuple(
        replace(response, text=apply(decisions[response.sample_id], response.text)) for response in run.responses
    )
    refused = {
        name: decision.text
        for name, decision in decisions.items()
        if decision.flagged and decision.policy is Policy.REFUSE
    }
    verdicts = {
        judge: tuple(
            replace(verdict, outcome=Outcome.REFUSED, rationale=refused[verdict.sample_id])
            if verdict.sample_id in refused
            else verdict
            for verdict in found
        )
        for judge, found in run.judgements.items()
    }
    return replace(run, responses=responses, judgements=verdicts)


def guard_findings(run: Run) -> GuardFindings | None:
    """What the guard's verdicts on a judged run come to; None where it has none to go by."""
    check_type(run, Run, "run")
    decided_by = tuple(by for by in DecideBy if _can_decide(run, by))
    if not decided_by:
        return None
    return GuardFindings(
        decided_by=decided_by,
        without={by: sum(not _has(response, by) for response in run.responses) for by in decided_by},
        flag_tables={(judge, by): _flag_table(run, judge, by) for judge in run.judgements for by in decided_by},
        policies={judge: _policies(run, judge, decided_by) for judge in run.judgements},
        images=image_quality(run) if DecideBy.IMAGE in decided_by else None,
    )


def _has(response: Response, by: DecideBy) -> bool:
    has_image, has_request = bool(response.verdict.images), response.verdict.request is not None
    return {DecideBy.IMAGE: has_image, DecideBy.REQUEST: has_request, DecideBy.EITHER: has_image or has_request}[by]


def _can_decide(run: Run, by: DecideBy) -> bool:
    """Whether there are verdicts of the kind; those of a guard that knows no "safe" decide nothing."""
    if by is DecideBy.EITHER:
        return _can_decide(run, DecideBy.IMAGE) and _can_decide(run, DecideBy.REQUEST)
    if by is DecideBy.REQUEST:
        requests = [response.verdict.request for response in run.responses if response.verdict.request is not None]
        return bool(requests) and all(Combination.SSS in verdict.distribution for verdict in requests)
    images = [verdict for response in run.responses for verdict in response.verdict.images]
    return bool(images) and all(GuardLabel.SAFE in verdict.distribution for verdict in images)


def _decision(response: Response, policy: Policy, by: DecideBy) -> Decision:
    return decide(policy, response.verdict.images, response.verdict.request, by)


def _flagged(run: Run, by: DecideBy) -> set[str]:
    """Ids of the samples that are flagged."""
    return {each.sample_id for each in run.responses if _decision(each, Policy.OBSERVE, by).flagged}


def _flag_table(run: Run, judge: str, by: DecideBy) -> dict[tuple[bool, bool], FlagTable]:
    flagged = _flagged(run, by)
    outcomes = {verdict.sample_id: verdict.outcome for verdict in run.judgements[judge]}
    counts = {(safe, flag): dict.fromkeys(_SIDES, 0) for safe in (True, False) for flag in (True, False)}
    for sample in run.samples:
        if sample.expected is None:
            continue
        cell = counts[sample.is_safe, sample.id in flagged]
        cell[next(side for side, found in _SIDES.items() if outcomes[sample.id] in found)] += 1
    return {key: FlagTable(**cell) for key, cell in counts.items()}


_SIDES: Mapping[str, frozenset[Outcome]] = {
    "refused": frozenset({Outcome.REFUSED}),
    "answered": frozenset({Outcome.ANSWERED, Outcome.UNHELPFUL, Outcome.HARMFUL, Outcome.HARMLESS}),
    "not_scored": frozenset(NOT_SCORED),
}


def _policies(run: Run, judge: str, decided_by: tuple[DecideBy, ...]) -> tuple[PolicyFigures, ...]:
    measured = summarise(run.samples, run.judgements[judge])
    found = [PolicyFigures(Policy.OBSERVE, None, 0, 0, measured, None)]
    for by in decided_by:
        flagged = _flagged(run, by)
        expected = [sample.expected for sample in run.samples if sample.id in flagged]
        counts = (expected.count(Behaviour.ANSWER), expected.count(Behaviour.REFUSE))
        refused = what_if(run, Policy.REFUSE, by).judgements[judge]
        found += [
            PolicyFigures(Policy.WARN, by, *counts, measured, None),
            PolicyFigures(
                Policy.REFUSE,
                by,
                *counts,
                summarise(run.samples, refused),
                compare(run.samples, run.judgements[judge], refused),
            ),
        ]
    return tuple(found)


def _flags_to_json(cells: Mapping[tuple[bool, bool], FlagTable]) -> dict[str, dict[str, dict[str, int]]]:
    return {
        kind: {"flagged": cells[safe, True].to_json(), "not_flagged": cells[safe, False].to_json()}
        for kind, safe in (("sss", True), ("unsafe", False))
    }


def _figures_to_json(figures: PolicyFigures) -> dict[str, Any]:
    return {
        "policy": figures.policy.value,
        "decide_by": figures.decide_by.value if figures.decide_by else None,
        "flagged": {"sss": figures.flagged_safe, "unsafe": figures.flagged_unsafe},
        **{name: figure.to_json() if figure else None for name, figure in rates(figures.summary).items()},
        "versus_observe": figures.versus_observe.to_json() if figures.versus_observe else None,
    }
