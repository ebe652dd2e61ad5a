"""Making a file of safety scores: answers cut into chunks, and a guard asked about the request with each beginning.

A guard model is asked about an answer as it is when it judges one; a score is P(safe) among its two verdict words,
σ(z_safe − z_unsafe) of their logits. Guards whose verdict is no such word give their own probability, else 0 or 1.

The model's own guard judges requests, not answers. A score is then P(SSS) of the request with the beginning of the
answer, and 1 in an answer that the judge `refusal` takes for a refusal: to refuse is safe whatever was asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from holisafe import judges
from holisafe._enums import parse_enum
from holisafe.checkpoints.tuned import hash_base
from holisafe.errors import GuardError, ImageError, JudgeError, TuningError
from holisafe.guard import guard_of, session
from holisafe.guard.attach import base_model, calibration_of, language_model_of, observer_of
from holisafe.guard.checkpoint import public_name
from holisafe.guard.family import guardable_family
from holisafe.judges import Reply, judge_all
from holisafe.judges.guard_models import (
    CannotExpress,
    GuardModel,
    GuardQuestion,
    LocalAsk,
    Sees,
    guard_model,
    local_guard,
)
from holisafe.models import LoadedModel, ModelSpec, load
from holisafe.models.loading import tuned_model
from holisafe.records import Outcome, Response, Sample
from holisafe.taxonomy import Combination
from holisafe.tuning._collate import Collator
from holisafe.tuning._config import TuneConfig
from holisafe.tuning._samples import read_training
from holisafe.tuning._spans import after, answer_starts, squeezed
from holisafe.tuning.methods.star_dss.config import CHUNK_SIZE, Unit
from holisafe.tuning.methods.star_dss.scores import FORMAT, content_keys, read_scores

OWN = "own"
"""The guard that the model has."""

_REFUSAL = "refusal"
_VERDICT_TOKENS = 4
"""Tokens of a reply in which a verdict's word begins; the score needs no more."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a call of `score_answers` did.

    Attributes:
        path: The file.
        samples: Samples that it holds.
        computed: How many of them were scored by this call.
        unreadable: How many have an image that cannot be read, and no scores.
        mean: Mean of all scores; None without any.
    """

    path: Path
    samples: int
    computed: int
    unreadable: int
    mean: float | None


class Scorer(Protocol):
    """What scores the beginnings of an answer."""

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from others, as JSON values."""
        ...

    def score(self, sample: Sample, ends: Sequence[int]) -> list[float]:
        """P(safe) of the request with the answer up to each end, in characters that are no white space."""
        ...


def score_answers(
    model: str | Path | ModelSpec,
    data: str | Path | Sequence[Sample],
    out: str | Path,
    guard: str = OWN,
    *,
    unit: Unit | str = Unit.TOKENS,
    chunk_size: int = CHUNK_SIZE,
    split: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Score the reference answers of data, chunk by chunk, for the method "star-dss".

    The file keeps what it has: the same call resumes after an interruption, and scores what is new in the data.

    Args:
        model: The model that will be tuned, whose tokens are counted; with guard="own" one that has a guard. Its
            device and dtype are the guard model's too.
        data: As `tune` takes them.
        out: The file; made if missing.
        guard: "own" (the model's guard, with a joint head), or "NAME:SOURCE": a guard model that judges responses,
            such as "llama-guard-4", and its folder or Hub id.
        unit: "tokens" of the model, or "words" between white space.
        chunk_size: Units of a chunk, at least 1 (paper: 5).
        split: The split to score; as in `tune` when None.
        progress: Called with the samples that are done, and all.

    Raises:
        DataError: The data cannot be read.
        ModelError: The model cannot be loaded.
        GuardError: The guard cannot be, sees no answers, or has no joint head.
        TuningError: The file holds scores made in another way, or a sample cannot be scored.
        UnknownNameError: There is no such model, data set, split, unit or guard model.
    """
    unit, path = parse_enum(Unit, unit), Path(out)
    if chunk_size < 1:
        raise TuningError(f"chunk_size: expected a whole number of at least 1, found {chunk_size}")
    if guard != OWN:
        check_scorer(guard)
    training = read_training(data, split, None, None, TuneConfig(method="sft"))
    spec = ModelSpec.of(model)
    scorer: Scorer
    if guard == OWN:
        loaded = load(replace(spec, guard=OWN))
        scorer, processor = OwnGuard(loaded), loaded.processor
    else:
        scorer = GuardModelScorer(guard, spec.device, spec.dtype)
        # it is needed for its tokens alone: on the CPU, beside a guard that may fill the GPU
        processor = load(replace(spec, device="cpu")).processor if unit is Unit.TOKENS else None
    head = {"format": FORMAT, "guard": scorer.identity, "unit": unit.value, "chunk_size": chunk_size}
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = _rows_there(path, head)
    keys = dict(zip(content_keys(training.samples), training.samples, strict=True))
    wanted = {key: sample for key, sample in keys.items() if key not in rows}
    cutter = ChunkCutter(processor, unit, chunk_size)
    with path.open("a", encoding="utf-8") as file:
        for done, (key, row) in enumerate(_new_rows(wanted, cutter, scorer), 1):
            rows[key] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
            if progress is not None:
                progress(done, len(wanted))
    scores = [each for row in rows.values() for each in row["scores"]]
    return Scored(
        path,
        len(rows),
        len(wanted),
        sum(not row["scores"] for row in rows.values()),
        sum(scores) / len(scores) if scores else None,
    )


def check_scorer(name: str) -> tuple[GuardModel, str]:
    """The guard model that "NAME:SOURCE" names, and its source.

    Raises:
        GuardError: It names no source, or sees no responses.
        UnknownNameError: There is no such guard model.
    """
    head, _, source = name.partition(":")
    model = guard_model(head)
    if Sees.RESPONSE not in model.sees:
        raise GuardError(f"guard {head}: it sees no responses, so that it cannot score answers; name another")
    if not source:
        raise GuardError(f"guard {head}: expected its folder or Hub id behind it, as in {head}:FOLDER")
    return model, source


@dataclass(frozen=True, slots=True)
class ChunkCutter:
    """Cuts reference answers into chunks.

    Attributes:
        processor: The model's, whose tokens are counted; None for words.
        unit: What is counted.
        size: Units of a chunk.
    """

    processor: Any
    unit: Unit
    size: int

    def ends(self, sample: Sample) -> list[int]:
        """Where each chunk of the reference ends, in characters that are no white space; rising.

        Raises:
            TuningError: The sample cannot be learned from.
            ImageError: An image cannot be let in.
        """
        reference = sample.reference or ""
        if self.unit is Unit.WORDS:
            lengths = [len(word) for word in reference.split()]
            places = [sum(lengths[:stop]) for stop in range(self.size, len(lengths), self.size)]
        else:
            labels = Collator(self.processor)([sample])["labels"][0]
            _, starts = answer_starts(self.processor.tokenizer, labels, reference, sample.id)
            places = starts[self.size : -1 : self.size]
        whole = len(squeezed(reference))
        return sorted({place for place in places if 0 < place < whole} | {whole})


class GuardModelScorer:
    """A guard model on this machine.

    Args:
        name: "NAME:SOURCE".
        device: Where to put it; the first GPU, else the CPU, when None.
        dtype: As `local_guard` takes it.
    """

    def __init__(self, name: str, device: str | None = None, dtype: str | None = None) -> None:
        self.model, source = check_scorer(name)
        self._ask = LocalAsk(self.model, source, device, dtype)
        known = local_guard(self.model.name, source).id
        self.identity: dict[str, Any] = {
            "name": known.name, "version": known.version, "model": known.model, "prompt": known.prompt,
        }  # fmt: skip

    def score(self, sample: Sample, ends: Sequence[int]) -> list[float]:
        """Asks about each beginning of the answer; of several questions the worst counts."""
        reference = sample.reference or ""
        found = []
        for end in ends:
            response = Response(sample.id, reference[: after(reference, end)], "")
            try:
                questions = self.model.messages(sample, response)
                found.append(min(self._answer(sample, question) for question in questions))
            except (CannotExpress, JudgeError) as error:
                raise TuningError(f"sample {sample.id}: {error}; leave it out, or take another guard") from error
        return found

    def _answer(self, sample: Sample, question: GuardQuestion) -> float:
        tokens = _VERDICT_TOKENS if self.model.verdict_words else self.model.max_tokens
        reply = asyncio.run(self._ask(question.turns, max_tokens=tokens, template=question.template))
        return safe_score(self.model, question, reply, sample.id)


def safe_score(model: GuardModel, question: GuardQuestion, reply: Reply, sample: str) -> float:
    """P(safe) of a reply, in [0, 1]: among the two verdict words where they have probabilities.

    Raises:
        TuningError: The reply is no verdict.
    """
    if model.verdict_words and reply.probabilities:
        unsafe, safe = (reply.probabilities[word] for word in model.verdict_words)
        if safe + unsafe > 0:
            return safe / (safe + unsafe)
    reading = model.read(reply, question)
    if reading.unsafe is None:
        raise TuningError(f"sample {sample}: guard {model.name} gave no verdict: {reading.why}; take another guard")
    return float(not reading.unsafe) if reading.probability is None else 1 - reading.probability


class OwnGuard:
    """The joint head of the model's own guard.

    Args:
        loaded: A model with a guard.

    Raises:
        GuardError: It has no guard, or no joint head.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._model, self._processor = loaded.model, loaded.processor
        if not observer_of(loaded.model).config.joint_head:
            raise GuardError("the model's guard has no joint head, so that it says nothing of a whole request")
        digest = hashlib.sha256()
        for name, weight in sorted(guard_of(loaded.model).state_dict().items()):
            digest.update(name.encode() + weight.detach().cpu().float().contiguous().numpy().tobytes())
        self._judge = judges.get(_REFUSAL)
        self.identity: dict[str, Any] = {
            "name": OWN, "version": f"1+{_REFUSAL}-{self._judge.id.version}",
            "model": public_name(loaded.name), "weights_sha256": hash_base(loaded.model, tuned_model(loaded.name)),
            "guard_sha256": digest.hexdigest(),
        }  # fmt: skip

    def score(self, sample: Sample, ends: Sequence[int]) -> list[float]:
        """Reads the joint head behind each beginning of the answer."""
        answer = Response(sample.id, sample.reference or "", "")
        if judge_all(self._judge, [sample], [answer])[0].outcome is Outcome.REFUSED:
            return [1.0] * len(ends)
        batch = Collator(self._processor)([sample])
        labels: Tensor = batch.pop("labels")[0]
        columns, starts = answer_starts(self._processor.tokenizer, labels, sample.reference or "", sample.id)
        stops = [int(columns[sum(start < end for start in starts) - 1]) + 1 for end in ends]
        return self._read(batch, torch.tensor(stops))

    @torch.no_grad()
    def _read(self, batch: dict[str, Any], stops: Tensor) -> list[float]:
        """P(SSS) of the conversation up to each column (beginnings,), in one pass: no token sees what comes later."""
        base = base_model(self._model)
        inputs = {
            name: each.to(base.device, base.dtype if each.is_floating_point() else None)
            for name, each in batch.items()
            if isinstance(each, Tensor)
        }
        seen: list[Tensor] = []
        language_model = language_model_of(base, guardable_family(base))
        hook = language_model.register_forward_hook(lambda _, __, output: seen.append(output[0]))
        options = {"logits_to_keep": 1} if base._supports_logits_to_keep() else {}
        try:
            with session(self._model, inputs) as watched:
                base(**watched.inputs, use_cache=False, **options)
        finally:
            hook.remove()
        states = seen[-1][0]  # (tokens, width)
        added = len(states) - batch["input_ids"].shape[1]  # meta tokens, which stand before the answer
        _, logits = guard_of(self._model)(None, states[(stops - 1 + added).to(states.device)])  # (beginnings, 12)
        if not bool(logits.isfinite().all()):
            raise GuardError("the guard's scores are not finite; try another dtype, such as float32")
        scaled = logits[:, : len(Combination)].double() / calibration_of(self._model).joint_temperature
        return [float(each) for each in scaled.softmax(1)[:, list(Combination).index(Combination.SSS)]]


def _rows_there(path: Path, head: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows that the file has; a row that was not written to its end is cut off, and a new file begun.

    Raises:
        TuningError: The file was made in another way, or cannot be written.
    """
    if path.exists() and path.stat().st_size:
        there, rows = read_scores(path)
        if different := [name for name in head if there.get(name) != head[name]]:
            raise TuningError(
                f"scores {path}: made with other {', '.join(different)} ({there.get(different[0])}); name another file"
            )
        text = path.read_bytes()
        if not text.endswith(b"\n"):
            path.write_bytes(text[: text.rfind(b"\n") + 1])
        return rows
    path.write_text(json.dumps(head) + "\n", encoding="utf-8")
    return {}


def _new_rows(wanted: dict[str, Sample], cutter: ChunkCutter, scorer: Scorer) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, sample in wanted.items():
        row: dict[str, Any] = {"id": sample.id, "sha256": key, "ends": [], "scores": []}
        try:
            ends = cutter.ends(sample)
            row |= {"ends": ends, "scores": scorer.score(sample, ends)}
        except ImageError as error:
            row["unreadable"] = str(error)
        yield key, row
