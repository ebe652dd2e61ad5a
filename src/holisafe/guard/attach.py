"""Plugging a guard into a model and taking it out again.

One hook on the language model sees what goes in at the images' positions (the projector's output) and what comes out
(the last hidden states), in the same forward pass that the answer needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import NoneType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from holisafe._checks import check_type
from holisafe.errors import GuardError
from holisafe.families import Family, Grouping
from holisafe.guard._config import ANSWER_OUTPUTS, Features, GuardConfig, GuardSite
from holisafe.guard._vision_tower import vision_width
from holisafe.guard.calibration import Calibration
from holisafe.guard.family import guardable_family
from holisafe.guard.head import Guard, Head
from holisafe.guard.observer import Observer

M = TypeVar("M")

NAME = "guard"
"""The submodule's name."""


def attach_guard(model: M, config: GuardConfig | None = None, *, processor: Any = None) -> M:
    """Add a guard to a vision-language model: the same object comes back, with one more submodule, `guard`.

    `generate`, Trainer, PEFT and `save_pretrained` keep working, and the model computes what it did before: the guard
    works in a session alone (`guarded_generate`, `holisafe.guard.session`). The new weights are random: train them, or
    load them with `load_guard`. PEFT freezes all but its adapters, so call `train_guard` after `get_peft_model`.

    Args:
        model: Any transformers image-text-to-text model, also one wrapped by PEFT, DDP or torch.compile.
        config: The guard's parts; `GuardConfig()` when None, `GuardConfig.paper()` for the published head.
        processor: The model's processor; needed by families that cut an image into tiles marked by tokens whose ids
            only the tokenizer knows.

    Raises:
        GuardError: The model has a guard, takes no images, or is of a family that cannot be guarded. It is then as it
            was.
    """
    check_type(config, (GuardConfig, NoneType), "config")
    return attach_known(model, config or GuardConfig(), None, processor)


def attach_known(model: M, config: GuardConfig, known: GuardSite | None, processor: Any) -> M:
    """Add a guard that was made for the model of another time: `attach_guard`, with what was found then.

    Args:
        model: A transformers model.
        config: The guard's parts.
        known: What was found of the model that the guard was made for; None of a new guard.
        processor: See `attach_guard`.

    Raises:
        GuardError: As `attach_guard`, or the model's widths differ from those known.
    """
    base = base_model(model)
    if NAME in dict(base.named_children()):
        raise GuardError("the model has a guard already; take it out first with detach_guard(model)")
    family = guardable_family(base)
    if not base.can_generate():
        raise GuardError(f"{type(base).__name__} gives no answers; load the model with AutoModelForImageTextToText")
    if config.features is Features.PROJECTOR and family.language_only:
        raise GuardError(f'{family.model_type} models need features="language": {family.language_only}')
    site = _site(base, family, config, known, processor)
    language_model = language_model_of(base, family)
    guard = Guard(config, site).train(base.training)
    where = _output_place(base)
    place = torch.device("cpu") if where.is_meta else where.device  # weights offloaded by accelerate are on meta
    guard.to(device=place, dtype=where.dtype if where.is_floating_point() else torch.float32)
    base.add_module(NAME, guard)
    observer = Observer(base, language_model, family, config, site)
    base.__dict__[_OBSERVER] = observer
    return model


def detach_guard(model: M) -> M:
    """Take the guard out; the model's outputs and state are as before it was attached.

    Raises:
        GuardError: There is none.
    """
    base = base_model(model)
    observer_of(model).remove()
    del base.__dict__[_OBSERVER]
    delattr(base, NAME)
    return model


def guard_of(model: Any) -> Guard:
    """The model's guard.

    Raises:
        GuardError: There is none.
    """
    observer_of(model)
    guard: Guard = base_model(model).get_submodule(NAME)
    return guard


def train_guard(model: M, trains: bool = True) -> M:
    """Make the guard's weights trainable, or freeze them; the others stay as they are."""
    guard_of(model).requires_grad_(trains)
    return model


def add_output_head(model: M) -> M:
    """Give the model's guard a new output head, whose weights are random; its other parts stay.

    Raises:
        GuardError: The model has no guard, or the guard has an output head.
    """
    observer, guard = observer_of(model), guard_of(model)
    if observer.config.output_head:
        raise GuardError("the guard has an output head already; `holisafe calibrate --answers` sets its threshold")
    own = next(guard.parameters())
    observer.config = guard.config = replace(observer.config, output_head=True)
    head = Head(observer.site.width, ANSWER_OUTPUTS, guard.config)
    guard.output_head = head.to(own.device, own.dtype).train(guard.training)
    return model


def set_calibration(model: M, calibration: Calibration) -> M:
    """Use these temperatures and thresholds in sessions from now on; `save_guard` saves them with the guard.

    Args:
        model: A model with a guard.
        calibration: What `calibrate` gave, or one set by hand; `Calibration()` for none.

    Returns:
        The same model.

    Raises:
        GuardError: The model has no guard.
    """
    check_type(calibration, Calibration, "calibration")
    observer_of(model).calibration = calibration
    return model


def calibration_of(model: Any) -> Calibration:
    """Temperatures and thresholds of the model's guard.

    Raises:
        GuardError: The model has no guard.
    """
    return observer_of(model).calibration


def observer_of(model: Any) -> Observer:
    """What watches the model's forward passes.

    Raises:
        GuardError: The model has no guard.
    """
    observer = find_observer(model)
    if observer is None:
        raise GuardError("the model has no guard; add one with attach_guard(model) or load_guard(model, folder)")
    return observer


def find_observer(model: Any) -> Observer | None:
    """What watches the model's forward passes; None where it has no guard."""
    observer: Observer | None = base_model(model).__dict__.get(_OBSERVER)
    return observer


def base_model(model: Any) -> Any:
    """The transformers model inside wrappers such as PEFT's, DDP's or torch.compile's.

    Raises:
        GuardError: There is none.
    """
    from transformers import PreTrainedModel

    if isinstance(model, nn.Module):
        for module in model.modules():
            if isinstance(module, PreTrainedModel):
                return module
    raise GuardError(f"expected a transformers model, found {type(model).__name__}")


def name_of(base: Any) -> str:
    """What a model was loaded from; its class where it was not."""
    return str(base.config._name_or_path) or type(base).__name__


def language_model_of(base: Any, family: Family) -> nn.Module:
    """The module that reads the embedded prompt and gives its last hidden states."""
    module: nn.Module = base.get_submodule(family.language_model) if family.language_model else base.get_decoder()
    if module is base:
        raise GuardError(f"{family.model_type} models cannot be guarded: they have no language model of their own")
    return module


def _language_width(base: Any) -> int:
    return int(base.config.get_text_config(decoder=True).hidden_size)


def _output_place(base: Any) -> Tensor:
    """A tensor on the device, and of the dtype, of the hidden states that come out."""
    head: nn.Module | None = base.get_output_embeddings()
    parameters: Iterator[Tensor] = (base if head is None else head).parameters()
    return next(parameters)


def _site(base: Any, family: Family, config: GuardConfig, known: GuardSite | None, processor: Any) -> GuardSite:
    width = _language_width(base)
    found = vision_width(base, family) if config.meta_in_encoder else None
    if known is not None and known.width != width:
        raise GuardError(f"the guard is for a hidden size of {known.width}, and the model's is {width}")
    if known is not None and known.vision_width not in (None, found):
        raise GuardError(f"the guard is for a vision encoder of hidden size {known.vision_width}, not {found}")
    boundaries = known.boundary_ids if known is not None else ((), ())
    token = known.meta_token_id if known is not None else None
    if token is None and config.meta_token and not config.meta_in_encoder:
        token = _meta_token_id(base)
    return GuardSite(
        model_type=str(base.config.model_type),
        base_model=known.base_model if known is not None and known.base_model else name_of(base),
        width=width,
        vision_width=found,
        boundary_ids=boundaries if any(boundaries) else _boundary_ids(base, family, processor),
        meta_token_id=token,
    )


def _boundary_ids(base: Any, family: Family, processor: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if family.grouping is not Grouping.BOUNDARIES:
        return ((), ())
    return (
        tuple(_token_id(base, family, name, processor) for name in family.first),
        tuple(_token_id(base, family, name, processor) for name in family.last),
    )


def _token_id(base: Any, family: Family, name: str, processor: Any) -> int:
    if name.startswith("config."):
        return int(getattr(base.config, name.removeprefix("config.")))
    if processor is None:
        raise GuardError(
            f"{family.model_type} cuts an image into tiles, and only its tokenizer knows which token ({name}) begins "
            "or ends one: attach_guard(model, config, processor=processor)"
        )
    found = processor.tokenizer.convert_tokens_to_ids(name)
    if found is None or found == processor.tokenizer.unk_token_id:
        raise GuardError(f"the tokenizer has no token {name}, which {family.model_type} writes around images")
    return int(found)


def _meta_token_id(base: Any) -> int:
    """The last token of the vocabulary to which the configuration gives no meaning."""
    values = (pair for each in (base.config, base.generation_config) for pair in _flat(each.to_dict()))
    taken = {value for key, value in values if key.endswith(("_token_id", "_token_index"))}
    last = int(base.get_input_embeddings().weight.shape[0]) - 1
    return next(token for token in range(last, -1, -1) if token not in taken)


def _flat(values: dict[Any, Any]) -> Iterator[tuple[str, int]]:
    """Keys and values of a nested dictionary's whole numbers, those in lists too."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield from (
                (str(key), each) for each in (value if isinstance(value, list) else [value]) if type(each) is int
            )


_OBSERVER = "_guard_observer"
