"""Which weights learn: the language model's adapter, the projector, the vision encoder, the guard; each at its rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from holisafe.errors import TuningError
from holisafe.guard.attach import NAME, base_model, find_observer, language_model_of
from holisafe.guard.family import guardable_family
from holisafe.tuning._config import PARTS, Precision, TuneConfig

TRAINING_ONLY = "training_only"
"""The submodule of what learns beside the model and is not saved with it."""


def configure_trainable_parts(model: Any, config: TuneConfig) -> Any:
    """Freeze every part that has no learning rate; the language model learns by an adapter (LoRA).

    What learns becomes float32, and so does everything else where the precision is float32. With "bfloat16" frozen
    weights keep their dtype, except the input embeddings, which visual features have to match: run the model under
    autocast then, and cast it back afterwards.

    Args:
        model: A transformers model; with a guard attached, unless the method is "sft".
        config: Rates, adapter and precision.

    Returns:
        The model, wrapped by PEFT if the language model learns.

    Raises:
        TuningError: The guard does not fit the method, the model lacks a part that is to learn, or none of its
            language model's layers has a name in `lora_target_modules`.
    """
    base = base_model(model)
    if base is not model:
        raise TuningError(f"expected a plain transformers model, found {type(model).__name__}; merge its adapter first")
    observer = find_observer(base)
    config.method_part.check_guard(None if observer is None else observer.config)
    if config.precision is Precision.FLOAT32:
        base.float()
    base.requires_grad_(False)
    if "language" in config.rates:
        model = _with_adapter(base, config)
    rates = config.rates
    for part, parameter in _by_part(base):
        if part in rates:
            parameter.requires_grad_(True)
    found = {part for part, parameter in _by_part(base) if parameter.requires_grad}
    if observer is None:
        rates.pop("guard", None)  # the method does without
    if not rates:
        raise TuningError("nothing learns: learning_rates freezes every part, and the model has no guard")
    if missing := [part for part in rates if part not in found]:
        raise TuningError(
            f"{type(base).__name__} has no {missing[0]} part of its own that could learn; freeze it "
            f'(learning_rates={{"{missing[0]}": None}})'
        )
    add_training_modules(base, config)
    for parameter in base.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if {"projector", "vision"} & set(rates):
        base.get_input_embeddings().float()
    return model


def add_training_modules(base: Any, config: TuneConfig) -> None:
    """Give the model what the method learns beside it; no random number that others draw changes by it."""
    width = int(base.config.get_text_config(decoder=True).hidden_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        modules = config.method_part.training_modules(width, config.method_config)
    if modules is not None:
        base.add_module(TRAINING_ONLY, modules.to(base.device))


def parameter_groups(model: Any, config: TuneConfig) -> list[dict[str, Any]]:
    """The weights that learn, for an optimizer: those of a part together, biases and norms without weight decay."""
    rates = config.rates
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {
        (part, decays): [] for part in (*PARTS, TRAINING_ONLY) for decays in (True, False)
    }
    for part, parameter in _by_part(base_model(model)):
        if parameter.requires_grad:
            groups[part, parameter.ndim > 1].append(parameter)
    rates[TRAINING_ONLY] = config.learning_rate
    return [
        {"params": found, "lr": rates[part], "weight_decay": config.weight_decay if decays else 0.0, "part": part}
        for (part, decays), found in groups.items()
        if found
    ]


def _with_adapter(base: Any, config: TuneConfig) -> Any:
    """The model with low-rank adapters beside the language model's named layers."""
    from peft import LoraConfig, get_peft_model

    language = language_model_of(base, guardable_family(base))
    inside = {id(module) for module in language.modules() if isinstance(module, nn.Linear)}
    linear = [name for name, module in base.named_modules() if id(module) in inside]
    chosen = [name for name in linear if name.rpartition(".")[2] in config.lora_target_modules]
    if not chosen:
        known = sorted({name.rpartition(".")[2] for name in linear})
        raise TuningError(
            f"lora_target_modules: found {', '.join(config.lora_target_modules)}, but the linear layers of the "
            f"language model are {', '.join(known)}"
        )
    return get_peft_model(
        base,
        LoraConfig(
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=chosen,
        ),
    )


def _by_part(base: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """Every weight that could learn, with its part; those of the language model but its adapter never do.

    What is neither the language model nor the image encoder is the projector, and so are the family's projector
    modules inside the encoder, such as Qwen's merger.
    """
    family = guardable_family(base)
    language = {id(each) for each in language_model_of(base, family).parameters()}
    for embedding in (base.get_input_embeddings(), base.get_output_embeddings()):
        language |= {id(each) for each in ([] if embedding is None else embedding.parameters())}
    encoder: Any = base.get_encoder(modality="image")
    vision = set() if encoder is base else {id(each) for each in encoder.parameters()}
    for name, parameter in base.named_parameters():
        if not torch.is_floating_point(parameter):
            continue
        if name.startswith(f"{NAME}."):
            yield "guard", parameter
        elif name.startswith(f"{TRAINING_ONLY}."):
            yield TRAINING_ONLY, parameter
        elif ".lora_" in name:
            yield "language", parameter
        elif id(parameter) in vision and not set(family.projector_modules) & set(name.split(".")):
            yield "vision", parameter
        elif id(parameter) not in language:
            yield "projector", parameter
