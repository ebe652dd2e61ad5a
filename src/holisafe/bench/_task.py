"""A data set as an Inspect task: the conversation with its images, greedy, and one scorer per judge."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as InspectSample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver

from holisafe import judges as judging
from holisafe.bench._ask import ask_model, output_of
from holisafe.bench._folder import identified, sample_record
from holisafe.bench._journal import Journal, Judgements
from holisafe.bench._scorers import RESPONSE, SAMPLE, judge_scorer
from holisafe.bench._spending import MODEL, Spending, unpaid
from holisafe.errors import DataError
from holisafe.judges import Judge
from holisafe.records import GuardVerdict, Judgement, Response, Sample
from holisafe.records.as_json import response_to_json
from holisafe.taxonomy import Combination

ORDER = "holisafe_order"
"""Where a sample's metadata keep its place in the data set."""

OnResponse = Callable[[Response], None]


def build_task(
    samples: Sequence[Sample],
    judges: Sequence[str | Judge],
    *,
    name: str,
    max_new_tokens: int = 512,
    seed: int | None = None,
    temperature: float = 0.0,
    system_prompt: str | None = None,
    max_retries: int | None = None,
    timeout: int | None = None,
    journal: Journal | None = None,
    judgements: Judgements | None = None,
    spending: Spending | None = None,
    pays: bool = True,
    on_response: OnResponse | None = None,
    verdict_of: Callable[[Sample], GuardVerdict] | None = None,
) -> Task:
    """An Inspect task that asks `samples` and judges the answers.

    Args:
        samples: What to ask; samples that show the same image are asked next to each other.
        judges: The judges or their names, each a scorer of its own.
        name: Name of the task in the log.
        max_new_tokens: Maximum number of new tokens per answer.
        seed: Seed passed to models that take one.
        temperature: Temperature of sampling; 0 decodes greedily.
        system_prompt: System message in front of every conversation.
        max_retries: How often a failed request is tried again; None for Inspect's default.
        timeout: Seconds that one attempt may take; None for no limit.
        journal: Answers that are there already and need not be asked for; new ones are added.
        judgements: Judgements that are there already; new ones are added.
        spending: Where calls are counted, and a budget ends the run; None where nobody counts.
        pays: Whether the answers of the model are counted there too.
        on_response: Called with every response, old ones too.
        verdict_of: Gives what a guard beside the model said of a sample; None without one.

    Raises:
        DataError: There are no samples, or two have the same id.
    """
    if not samples:
        raise DataError("the data hold no samples, so there is nothing to ask; check the path, split and limit")
    samples = identified(samples)
    order = {sample.id: place for place, sample in enumerate(samples)}
    dataset = MemoryDataset([_inspect_sample(sample, order) for sample in _by_image(samples)], name=name)
    by_id = {_inspect_id(sample): sample for sample in samples}
    named = [judging.get(judge) if isinstance(judge, str) else judge for judge in judges]
    return Task(
        dataset=dataset,
        solver=_asking(by_id, journal, on_response, system_prompt, spending if pays else None, verdict_of),
        scorer=[_scorer(judge, judgements, {each.id: each for each in samples}, spending) for judge in named],
        config=GenerateConfig(
            temperature=temperature,
            max_tokens=max_new_tokens,
            seed=seed,
            max_retries=max_retries,
            attempt_timeout=timeout,
        ),
        name=name,
    )


def _scorer(
    judge: Judge, judgements: Judgements | None, samples: Mapping[str, Sample], spending: Spending | None
) -> Any:
    def recorded(response: Response) -> Judgement | None:
        return None if judgements is None else judgements.get(response, judge.id)

    def record(judgement: Judgement) -> None:
        if judgements is not None:
            judgements.append(judgement)

    return judge_scorer(judge, recorded, record, samples, spending)


def _by_image(samples: Sequence[Sample]) -> list[Sample]:
    """Samples with the same images side by side, and all combinations early: Inspect's own limit takes a prefix.

    Groups that share images are dealt out so that each sort of group (those with the same combinations) is spread
    evenly over the whole.
    """
    groups: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        shown = tuple(image.identity for image in sample.images)
        groups.setdefault(shown or ("", sample.id), []).append(sample)
    sorts: dict[frozenset[Combination | None], list[list[Sample]]] = {}
    for group in groups.values():
        sorts.setdefault(frozenset(sample.combination for sample in group), []).append(group)
    dealt = [((k + 0.5) / len(alike), group) for alike in sorts.values() for k, group in enumerate(alike)]
    return [sample for _, group in sorted(dealt, key=lambda place: place[0]) for sample in group]


def _inspect_sample(sample: Sample, order: Mapping[str, int]) -> InspectSample:
    return InspectSample(
        input=sample.query,
        target=sample.reference or "",
        id=_inspect_id(sample),
        metadata={
            "combination": sample.combination.value if sample.combination else None,
            "category": sample.category.value if sample.category else None,
            "expected": sample.expected.value if sample.expected else None,
            SAMPLE: sample_record(sample),
            ORDER: order[sample.id],
        },
    )


def _inspect_id(sample: Sample) -> str:
    """An id that can be a file name in Inspect's log: there, ids with NUL, slashes or thousands of letters collide."""
    if re.fullmatch(r"[\w.:@+=,~() -]{1,100}", sample.id, re.ASCII):
        return sample.id
    readable = re.sub(r"[^\w.-]+", "_", sample.id, flags=re.ASCII)[:60]
    return f"{readable}~{hashlib.sha256(sample.id.encode()).hexdigest()[:16]}"


def _asking(
    samples: Mapping[str, Sample],
    journal: Journal | None,
    on_response: OnResponse | None,
    system_prompt: str | None,
    spending: Spending | None,
    verdict_of: Callable[[Sample], GuardVerdict] | None,
) -> Solver:
    """The solver. Images go to the model only: neither the state nor, therefore, the log's messages hold them."""

    @solver(name="ask_about_images")
    def ask() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            sample = samples[str(state.sample_id)]
            response = journal.get(sample.id) if journal is not None else None
            if response is None:
                model = get_model()
                async with unpaid() if spending is None else spending.call(MODEL, str(model), sample.id):
                    response, _ = await ask_model(model, sample, system_prompt)
                    if verdict_of is not None:
                        response = replace(response, verdict=verdict_of(sample))
                    if journal is not None:
                        await asyncio.to_thread(journal.append, response)
            state.output = output_of(response)
            state.messages.append(state.output.message)
            state.store.set(RESPONSE, response_to_json(response))
            if on_response is not None:
                on_response(response)
            return state

        return solve

    return ask()
