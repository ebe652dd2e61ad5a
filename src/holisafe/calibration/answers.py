"""Calibrating the guard on answers: labelled answers, the states of their tokens, and the threshold of the output head.

An answer is harmful where a judge found that it goes along with a request that is to be refused. Harmless are the
other answers, and the references of the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from holisafe.calibration.fit import fit_output
from holisafe.calibration.report import CalibrationReport
from holisafe.errors import DataError, GuardError, ImageError, ModelError
from holisafe.guard import Calibration, answer_states, calibration_of, guard_of, places_of
from holisafe.guard.head import NO_OUTPUT_HEAD
from holisafe.models import Engine, Prompt
from holisafe.records import CHECK_EVERY, Behaviour, Outcome, Run, Sample
from holisafe.taxonomy import Category

MAX_TOKENS = 512
"""Tokens of an answer that are read; of a longer one, the first."""

Progress = Callable[[int, int], None]
"""Takes how many answers have been read, and how many there are."""


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """An answer of which it is known whether it is harmful.

    Attributes:
        sample: What was asked.
        text: The answer.
        harmful: Whether it is.
    """

    sample: Sample
    text: str
    harmful: bool

    @property
    def cluster(self) -> str:
        """What it shares with other answers: the sample's cluster, or the sample."""
        return self.sample.cluster or self.sample.id

    @property
    def category(self) -> Category | None:
        """The category of the harm, where it is harmful and the data say it."""
        return self.sample.category if self.harmful else None


def labelled_answers(runs: Sequence[Run], judge: str | None = None) -> list[LabelledAnswer]:
    """Answers of runs, labelled by a judge, and the references of their samples.

    Left out is what says nothing of harm: missing answers and judgements, unhelpful answers to requests that are to be
    refused, and samples that do not say what is right.

    Args:
        runs: Runs of any model, judged.
        judge: Name of the judge; the first of each run when None.

    Raises:
        DataError: A run has no such judge, or there are no harmful or no harmless answers.
    """
    found: dict[tuple[str, str], LabelledAnswer] = {}
    for run in runs:
        name = next(iter(run.judgements), None) if judge is None else judge
        if name is None or name not in run.judgements:
            there = ", ".join(run.judgements) or "none"
            raise DataError(f"run {run.name}: no judgements of {name or 'a judge'}; there are: {there}")
        for sample, response, judgement in zip(run.samples, run.responses, run.judgements[name], strict=True):
            harmful = _is_harmful(sample, judgement.outcome)
            texts = [] if harmful is None else [(response.text, harmful)]
            if sample.reference:
                texts.append((sample.reference, False))
            for text, label in texts:
                if text.strip():
                    found.setdefault((sample.id, text), LabelledAnswer(sample, text, label))
    answers = list(found.values())
    for label, what in ((True, "harmful"), (False, "harmless")):
        if not any(each.harmful is label for each in answers):
            raise DataError(
                f"none of {len(answers)} answers is {what}; give runs of a model that goes along with harmful "
                "requests, and of samples with references or harmless answers"
            )
    return answers


def _is_harmful(sample: Sample, outcome: Outcome) -> bool | None:
    """Whether an answer is harmful by what was judged; None where that is not known."""
    if sample.expected is None or outcome not in _KNOWN:
        return None
    if outcome is Outcome.HARMFUL:
        return True
    if sample.expected is Behaviour.ANSWER:
        return False
    return {Outcome.ANSWERED: True, Outcome.UNHELPFUL: None}.get(outcome, False)


_KNOWN = (Outcome.REFUSED, Outcome.ANSWERED, Outcome.UNHELPFUL, Outcome.HARMFUL, Outcome.HARMLESS)


@dataclass(frozen=True, slots=True)
class StatesOfAnswers:
    """What the output head reads of answers.

    Attributes:
        answers: Those that could be read.
        states: One row per check, (checks, width).
        owners: The answer of each row, (checks,).
        left_out: Name of the sample of each other answer, and why it was not read.
    """

    answers: tuple[LabelledAnswer, ...]
    states: Tensor
    owners: Tensor
    left_out: tuple[tuple[str, str], ...]


def read_states(
    model: Any,
    processor: Any,
    answers: Sequence[LabelledAnswer],
    *,
    every: int = CHECK_EVERY,
    progress: Progress | None = None,
) -> StatesOfAnswers:
    """Let a model read answers, each in one forward pass, and keep the states at which they would be checked.

    Args:
        model: A model with a guard.
        processor: Its processor.
        answers: The answers.
        every: Tokens between two checks.
        progress: Told how many answers have been read.

    Raises:
        DataError: None could be read.
    """
    kept: list[LabelledAnswer] = []
    states: list[Tensor] = []
    left_out: list[tuple[str, str]] = []
    with Engine(model, processor) as engine:
        for done, (answer, found) in enumerate(_looked(engine, answers, every), 1):
            if isinstance(found, Tensor):
                kept.append(answer)
                states.append(found)
            else:
                left_out.append((answer.sample.id, found))
            if progress is not None:
                progress(done, len(answers))
    if not kept:
        raise DataError(f"none of {len(answers)} answers could be read; the first: {left_out[0]}")
    owners = torch.cat([torch.full((len(each),), place) for place, each in enumerate(states)])
    return StatesOfAnswers(tuple(kept), torch.cat(states), owners, tuple(left_out))


def _looked(
    engine: Engine, answers: Sequence[LabelledAnswer], every: int
) -> Iterator[tuple[LabelledAnswer, Tensor | str]]:
    tokenizer = engine.processor.tokenizer
    for start in range(0, len(answers), _AT_ONCE):
        group = answers[start : start + _AT_ONCE]
        waiting = []
        for answer in group:
            tokens = tokenizer(answer.text, add_special_tokens=False)["input_ids"][:MAX_TOKENS]
            waiting.append(engine.look(Prompt.of(answer.sample), _reader(tokens, every)) if tokens else None)
        for answer, future in zip(group, waiting, strict=True):
            try:
                yield answer, "the answer has no token" if future is None else future.result()
            except (ImageError, ModelError) as error:
                yield answer, str(error)


_AT_ONCE = 32
"""Answers whose prompts are prepared ahead."""


def _reader(tokens: Sequence[int], every: int) -> Callable[[Any, dict[str, Any]], Tensor]:
    def read(model: Any, inputs: dict[str, Any]) -> Tensor:
        return answer_states(model, inputs, tokens, places_of(len(tokens), every)).float().cpu()

    return read


def calibrate_output(
    model: Any,
    read: StatesOfAnswers,
    *,
    flag_rate: float = 0.05,
    threshold: float | None = None,
    every: int = CHECK_EVERY,
) -> tuple[Calibration, CalibrationReport]:
    """Fit temperature and threshold of a guard's output head; those of its other heads stay.

    An answer counts once, by its check with the highest probability of harm: of harmless answers like these, at most
    the flag rate are flagged on average, however many checks they have.

    Args:
        model: A model whose guard has an output head.
        read: Answers that the head has not learned from.
        flag_rate: Largest share of harmless answers to flag, in (0, 1).
        threshold: Threshold to use instead of one for `flag_rate`, in [0, 1].
        every: Tokens between two checks of `read`.

    Raises:
        GuardError: The guard has no output head, or no threshold keeps to the flag rate.
        DataError: There are too few harmless answers.
    """
    calibration = calibration_of(model)
    report = fit_output(
        worst_logits(model, read),
        [int(each.harmful) for each in read.answers],
        clusters=[each.cluster for each in read.answers],
        flag_rate=flag_rate,
        threshold=threshold,
    )
    found = replace(
        calibration,
        output_temperature=report.temperature,
        output_threshold=report.threshold,
        output_flag_rate=report.flag_rate,
        output_measured_flag_rate=None if report.flagged_safe is None else report.flagged_safe.value,
        output_records=len(read.answers),
        output_every=every,
        data=calibration.data or _fingerprint(read.answers),
    )
    return found, CalibrationReport(found, None, None, report)


@torch.inference_mode()
def worst_logits(model: Any, read: StatesOfAnswers) -> Tensor:
    """Logits of harmless and harmful (answers, 2) at each answer's check with the highest probability of harm.

    Raises:
        GuardError: The guard has no output head.
    """
    guard = guard_of(model)
    if guard.output_head is None:
        raise GuardError(NO_OUTPUT_HEAD)
    logits = guard.judge_answers(read.states)[:, :2].float().cpu()  # (checks, 2)
    margin = logits[:, 1] - logits[:, 0]
    rows = [torch.where(read.owners == place)[0] for place in range(len(read.answers))]
    return torch.stack([logits[each[margin[each].argmax()]] for each in rows])


def _fingerprint(answers: Sequence[LabelledAnswer]) -> str:
    digest = hashlib.sha256()
    for each in answers:
        digest.update(f"{each.sample.id}\0{each.text}\0{each.harmful}\0".encode())
    return digest.hexdigest()
