"""From a model's name and data to all that a run needs: the model with its guard, and the samples in their order."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from holisafe.checkpoints.tuned import GUARD, hash_base
from holisafe.errors import TuningError
from holisafe.guard import Calibration, GuardConfig, attach_guard, load_guard, set_calibration
from holisafe.guard.attach import base_model, find_observer
from holisafe.guard.checkpoint import WEIGHTS_FILE, read_guard
from holisafe.models import LoadedModel, ModelSpec, load
from holisafe.models.loading import tuned_model
from holisafe.models.spec import Dtype
from holisafe.records import Sample
from holisafe.taxonomy import Combination
from holisafe.tuning._config import TuneConfig
from holisafe.tuning._mix import draw_equally, group_by_length, mix
from holisafe.tuning._processes import process
from holisafe.tuning._progress import OnStage, untold
from holisafe.tuning._samples import SkippedSample, TrainingData, find_unfit


def guard_for(config: TuneConfig, wanted: GuardConfig | bool | None, model: str) -> GuardConfig | None:
    """The guard that a method learns with; None where it has none.

    Args:
        config: The settings.
        wanted: Its parts; True for those of the model's own guard, or the defaults; False for none; None for what
            the method does by default.
        model: The model's name.

    Raises:
        TuningError: The method cannot learn that guard, has none, or does not do without.
    """
    method = config.method_part
    if wanted is None and not method.has_guard:
        return None
    if wanted is False:
        if method.has_guard:
            raise TuningError(f'method="{method.name}" does not do without a guard; use another method, such as "sft"')
        return None
    if wanted is True and not method.takes_guard:
        raise TuningError(f'method="{method.name}" has no guard; use another method, or ask for none')
    parts = wanted if isinstance(wanted, GuardConfig) else own_guard(model)
    return method.guard(parts or GuardConfig())


@dataclass(frozen=True, slots=True)
class Ready:
    """All that a run needs, once the data were held against the model; `own_guard` as `_attach` gives it."""

    loaded: LoadedModel
    training: TrainingData
    drawn: list[Sample]
    skipped: list[SkippedSample]
    longest: int | None
    weights: str
    on_cpu: bool
    own_guard: str | None

    @property
    def guard_began(self) -> str | None:
        """Is "own" where the guard is that of the model, "new" where it is another; None where there is none."""
        if find_observer(self.loaded.model) is None:
            return None
        return "new" if self.own_guard is None else "own"

    def counts(self, samples: Sequence[Sample]) -> dict[str, int]:
        """How many samples of each combination; general data apart, and "other" for data that do not say it."""
        general = {sample.id for sample in self.training.general}
        found = Counter("general" if each.id in general else each.combination or "other" for each in samples)
        names = [each.value for each in Combination] + [name for name in ("other", "general") if found[name]]
        return {name: found[name] for name in names}


def tunable(model: str | Path | ModelSpec) -> ModelSpec:
    """What is tuned, and how it is loaded.

    Raises:
        ModelError: There is no such option.
        TuningError: The spec asks for what tuning decides itself.
    """
    spec = ModelSpec.of(model)
    own = {
        "device_map": "`accelerate launch` distributes the model",
        "quantization": "what is learned cannot be merged into a quantized model",
        "guard": "give its parts as `guard`; a tuned model's own guard is found with it",
    }
    for name, why in own.items():
        if spec.options()[name] is not None:
            raise TuningError(f"{spec.source}: leave {name} out of the ModelSpec: {why}")
    return spec


def make_ready(
    spec: ModelSpec,
    training: TrainingData,
    config: TuneConfig,
    guard: GuardConfig | None,
    known: list[SkippedSample] | None,
    on_stage: OnStage = untold,
) -> Ready:
    """Load the model, attach its guard, leave out what does not fit it, and draw what is learned from.

    Raises:
        TuningError: No sample fits, or those that do cannot be balanced.
    """
    if training.general and not config.general_share:
        raise TuningError("there are general data, but general_share is 0, so that none would be learned from; set it")
    on_cpu = _on_cpu(spec.device)
    on_stage("loading the model", 0, 0)
    dtype = spec.dtype or (Dtype.FLOAT32 if on_cpu else Dtype.AUTO)
    loaded = load(replace(spec, device="cpu", dtype=dtype))  # the trainer takes it from there
    weights = hash_base(loaded.model, tuned_model(loaded.name))
    own = None if guard is None else _attach(loaded, guard, config)
    longest = _longest(loaded.model, config)
    if known is None:
        collate = config.method_part.collator(loaded.processor, None, chat_template_args=config.chat_template_args)
        extra = 0 if guard is None or not guard.meta_token else 1
        known = find_unfit((*training.samples, *training.general), collate, longest, extra, on_stage)
    fit = training.without(known)
    if not fit.samples:
        first = known[0]
        raise TuningError(
            f"none of the {len(training.samples)} samples can be learned from; the first, {first.id}: {first.why}. "
            f"{_REMEDIES[first.reason]}"
        )
    drawn = _drawn(fit, config)
    if config.group_by_length:
        batches = config.gradient_accumulation_steps * process()[1]
        drawn = group_by_length(drawn, config.batch_size, batches, seed=config.seed)
    return Ready(loaded, fit, drawn, known, longest, weights, on_cpu, own)


def _drawn(fit: TrainingData, config: TuneConfig) -> list[Sample]:
    """What is learned from, in its order.

    Raises:
        TuningError: The data cannot be balanced, or the method does not balance them as the settings say.
    """
    count = count_drawn(config, len(fit.samples))
    general: dict[str, Any] = {"general": fit.general, "general_share": config.general_share}
    if config.method_part.is_balanced:
        return mix(
            fit.samples,
            count,
            seed=config.seed,
            keep_twins=config.keep_twins,
            twin_share=config.twin_share,
            safe_weight=config.safe_weight,
            **general,
        )
    if config.twin_share is not None or config.safe_weight != 1:
        name = "twin_share" if config.twin_share is not None else "safe_weight"
        raise TuningError(f'{name}: method="{config.method}" draws all samples equally often; leave it out')
    return draw_equally(fit.samples, count, seed=config.seed, **general)


def own_guard(model: str) -> GuardConfig | None:
    """The parts of the guard that a tuned model has; None where it has none, or the model was not tuned.

    Raises:
        ModelError: The tuned model's folder cannot be read.
        GuardError: The guard cannot be.
    """
    tuned = tuned_model(model)
    if tuned is None or not (tuned.folder / GUARD).is_dir():
        return None
    return read_guard(tuned.folder / GUARD).config


def _attach(loaded: LoadedModel, guard: GuardConfig, config: TuneConfig) -> str | None:
    """Give a tuned model its guard, where it has these parts, to learn on, and any other a new one.

    Returns:
        SHA-256 of the guard's weights; None of a new one.

    Raises:
        TuningError: A new guard would not learn.
    """
    tuned, there = tuned_model(loaded.name), own_guard(loaded.name)
    if tuned is not None and there == guard:
        load_guard(loaded.model, tuned.folder / GUARD, processor=loaded.processor, any_base=True)
        set_calibration(loaded.model, Calibration())  # it was of other weights
        return hashlib.sha256((tuned.folder / GUARD / WEIGHTS_FILE).read_bytes()).hexdigest()
    if config.rate("guard") is None:
        why = "the model was not tuned with one" if there is None else "that of the model has other parts"
        raise TuningError(
            f"the guard is frozen, but the guard is new ({why}) and would keep its random weights; give it a "
            "learning rate"
        )
    torch.manual_seed(config.seed)  # of the guard's new weights
    attach_guard(loaded.model, guard, processor=loaded.processor)
    return None


def _on_cpu(device: str | None) -> bool:
    """Whether the model is trained on the CPU.

    Raises:
        TuningError: The device is neither, is not there, or is one of several without a launcher.
    """
    if device not in (None, "cpu", "cuda"):
        raise TuningError(f"device: expected cpu or cuda, found {device!r}; choose a GPU with CUDA_VISIBLE_DEVICES")
    if device == "cuda" and not torch.cuda.is_available():
        raise TuningError("device: found cuda, but torch sees no GPU; use cpu, or install torch for your GPU")
    if device == "cpu" or not torch.cuda.is_available():
        return True
    if torch.cuda.device_count() > 1 and process()[1] == 1:
        raise TuningError(
            f"torch sees {torch.cuda.device_count()} GPUs: start with `accelerate launch -m holisafe tune ...` to "
            "use all of them, or choose one with CUDA_VISIBLE_DEVICES=0"
        )
    return False


def _longest(model: Any, config: TuneConfig) -> int | None:
    """Most tokens of a sample: the model's context or the settings' limit; None where neither is known."""
    context = base_model(model).config.get_text_config(decoder=True).to_dict().get("max_position_embeddings")
    limits = [limit for limit in (context, config.max_length) if isinstance(limit, int)]
    return min(limits, default=None)


def count_drawn(config: TuneConfig, samples: int) -> int:
    """How many samples are drawn: epochs are passes over the safety data, beside which general data come."""
    if config.max_steps is not None:
        return config.max_steps * config.batch_size * config.gradient_accumulation_steps * process()[1]
    return max(1, round(config.num_train_epochs * samples / (1 - config.general_share)))


def step_count(config: TuneConfig, drawn: int) -> int:
    batches = math.ceil(math.ceil(drawn / config.batch_size) / process()[1])
    return math.ceil(batches / config.gradient_accumulation_steps)


_REMEDIES = {
    "image": "Give data whose images can be opened; `holisafe data validate` lists those that cannot",
    "length": "Raise max_length if the model's context allows, or give other data",
}
"""What to do where nothing can be learned from, by the reason why a sample was left out."""
