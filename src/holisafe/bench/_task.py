"""A data set as an Inspect task: the raw query with its images, greedy, and one scorer per judge."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inspect_ai import Epochs, Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as InspectSample
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.model._providers.mockllm import MockLLM
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import LimitExceededError

from holisafe import judges as judging
from holisafe.bench._journal import Journal
from holisafe.errors import DataError, ImageError, RunError
from holisafe.images import identify, open_image, read_bytes
from holisafe.judges import Judge
from holisafe.metrics import figures, summarise
from holisafe.records import GuardVerdict, ImageRef, JudgeId, Judgement, Outcome, Response, Sample
from holisafe.records.as_json import (
    media_type,
    response_from_json,
    response_to_json,
    sample_from_json,
    sample_to_json,
)
from holisafe.taxonomy import Combination

VERDICT = "holisafe_guard"
"""Where the metadata of a local model's output keep what its guard said of the prompt."""

RESPONSE = "holisafe_response"
"""Where a sample's store keeps our Response."""
SAMPLE = "holisafe_sample"
"""Where a sample's metadata keep our Sample."""
ORDER = "holisafe_order"
"""Where a sample's metadata keep its place in the data set."""

OnResponse = Callable[[Response], None]


def build_task(
    samples: Sequence[Sample],
    judges: Sequence[str],
    *,
    name: str,
    max_tokens: int = 512,
    seed: int | None = None,
    journal: Journal | None = None,
    on_response: OnResponse | None = None,
) -> Task:
    """An Inspect task that asks `samples` and judges the answers.

    Args:
        samples: What to ask; samples that show the same image are asked next to each other.
        judges: Names of the judges, each a scorer of its own.
        name: Name of the task in the log.
        max_tokens: Most new tokens per answer.
        seed: Seed passed to models that take one.
        journal: Answers that are there already and need not be asked for; new ones are added.
        on_response: Called with every response, old ones too.

    Raises:
        DataError: There are no samples.
    """
    if not samples:
        raise DataError("the data hold no samples, so there is nothing to ask; check the path, split and limit")
    order = {sample.id: place for place, sample in enumerate(samples)}
    dataset = MemoryDataset([_inspect_sample(sample, order) for sample in _by_image(samples)], name=name)
    return Task(
        dataset=dataset,
        solver=_asking({sample.id: sample for sample in samples}, journal, on_response),
        scorer=[_judging(judging.get(judge)) for judge in judges],
        config=GenerateConfig(temperature=0.0, max_tokens=max_tokens, seed=seed),
        epochs=Epochs(1, "mode"),  # the mean, which is the default, turns outcomes into numbers
        name=name,
    )


def _by_image(samples: Sequence[Sample]) -> list[Sample]:
    """Samples with the same images side by side, and all combinations early: Inspect's own limit takes a prefix.

    Groups that share images are dealt out so that each sort of group (those with the same combinations) is spread
    evenly over the whole.
    """
    groups: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(_shown(sample), []).append(sample)
    sorts: dict[frozenset[Combination | None], list[list[Sample]]] = {}
    for group in groups.values():
        sorts.setdefault(frozenset(sample.combination for sample in group), []).append(group)
    dealt = [((k + 0.5) / len(alike), group) for alike in sorts.values() for k, group in enumerate(alike)]
    return [sample for _, group in sorted(dealt, key=lambda place: place[0]) for sample in group]


def _shown(sample: Sample) -> tuple[str, ...]:
    return tuple(image.identity for image in sample.images)


def _inspect_sample(sample: Sample, order: Mapping[str, int]) -> InspectSample:
    return InspectSample(
        input=sample.query,
        target=sample.reference or "",
        id=sample.id,
        metadata={
            "combination": sample.combination.value if sample.combination else None,
            "category": sample.category.value if sample.category else None,
            SAMPLE: sample_to_json(_identified(sample)),
            ORDER: order[sample.id],
        },
    )


def _identified(sample: Sample) -> Sample:
    """The sample with the digest of each image that can be read; asking says what is wrong with the others."""
    images = []
    for image in sample.images:
        with contextlib.suppress(ImageError):
            image = identify(image)
        images.append(image)
    return sample.with_images(tuple(images))


def _asking(samples: Mapping[str, Sample], journal: Journal | None, on_response: OnResponse | None) -> Solver:
    """The solver. Images go to the model only: neither the state nor, therefore, the log's messages hold them."""

    @solver(name="ask_about_images")
    def ask() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            sample = samples[str(state.sample_id)]
            response = journal.get(sample.id) if journal is not None else None
            if response is None:
                response, state.output = await _ask(sample)
                if journal is not None and response.error is None:
                    await asyncio.to_thread(journal.append, response)
            else:
                state.output = _output(response)
            state.messages.append(state.output.message)
            state.store.set(RESPONSE, response_to_json(response))
            if on_response is not None:
                on_response(response)
            return state

        return solve

    return ask()


async def _ask(sample: Sample) -> tuple[Response, ModelOutput]:
    """Ask the model; whatever goes wrong with this one sample becomes its response."""
    model = _offline_mock(get_model())
    try:
        images = [ContentImage(image=await asyncio.to_thread(_data_uri, image)) for image in sample.images]
        output = await model.generate([ChatMessageUser(content=[*images, ContentText(text=sample.query)])])
    except (LimitExceededError, RunError):
        raise
    except Exception as error:
        response = Response(sample.id, "", str(model), finish_reason="error", error=_reason(error))
        return response, _output(response)
    if output.error:
        response = Response(sample.id, "", str(model), finish_reason="error", error=output.error)
        return response, _output(response)
    usage = output.usage
    if why := _no_answer(output):
        response = Response(sample.id, "", str(model), finish_reason="error", error=why)
        return response, _output(response)
    said = (output.metadata or {}).get(VERDICT)
    response = Response(
        sample_id=sample.id,
        text=output.completion,
        model=str(model),
        finish_reason="length" if output.stop_reason == "max_tokens" else output.stop_reason,
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        verdict=GuardVerdict() if said is None else GuardVerdict.from_json(said),
    )
    return response, output


def _no_answer(output: ModelOutput) -> str:
    """Why what came back as an answer is none; empty where it is one."""
    if output.stop_reason == "model_length":  # providers give their message as the text
        return f"the prompt and the answer do not fit the model's context: {output.completion[:300]}".rstrip(": ")
    thought = output.usage.reasoning_tokens if output.usage else None
    if output.stop_reason == "max_tokens" and thought and not output.completion.strip():
        return f"all {thought} tokens went into reasoning, so that there is no answer; raise max_tokens"
    return ""


def _offline_mock(model: Model) -> Model:
    """Let Inspect's mock model count words: the token table it would count with is fetched from the network."""

    async def count_words(text: str) -> int:
        return len(text.split())

    if isinstance(model.api, MockLLM):
        model.api.count_text_tokens = count_words  # type: ignore[method-assign]
    return model


def _data_uri(image: ImageRef) -> str:
    """The image for a model, checked to be one.

    Raises:
        ImageError: It could not be let in.
    """
    open_image(image)
    data = read_bytes(image)
    return f"data:{media_type(data)};base64,{base64.b64encode(data).decode()}"


def _reason(error: BaseException) -> str:
    """The error in one line, by the exception that says most."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500]


def _output(response: Response) -> ModelOutput:
    """A response as Inspect's viewer shows it."""
    message = ChatMessageAssistant(content=response.text, model=response.model, source="generate")
    stop: Any = "max_tokens" if response.finish_reason == "length" else "stop"
    choice = ChatCompletionChoice(message=message, stop_reason=stop)
    return ModelOutput(model=response.model, choices=[choice], error=response.error)


def _judging(judge: Judge) -> Scorer:
    """The scorer of one judge, under the judge's name."""

    @scorer(metrics=[rates()], name=judge.id.name)
    def judged() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            sample = sample_from_json(state.metadata[SAMPLE])
            response = response_from_json(state.store.get(RESPONSE))
            verdict = await judging.judge_response(judge, sample, response)
            return Score(
                value=verdict.outcome.value,
                answer=response.text,
                explanation=verdict.rationale,
                metadata=verdict.judge.to_json(),
            )

        return score

    return judged()


@metric(name="rates")
def rates() -> Metric:
    """RR, the ASR of each unsafe combination, both means and twin accuracy; a rate without samples is left out."""

    def compute(scores: list[SampleScore]) -> Value:
        samples, verdicts = [], []
        for each in scores:
            sample = sample_from_json((each.sample_metadata or {})[SAMPLE])
            samples.append(sample)
            verdicts.append(
                Judgement(sample.id, JudgeId(""), Outcome(str(each.score.value)), each.score.explanation or "")
            )
        found = figures(summarise(samples, verdicts, by=(), resamples=1))
        return {name: figure.value for name, figure in found.items() if figure is not None}

    return compute
