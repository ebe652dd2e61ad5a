"""One run of the ablations: tune a model for a fixed number of steps, let it answer a slice, judge, write one file.

No program of its own; ablations.py calls it.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PrinterCallback

from holisafe import __version__, datasets, judges
from holisafe.checkpoints.tuned import hash_weights
from holisafe.errors import HoliSafeError, RunError
from holisafe.guard import GuardConfig, add_meta_tokens, attach_guard
from holisafe.guard.attach import find_observer
from holisafe.images import content_hash, read_bytes
from holisafe.judges import judge_all
from holisafe.metrics import twin_pairs
from holisafe.models import Engine, GenerationOptions, LoadedModel, Prompt, Request, load
from holisafe.records import Response, Sample
from holisafe.taxonomy import Combination
from holisafe.tuning import Collator, GuardedTrainer, TuneConfig, calibration_slice, check_samples, mix
from holisafe.tuning._answer_loss import answer_term, model_inputs
from holisafe.tuning._mix import group_by_length
from research.ablations.arms import SSS, UNTUNED, Arm, run_name

JUDGES = ("refusal", "holisafe")
"""The string judges; the page's figures are the first one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all runs of a study have in common; a folder holds runs of one such record only.

    Attributes:
        model: Short name, folder or Hub id.
        data: What is learned from: a name or path.
        split: Its split.
        general: General instruction data; the runs that need them cannot be made when None.
        test: What is answered: a name or path.
        test_split: Its split.
        limit: Samples of the slice that is answered, the combinations in equal parts.
        steps: Optimizer steps of a run.
        batch: Samples of a step.
        rank: Rank of the language model's adapter, scaled by 2.
        language_rate: Peak learning rate of the adapter.
        projector_rate: Peak learning rate of the projector.
        guard_rate: Peak learning rate of the guard.
        precision: Dtype of training, and of the tuned model when it answers.
        answer_batch: Samples that are answered at a time.
        max_new_tokens: Longest answer.
        attention: A transformers attention implementation; None for the model's own choice.
    """

    model: str = "pocket"
    data: str = "open"
    split: str = "train"
    general: str | None = None
    test: str = "open"
    test_split: str = "test"
    limit: int = 300
    steps: int = 100
    batch: int = 16
    rank: int = 16
    language_rate: float = 6e-4
    projector_rate: float = 3e-4
    guard_rate: float = 1e-3
    precision: str = "bfloat16"
    answer_batch: int = 25
    max_new_tokens: int = 16
    attention: str | None = None

    def config(self, arm: Arm, seed: int) -> TuneConfig:
        """The tuning settings of a run."""
        shared: dict[str, Any] = {
            "lora_r": self.rank, "lora_alpha": 2.0 * self.rank,
            "learning_rates": {
                "language": self.language_rate, "projector": self.projector_rate, "vision": None,
                "guard": self.guard_rate,
            },
            "max_steps": self.steps, "batch_size": self.batch, "gradient_accumulation_steps": 1, "warmup_ratio": 0.05,
            "seed": seed,
            "precision": self.precision,
        }  # fmt: skip
        return TuneConfig(**(shared | dict(arm.settings)))


@dataclass(frozen=True, slots=True)
class Material:
    """What all runs read: samples to learn from, general ones, and the slice that is answered."""

    train: list[Sample]
    general: list[Sample]
    slice: list[Sample]


def read_material(settings: Settings) -> Material:
    """Read the data and draw the slice.

    Raises:
        RunError: An image of the slice is learned from.
        HoliSafeError: The data cannot be read or learned from.
    """
    train = [sample for sample in datasets.load(settings.data, settings.split) if sample.reference]
    general = [] if settings.general is None else list(datasets.load(settings.general, None))
    check_samples(train, GuardConfig())
    chosen = draw_slice(datasets.load(settings.test, settings.test_split), settings.limit)
    learned = _contents([*train, *general])
    for sample in chosen:
        if _contents([sample]) & learned:
            raise RunError(f"sample {sample.id} of {settings.test} shows an image that is learned from; use other data")
    return Material(train, general, chosen)


def _contents(samples: Sequence[Sample]) -> set[str]:
    return {content_hash(read_bytes(image)) for image in {i for sample in samples for i in sample.images}}


def draw_slice(samples: Sequence[Sample], count: int) -> list[Sample]:
    """`count` samples: the combinations in equal parts, as far as possible half of each with their twins."""
    quota = max(1, count // len(Combination))
    samples = sorted(samples, key=lambda each: each.id)
    pairs = twin_pairs(samples)
    random.Random(0).shuffle(pairs)
    chosen: list[Sample] = []
    have: Counter[Combination] = Counter()
    for places in pairs:
        both = [samples[place] for place in places]
        if all(have[each.required_combination] < quota // 2 for each in both) and not any(
            each in chosen for each in both
        ):
            chosen += both
            have.update(each.required_combination for each in both)
    taken = {sample.id for sample in chosen}
    for combination in Combination:
        rest = [each for each in samples if each.combination is combination and each.id not in taken]
        if rest and quota > have[combination]:
            chosen += calibration_slice(rest, quota - have[combination])
    return sorted(chosen, key=lambda each: each.id)


def describe_study(settings: Settings, material: Material) -> dict[str, Any]:
    """What a folder of runs is of, the slice included: enough to make the page of, without the data."""
    return {
        "settings": asdict(settings),
        "weights_sha256": hash_weights(load_base(settings).model),
        "train": {"sha256": datasets.fingerprint(material.train), **_counts(material.train)},
        "general": {"sha256": datasets.fingerprint(material.general), "samples": len(material.general)},
        "slice": [
            {
                "id": s.id,
                "combination": s.required_combination.value,
                "cluster": s.cluster or s.images[0].key,
                "twin": s.twin,
            }
            for s in material.slice
        ],
    }


def _counts(samples: Sequence[Sample]) -> dict[str, Any]:
    images = {image.key for sample in samples for image in sample.images}
    found = Counter(sample.required_combination.value for sample in samples)
    return {"samples": len(samples), "images": len(images), "combinations": dict(sorted(found.items()))}


def pool(samples: Sequence[Sample], arm: Arm) -> list[Sample]:
    """The training samples that an arm can draw from; smaller sizes are parts of larger ones.

    A size is that of each category of each combination. Samples are taken in shuffled order of their clusters, so
    that those of one image tend to stay together.
    """
    wanted = arm.combinations or frozenset(Combination)
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        if sample.combination in wanted:
            groups.setdefault((sample.combination, sample.category or ""), []).append(sample)
    return [s for found in groups.values() for s in sorted(found, key=_chance)[: math.ceil(arm.size * len(found))]]


def _chance(sample: Sample) -> tuple[str, str]:
    cluster = sample.cluster or sample.images[0].key
    return hashlib.sha256(cluster.encode()).hexdigest(), sample.id


def run(settings: Settings, material: Material, arm: Arm, seed: int) -> dict[str, Any]:
    """Tune, answer and judge; what it found as JSON values.

    Raises:
        HoliSafeError: The model cannot be loaded or tuned.
    """
    started, clock = time.monotonic(), time.process_time()
    loaded = load_base(settings)
    trained: dict[str, Any] = {"settings": None, "guard": None, "parameters": None, "log": []}
    collate = Collator(loaded.processor)
    if arm.name != UNTUNED:
        loaded, collate, trained = _tune(settings, material, arm, seed, loaded)
    tuned = time.monotonic()
    with torch.autocast(_device(), torch.bfloat16, enabled=settings.precision == "bfloat16"):
        likelihood = log_likelihood(loaded.model, collate, material.slice, settings.batch)
    loaded.model.to(getattr(torch, settings.precision))
    responses = answer(loaded, material.slice, settings)
    answered = time.monotonic()
    result = {
        "run": run_name(arm, seed),
        "arm": arm.name,
        "seed": seed,
        **trained,
        "reference_log_likelihood": likelihood,
        **_findings(material.slice, responses),
        "seconds": {
            "tuning": round(tuned - started, 1),
            "answering": round(answered - tuned, 1),
            "all": round(time.monotonic() - started, 1),
            "processor": round(time.process_time() - clock, 1),
        },
        "versions": {"holisafe": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "machine": {"platform": platform.platform(), "threads": torch.get_num_threads(), "device": _device()},
    }
    return result


def load_base(settings: Settings) -> LoadedModel:
    """The model that every arm begins with."""
    return load(settings.model, device=_device(), dtype="float32", attention=settings.attention)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _tune(
    settings: Settings, material: Material, arm: Arm, seed: int, loaded: LoadedModel
) -> tuple[LoadedModel, Collator, dict[str, Any]]:
    """The tuned model with its adapter merged, its collator, and what is told of the training."""
    config = settings.config(arm, seed)
    guard = config.method_part.guard(GuardConfig(**arm.guard))
    if guard is not None:
        torch.manual_seed(seed)
        attach_guard(loaded.model, guard, processor=loaded.processor)
    drawn = draw(settings, material, arm, seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(loaded, config, drawn, Path(folder))
        trainer.tune()
    learned = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    model = trainer.model.merge_and_unload().eval()
    log = [row for row in trainer.state.log_history if "loss" in row]
    general = {sample.id for sample in material.general}
    kinds = Counter("general" if each.id in general else each.required_combination.value for each in drawn)
    told = {
        "settings": config.to_json(),
        "guard": None if guard is None else guard.to_json(),
        "parameters": learned,
        "learned_from": {
            "pool": len(pool(material.train, arm)),
            "drawn": dict(sorted(kinds.items())),
        },
        "log": log,
    }
    return replace(loaded, model=model), trainer.data_collator, told


def draw(settings: Settings, material: Material, arm: Arm, seed: int) -> list[Sample]:
    """What a run learns from, in order.

    Raises:
        TuningError: There are too few samples, or no general ones where the arm wants them.
    """
    config = settings.config(arm, seed)
    drawn = mix(
        pool(material.train, arm), settings.steps * settings.batch, seed=seed, safe_weight=config.safe_weight,
        general=material.general if arm.general_share else (), general_share=arm.general_share,
    )  # fmt: skip
    return group_by_length(drawn, settings.batch, 1, seed=seed)


def make_trainer(loaded: LoadedModel, config: TuneConfig, drawn: Sequence[Sample], folder: Path) -> GuardedTrainer:
    """A trainer that saves nothing and goes through `drawn` in its order."""
    every = max(1, len(drawn) // config.batch_size // 10)
    on_cpu = _device() == "cpu"
    trainer = GuardedTrainer(
        loaded.model, loaded.processor, config, drawn, folder, use_cpu=on_cpu, save_strategy="no", logging_steps=every
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def answer(loaded: LoadedModel, samples: Sequence[Sample], settings: Settings) -> list[Response]:
    """Greedy answers with the guard's verdicts, in order; what cannot be answered is kept with its error."""
    options = GenerationOptions(max_new_tokens=settings.max_new_tokens)
    with Engine(loaded.model, loaded.processor, batch_size=settings.answer_batch) as engine:
        waiting = [engine.submit(Request(Prompt.of(sample), options)) for sample in samples]
        return [_response(sample, future) for sample, future in zip(samples, waiting, strict=True)]


def _response(sample: Sample, future: Any) -> Response:
    try:
        given = future.result()
    except HoliSafeError as error:
        return Response(sample.id, "", "ablation", error=str(error))
    return Response(sample.id, given.text, "ablation", given.verdict, given.finish_reason)


@torch.no_grad()
def log_likelihood(model: Any, collate: Any, samples: Sequence[Sample], size: int) -> float | None:
    """Mean over the tokens of the SSS samples' reference answers, in nats; None without any."""
    safe = [sample for sample in samples if sample.combination is SSS and sample.reference]
    total, tokens = 0.0, 0
    for start in range(0, len(safe), size):
        batch = collate(safe[start : start + size])
        count = int((batch["labels"] != -100).sum())
        moved = {key: value.to(model.device) for key, value in batch.items() if isinstance(value, torch.Tensor)}
        total -= _answer_loss(model, moved) * count
        tokens += count
    return total / tokens if tokens else None


def _answer_loss(model: Any, batch: Mapping[str, Any]) -> float:
    """Mean over the learned tokens, in nats."""
    observer = find_observer(model)
    if observer is not None and observer.config.meta_token:
        batch = add_meta_tokens(model, batch)
    term, _ = answer_term(model, model_inputs(batch))
    return float(term.sum) / term.count


def _findings(samples: Sequence[Sample], responses: Sequence[Response]) -> dict[str, Any]:
    """Outcomes by judge and sample; verdicts by image and sample."""
    pairs = list(zip(samples, responses, strict=True))
    images: dict[str, Any] = {}
    for sample, response in pairs:
        if len(response.verdict.images) == len(sample.image_labels):
            for ref, label, said in zip(sample.images, sample.image_labels, response.verdict.images, strict=True):
                images[ref.key] = {"label": label, "said": said.label, "unsafe": round(said.unsafe, 6)}
    return {
        "outcomes": {
            name: {each.sample_id: each.outcome for each in judge_all(judges.get(name), samples, responses)}
            for name in JUDGES
        },
        "images": images,
        "joint": {s.id: r.verdict.request.combination for s, r in pairs if r.verdict.request is not None},
        "answers": {sample.id: response.text for sample, response in pairs},
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put the whole file in place at once, so that a file that is there is a run that is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(path)
