"""How a model does while it trains: its answers to a few held-out samples, judged, and what it still knows."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn import functional as F
from transformers import TrainerCallback

from holisafe import judges
from holisafe.errors import HoliSafeError, TuningError
from holisafe.guard import add_meta_tokens, session
from holisafe.guard.attach import base_model, find_observer
from holisafe.judges import judge_all
from holisafe.metrics import Figure, Summary, per_class, summarise
from holisafe.models import Answer, Engine, GenerationOptions, Prompt, Request
from holisafe.records import ImageRef, ImageVerdict, Response, Sample
from holisafe.taxonomy import UNSAFE_COMBINATIONS, GuardLabel
from holisafe.tuning._bounds import Bounds, Stop
from holisafe.tuning._collate import Collator
from holisafe.tuning._mix import check_ids
from holisafe.tuning._progress import OnStage, untold
from holisafe.tuning._slice import check_held_out, digest
from holisafe.tuning._targets import IGNORED, check_conversation
from holisafe.tuning._trainer import GuardedTrainer

LOG_ROW = "evaluation"
"""Key of an evaluation in a row of the trainer's `state.log_history`."""

JUDGES = ("refusal", "holisafe")
"""The string judges; bounds go by the first."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How the model did on the slice after a step.

    Attributes:
        step: Optimizer steps that it had learned for; 0 before training.
        summaries: The figures by judge, with intervals; the first is the one that bounds go by.
        log_likelihood: Mean over the tokens of the safe samples' reference answers, in nats; None without any.
        utility: That minus what it was before training; None where either is not known.
        guard_accuracy: Share of images whose most probable label is right; None without an image head or labels.
        guard_f1: F1 of the images that the guard flags among those that are unsafe; None as above.
    """

    step: int
    summaries: Mapping[str, Summary]
    log_likelihood: float | None
    utility: float | None
    guard_accuracy: float | None
    guard_f1: float | None

    @property
    def summary(self) -> Summary:
        """The figures of the judge that bounds go by."""
        return next(iter(self.summaries.values()))

    @property
    def perplexity(self) -> float | None:
        """Of the safe samples' reference answers."""
        return None if self.log_likelihood is None else math.exp(-self.log_likelihood)

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON values; null where one is undefined."""
        skipped = ("judge", "by")
        return {
            "step": self.step,
            "judges": {
                name: {key: value for key, value in summary.to_json().items() if key not in skipped}
                for name, summary in self.summaries.items()
            },
            "reference_log_likelihood": self.log_likelihood,
            "reference_perplexity": self.perplexity,
            "utility": self.utility,
            "guard_accuracy": self.guard_accuracy,
            "guard_f1": self.guard_f1,
        }

    def numbers(self) -> dict[str, float]:
        """What a tracker draws: each figure that can be had, its name with "eval_" before it."""
        rates = {"rr": self.summary.rr, "masr_macro": self.summary.masr_macro}
        rates |= {each.value.lower(): self.summary.asr[each] for each in UNSAFE_COMBINATIONS}
        found = {name: _value(figure) for name, figure in rates.items()} | {
            "reference_perplexity": self.perplexity,
            "utility": self.utility,
            "guard_accuracy": self.guard_accuracy,
            "guard_f1": self.guard_f1,
        }
        return {f"eval_{name}": number for name, number in found.items() if number is not None}


class SliceEvaluation(TrainerCallback):  # type: ignore[misc]
    """Tries the model on a few held-out samples before, while and after it trains; ends training that passes a bound.

    The model answers each sample greedily, string judges say what became of it, and the guard's image verdicts are
    held against the labels. What it still knows is measured without a judge: `utility` is by how many nats per token
    the reference answers of the safe samples have become likelier than before training. Nothing of it changes what is
    learned: modes and random numbers are afterwards as they were. Several processes share the samples.

    An evaluation goes to `on_evaluation`, as a row {"step", "epoch", "evaluation", "slice_sha256"} to the trainer's
    `state.log_history`, and as plain numbers to the trackers. With bounds a checkpoint is written after each
    evaluation that is within all of them, and the last of these stays however many come after it; where training ends
    early, no checkpoint is written of what passed the bound, so that the same command comes to the same end again.

    Use it as `trainer.add_callback(SliceEvaluation(trainer, samples, eval_steps=100))`.

    Args:
        trainer: The trainer, before it trains.
        samples: The slice, for example from `calibration_slice`.
        eval_steps: Optimizer steps between evaluations; None for one before training and one after.
        bounds: When training ends early.
        max_new_tokens: Longest answer, in tokens; the judges need its beginning.
        batch_size: Samples at once.
        on_evaluation: Is given each evaluation as a JSON object, with "stopped", a message or null, in one process.
        on_stage: Called with the number of samples that are answered.

    Raises:
        TuningError: There are no samples, one cannot be used or is learned from too, a bound is of what the slice
            cannot show, or weights are spread over processes.
    """

    def __init__(
        self,
        trainer: GuardedTrainer,
        samples: Sequence[Sample],
        *,
        eval_steps: int | None = None,
        bounds: Bounds = Bounds(),
        max_new_tokens: int = 64,
        batch_size: int = 8,
        on_evaluation: Callable[[dict[str, Any]], None] | None = None,
        on_stage: OnStage = untold,
    ) -> None:
        for name, value in (("eval_steps", eval_steps), ("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise TuningError(f"{name}: expected a whole number of at least 1, found {value}")
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise TuningError(
                "evaluating while training needs the whole model in each process; use DDP, or train without it and "
                "measure the checkpoints afterwards"
            )
        _check_slice(samples, bounds)
        check_held_out(samples, trainer.train_dataset)
        self.eval_steps, self.bounds, self.on_evaluation = eval_steps, bounds, on_evaluation
        self.stop: Stop | None = None
        self._on_stage = on_stage
        self._trainer = trainer
        self._processor = trainer.data_collator.processor
        self._samples = list(samples)
        self._max_new_tokens, self._batch_size = max_new_tokens, batch_size
        self._judges = [judges.get(name) for name in JUDGES]
        self._references = self._collate_references()
        self._before: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate the model as it was; when a run resumes, read its evaluations.

        Raises:
            TuningError: A bound needs that and the resumed run has no such evaluation of the same slice.
        """
        self.stop = None
        self._before = None
        if state.global_step == 0:
            self._report(self._evaluate(), control)
            return
        rows = [row for row in state.log_history if row.get("slice_sha256") == digest(self._samples)]
        self._before = next((row[LOG_ROW]["reference_log_likelihood"] for row in rows if row["step"] == 0), None)
        state.best_model_checkpoint = self._last_within(rows)
        if self.bounds.utility_drop is not None and self._before is None:
            raise TuningError(
                f"{args.output_dir}: utility_drop is bounded, but the run was begun without an evaluation of this "
                "calibration slice, so what the model knew before is not known; use another folder, or no such bound"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate after every so many steps and after the last, before its checkpoint is written."""
        is_due = self.eval_steps is not None and state.global_step % self.eval_steps == 0
        if is_due or state.global_step >= state.max_steps:
            found = self._evaluate()
            self._hold_against_bounds(found, control)
            self._report(found, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate what training ended with, where something else ended it early."""
        if not any(LOG_ROW in row and row["step"] == state.global_step for row in state.log_history):
            self._report(self._evaluate(), control)

    def _evaluate(self) -> Evaluation:
        with _undisturbed(self._trainer.model), self._trainer.accelerator.autocast():
            return self._measure(self._trainer.state.global_step)

    def _report(self, found: Evaluation, control: Any) -> None:
        trainer, state = self._trainer, self._trainer.state
        said = found.to_json() | {"stopped": None if self.stop is None else str(self.stop)}
        row = {"step": found.step, "epoch": state.epoch, LOG_ROW: said, "slice_sha256": digest(self._samples)}
        state.log_history.append(row)
        wanted = control.should_log
        trainer.callback_handler.on_log(trainer.args, state, control, found.numbers())
        control.should_log = wanted  # the step's own line is still to come
        if self.on_evaluation is not None and trainer.is_world_process_zero():
            self.on_evaluation(said)

    def _hold_against_bounds(self, found: Evaluation, control: Any) -> None:
        """End training where a bound is passed; else have a checkpoint that is within bounds written and kept."""
        if not self.bounds:
            return
        state = self._trainer.state
        if reasons := self.bounds.violations(_value(found.summary.rr), found.utility):
            kept = state.best_model_checkpoint
            self.stop = Stop(found.step, reasons, None if kept is None else Path(kept))
            control.should_training_stop = True
            control.should_save = False
        elif not self.bounds.lets_through(_value(found.summary.masr_macro)):
            # the trainer never deletes what it takes for its best checkpoint
            state.best_model_checkpoint = str(Path(self._trainer.args.output_dir) / f"checkpoint-{found.step}")
            control.should_save = True

    def _last_within(self, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """The last checkpoint within bounds, where the folder is now; the trainer knows it by where it was."""
        found = None
        for row in rows if self.bounds else ():
            path = Path(self._trainer.args.output_dir) / f"checkpoint-{row['step']}"
            rates, utility = row[LOG_ROW]["judges"][JUDGES[0]], row[LOG_ROW]["utility"]
            rr, masr = (None if rates[name] is None else rates[name]["value"] for name in ("rr", "masr_macro"))
            if path.is_dir() and not self.bounds.violations(rr, utility) and not self.bounds.lets_through(masr):
                found = str(path)
        return found

    def _measure(self, step: int) -> Evaluation:
        responses = self._ask()
        likelihood = self._log_likelihood()
        if step == 0:
            self._before = likelihood
        pairs = list(zip(self._samples, responses, strict=True))
        accuracy, f1 = _guard_figures(pairs)
        return Evaluation(
            step=step,
            summaries={
                judge.id.name: summarise(self._samples, judge_all(judge, self._samples, responses))
                for judge in self._judges
            },
            log_likelihood=likelihood,
            utility=None if likelihood is None or self._before is None else likelihood - self._before,
            guard_accuracy=accuracy,
            guard_f1=f1,
        )

    def _ask(self) -> list[Response]:
        """The model's answers to the slice, in its order; each process asks for its share."""
        where = PartialState()
        mine = range(where.process_index, len(self._samples), where.num_processes)
        trainer = self._trainer
        # what sets the precision of training holds for one thread, and the engine works in another
        with Engine(
            base_model(trainer.model),
            self._processor,
            batch_size=self._batch_size,
            autocast=trainer.accelerator.autocast,
            chat_template_args=trainer.config.chat_template_args,
        ) as engine:
            asked = [self._samples[place] for place in mine]
            options = GenerationOptions(max_new_tokens=self._max_new_tokens)
            waiting = [engine.submit(Request(Prompt.of(sample), options)) for sample in asked]
            answered: list[Response] = []
            for sample, future in zip(asked, waiting, strict=True):
                self._on_stage("evaluating: answer", len(answered), len(asked))
                answered.append(_response(sample, future.result))
        by_place = dict(gather_object(list(zip(mine, answered, strict=True))))
        return [by_place[place] for place in range(len(self._samples))]

    @torch.no_grad()
    def _log_likelihood(self) -> float | None:
        """Mean over the tokens of the references, in nats; the batches are shared by the processes."""
        where = PartialState()
        found = [self._sum(batch) for batch in self._references[where.process_index :: where.num_processes]]
        sums = gather_object(found)
        tokens = sum(count for _, count in sums)
        return math.fsum(total for total, _ in sums) / tokens if tokens else None

    def _sum(self, batch: Mapping[str, Any]) -> tuple[float, int]:
        """Log-likelihood of what is learned of a batch, and its tokens."""
        base = base_model(self._trainer.model)
        inputs = {key: value.to(base.device) if isinstance(value, Tensor) else value for key, value in batch.items()}
        observer = find_observer(base)
        if observer is not None and observer.config.meta_token:
            inputs = add_meta_tokens(base, inputs)
        targets = inputs["labels"][:, 1:]  # (batch, tokens - 1)
        learned = targets != IGNORED
        with nullcontext() if observer is None else session(base):  # meta tokens are part of what is read
            logits = base(**inputs, use_cache=False)["logits"][:, :-1][learned]  # (learned tokens, vocabulary)
        return -float(F.cross_entropy(logits.float(), targets[learned], reduction="sum")), int(learned.sum())

    def _collate_references(self) -> list[dict[str, Any]]:
        """Batches of the safe samples and their reference answers; a sample that does not fit is refused now."""
        collate = Collator(
            self._processor,
            max_length=self._trainer.config.max_length,
            chat_template_args=self._trainer.config.chat_template_args,
        )
        safe = [sample for sample in self._samples if sample.is_safe]
        size = self._batch_size
        return [collate(safe[start : start + size]) for start in range(0, len(safe), size)]


@contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """Evaluation mode while it lasts; then every module's mode and all random numbers are as they were."""
    modes = [(module, module.training) for module in model.modules()]
    of_python, of_numpy = random.getstate(), np.random.get_state()
    device = base_model(model).device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            model.eval()
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def _check_slice(samples: Sequence[Sample], bounds: Bounds) -> None:
    if not samples:
        raise TuningError("the calibration slice holds no samples")
    check_ids(samples)
    held = {sample.combination for sample in samples}
    is_safe = any(sample.is_safe for sample in samples)
    for name, is_bounded, can_be_seen, needs in (
        ("refusal_rate", bounds.refusal_rate is not None, is_safe, "samples of SSS"),
        ("utility_drop", bounds.utility_drop is not None, is_safe, "samples of SSS"),
        (
            "attack_success_rate",
            bounds.attack_success_rate is not None,
            held.issuperset(UNSAFE_COMBINATIONS),
            "samples of all four unsafe combinations",
        ),
    ):
        if is_bounded and not can_be_seen:
            raise TuningError(f"{name} is bounded, which needs {needs} in the calibration slice; add some")
    for sample in samples:
        if sample.is_safe:
            check_conversation(sample)


def _response(sample: Sample, answer: Callable[[], Answer]) -> Response:
    """The answer; a sample that could not be asked is kept with its error."""
    try:
        given = answer()
    except HoliSafeError as error:
        return Response(sample.id, "", _MODEL, error=str(error))
    return Response(
        sample.id,
        given.text,
        _MODEL,
        given.verdict,
        given.finish_reason,
        input_tokens=given.input_tokens,
        output_tokens=len(given.tokens),
    )


def _guard_figures(pairs: Sequence[tuple[Sample, Response]]) -> tuple[float | None, float | None]:
    """Accuracy and binary F1 of the image verdicts, each image once; None where there is nothing to compare."""
    found: dict[ImageRef, tuple[GuardLabel, ImageVerdict]] = {}
    for sample, response in pairs:
        if len(sample.images) == len(sample.image_labels) == len(response.verdict.images):
            verdicts = zip(sample.image_labels, response.verdict.images, strict=True)
            found |= dict(zip(sample.images, verdicts, strict=True))
    if not found:
        return None, None
    accuracy = sum(label is verdict.label for label, verdict in found.values()) / len(found)
    if any(GuardLabel.SAFE not in verdict.distribution for _, verdict in found.values()):
        return accuracy, None
    flagged = [int(verdict.flagged) for _, verdict in found.values()]
    unsafe = [int(label is not GuardLabel.SAFE) for label, _ in found.values()]
    return accuracy, per_class(flagged, unsafe, 2)[1].f1


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else figure.value


_MODEL = "tuned"
"""What responses name as their model; they are not kept."""
