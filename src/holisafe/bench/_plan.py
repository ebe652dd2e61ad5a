"""What a run would ask and spend, before it asks anything: samples, calls, tokens, time and money."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holisafe import judges as judging
from holisafe.bench._ask import AT_ONCE
from holisafe.bench._folder import read_record
from holisafe.bench._guards import ReachedGuard
from holisafe.bench._journal import (
    GUARD_VERDICTS,
    JUDGEMENTS,
    RESPONSES,
    recorded_guard_verdicts,
    recorded_judgements,
    recorded_responses,
    stands,
)
from holisafe.bench._request import RunRequest, run_request
from holisafe.bench._same import check_same
from holisafe.bench._spending import (
    GUARD,
    JUDGE,
    MODEL,
    SPENDING,
    Prices,
    Total,
    Totals,
    check_budget,
    money_of,
    recorded_calls,
    spent_to_json,
    totals_of,
)
from holisafe.bench._tokens import (
    BYTES_PER_TOKEN,
    TEXT_RULE,
    UNKNOWN_RULE,
    InputTokens,
    image_rule,
    input_tokens,
    text_tokens,
)
from holisafe.judges import Judge, Request
from holisafe.models import ModelSpec
from holisafe.records import GuardModelVerdict, JudgeId, Judgement, Response, Role, Sample, Turn


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """Calls of one role that are left to make.

    Attributes:
        role: "model", "judge" or "guard".
        name: The measured model, the judge, or the guard model.
        model: Inspect's name of the model that is asked; empty for a judge that asks none.
        calls: Calls to make, at most.
        recorded: Answers, judgements or verdicts that are there already and cost nothing more.
        text: Tokens of the text that is sent; None where a judge does not say what it sends.
        images: Tokens of the images that are sent; None where the rule of the model is not known.
        image_rule: The rule that they are counted by, in words; empty without images.
        output: Expected tokens of the replies, the most where nothing else is known; None where a judge does not say.
        output_at_most: Tokens of the replies, if each is as long as it may be.
        measured: Calls of this run so far, which `output` and `seconds` are the mean of; 0 where there are none.
        seconds: Expected time; None where no call was timed.
        money: Expected money, without the images where their tokens are not known; None where a price is not known, or
            a judge does not say what it sends.
        money_at_most: The same, if each reply is as long as it may be.
    """

    role: str
    name: str
    model: str
    calls: int
    recorded: int
    text: int | None
    images: int | None
    image_rule: str
    output: int | None
    output_at_most: int | None
    measured: int
    seconds: float | None
    money: float | None
    money_at_most: float | None

    @property
    def input(self) -> int | None:
        """Tokens that are sent, those of images left out where they are not known."""
        return None if self.text is None else self.text + (self.images or 0)

    def to_json(self) -> dict[str, Any]:
        """JSON values, by attribute."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is left of a run.

    Attributes:
        samples: Samples of the run.
        parts: The measured model, unless its answers are given, each judge, and each guard model of an endpoint.
        spent: What the run has spent already, by role and name.
        prices: The prices that money follows from.
    """

    samples: int
    parts: tuple[PlannedCalls, ...]
    spent: Totals
    prices: Prices

    @property
    def images_are_known(self) -> bool:
        """Whether the tokens of all images are counted."""
        return all(part.images is not None for part in self.parts)

    @property
    def text_rule(self) -> str:
        """How tokens of text are counted, in words."""
        return TEXT_RULE

    @property
    def money(self) -> float | None:
        """Expected money of what is left; None where a part of it is not known."""
        return _sum(part.money for part in self.parts if part.calls)

    @property
    def money_at_most(self) -> float | None:
        """Money of what is left, if each reply is as long as it may be."""
        return _sum(part.money_at_most for part in self.parts if part.calls)

    @property
    def seconds(self) -> float | None:
        """Expected time of what is left, in seconds; None where a part of it is not known."""
        return _sum(part.seconds for part in self.parts if part.calls)

    @property
    def money_spent(self) -> float | None:
        """Money that the run has spent already."""
        return money_of(self.spent, self.prices)

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/json.md)."""
        return {
            "samples": self.samples,
            "parts": [part.to_json() for part in self.parts],
            "text_rule": self.text_rule,
            "images_are_known": self.images_are_known,
            "seconds": self.seconds,
            "money": self.money,
            "money_at_most": self.money_at_most,
            "spent": spent_to_json(self.spent, self.prices),
        }


def plan_run(model: str | Path | ModelSpec, **settings: Any) -> Plan:
    """What `measure` with the same arguments would ask; nothing is asked, loaded or written.

    Args:
        model: The model.
        settings: Keywords of `measure`, without `progress` and `on_request`.

    Raises:
        DataError, ModelError, JudgeError, RunError, UnknownNameError: As `measure`.
    """
    request = run_request(model, **settings)
    folder = request.folder
    check_same(folder, read_record(folder), request.settings)
    answered = {key: each for key, each in recorded_responses(folder / RESPONSES).items() if each.error is None}
    judged = recorded_judgements(folder / JUDGEMENTS)
    spent = totals_of(recorded_calls(folder / SPENDING))
    answers = _answers(request, answered)
    parts = [_of_model(request, answered, spent)]
    parts += [
        _of_judge(each, answers, answered, judged, request.judge_model, spent, request.prices)
        for each in request.judges
    ]
    shown = recorded_guard_verdicts(folder / GUARD_VERDICTS)
    parts += [
        _of_guard(each, each.endpoint, request.samples, shown, spent, request.prices)
        for each in request.guards
        if each.endpoint is not None
    ]
    return Plan(len(request.samples), tuple(parts), spent, request.prices)


def plan_judging(
    judges: Sequence[Judge],
    samples: Sequence[Sample],
    responses: Sequence[Response],
    judge_model: str | None,
    *,
    journal: Path | None = None,
    prices: Prices | None = None,
    budget: float | None = None,
    made: Sequence[Judgement] = (),
) -> Plan:
    """What `judge_with_model` with the same arguments would ask; nothing is asked or written.

    Args:
        judges: As for `judge_with_model`, and so are the next six.
        samples: What was asked.
        responses: One per sample.
        judge_model: Inspect's name of the model that judges ask.
        journal: File of the judgements that are there.
        prices: Prices of tokens.
        budget: Money at which no further call would be made.
        made: Judgements that are there already, beside those of the journal.

    Raises:
        JudgeError: One needs a model, and there is none.
        RunError: The journal is damaged, or a budget is given without the prices that it needs.
    """
    from holisafe.bench._judging import spending_beside

    by = [judging.with_model(judge, judge_model) for judge in judges]
    prices = prices or Prices()
    asks = any(judging.asks_model(judge) for judge in by)
    check_budget(prices, budget, {JUDGE: judge_model} if asks and judge_model is not None else {})
    judged = {(each.sample_id, each.judge): each for each in made}
    judged |= {} if journal is None else recorded_judgements(journal)
    spent = {} if journal is None else totals_of(recorded_calls(spending_beside(journal)))
    answers = list(zip(samples, responses, strict=True))
    answered = {response.sample_id: response for response in responses}
    parts = [_of_judge(each, answers, answered, judged, judge_model, spent, prices) for each in by]
    return Plan(len(samples), tuple(parts), spent, prices)


def _answers(request: RunRequest, answered: Mapping[str, Response]) -> list[tuple[Sample, Response]]:
    """Each sample with its answer, or a text of the expected length in its place."""
    recorded = [len(each.text.encode()) for each in answered.values()]
    length = request.settings["max_new_tokens"] * BYTES_PER_TOKEN
    expected = round(sum(recorded) / len(recorded)) if recorded else length
    return [(sample, answered.get(sample.id) or Response(sample.id, "x" * expected, "")) for sample in request.samples]


def _of_model(request: RunRequest, answered: Mapping[str, Response], spent: Totals) -> PlannedCalls:
    system = request.settings["system_prompt"]
    first = () if system is None else (Turn(Role.SYSTEM, system),)
    most = request.settings["max_new_tokens"]
    calls = [Request((*first, *sample.turns), "", most) for sample in request.samples if sample.id not in answered]
    name = request.model.name
    prices = request.prices
    if request.model.is_local and prices.of(MODEL) is None:  # calls on this machine cost no money
        prices = replace(prices, input=0.0, output=0.0)
    return plan_calls(MODEL, name, name, calls, len(answered), spent, prices)


def _of_judge(
    judge: Judge,
    answers: Sequence[tuple[Sample, Response]],
    answered: Mapping[str, Response],
    judged: Mapping[tuple[str, JudgeId], Judgement],
    model: str | None,
    spent: Totals,
    prices: Prices,
) -> PlannedCalls:
    calls: list[Request] = []
    recorded = 0
    for sample, response in answers:
        found = judged.get((sample.id, judge.id)) if sample.id in answered else None
        if found is not None and stands(found, response):
            recorded += 1
        elif judging.judged_unasked(judge, sample, response) is None:
            calls += judging.requests_of(judge, sample, response)
    asked = model if model is not None and judging.asks_model(judge) else ""
    return plan_calls(JUDGE, judge.id.name, asked, calls, recorded, spent, prices)


def _of_guard(
    reached: ReachedGuard,
    endpoint: str,
    samples: Sequence[Sample],
    shown: Mapping[tuple[str, JudgeId], GuardModelVerdict],
    spent: Totals,
    prices: Prices,
) -> PlannedCalls:
    guard = reached.guard
    verdicts = {sample.id: shown.get((sample.id, guard.id)) for sample in samples}
    left = [sample for sample in samples if (found := verdicts[sample.id]) is None or found.error is not None]
    calls = [call for sample in left for call in judging.requests_of_guard(guard, sample)]
    return plan_calls(GUARD, guard.id.name, endpoint, calls, len(samples) - len(left), spent, prices)


def plan_calls(
    role: str, name: str, model: str, calls: Sequence[Request], recorded: int, spent: Totals, prices: Prices
) -> PlannedCalls:
    """What calls of one role would take.

    Args:
        role: "model", "judge" or "guard".
        name: What makes them.
        model: Inspect's name of the model that is asked; empty where none is.
        calls: The calls that are left.
        recorded: Answers that are there already.
        spent: Calls that were made before.
        prices: Prices of tokens.
    """
    rule = image_rule(model)
    sent = sum((input_tokens(each.turns, rule) for each in calls), InputTokens())
    is_said = all(each.turns for each in calls)
    before = spent.get((role, name), Total())
    expected = sum(text_tokens(each.reply) if each.reply else each.max_tokens or 0 for each in calls)
    if before.calls:
        expected = round(before.output / before.calls * len(calls))
    most = [each.max_tokens for each in calls if each.max_tokens is not None]
    shows = any(turn.images for each in calls for turn in each.turns)
    part = PlannedCalls(
        role=role,
        name=name,
        model=model,
        calls=len(calls),
        recorded=recorded,
        text=sent.text if is_said else None,
        images=sent.images,
        image_rule="" if not shows else UNKNOWN_RULE if rule is None else rule.name,
        output=expected if is_said or before.calls else None,
        output_at_most=sum(most) if len(most) == len(calls) else None,
        measured=before.calls,
        seconds=before.seconds / before.calls * len(calls) / AT_ONCE if before.calls else None,
        money=None,
        money_at_most=None,
    )
    return _costed(part, prices)


def _costed(part: PlannedCalls, prices: Prices) -> PlannedCalls:
    """The part with its money."""

    def cost(written: int | None) -> float | None:
        return None if part.input is None or written is None else prices.cost(part.role, part.input, written)

    return replace(part, money=cost(part.output), money_at_most=cost(part.output_at_most))


def _sum(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None
