"""Which module of a model a tensor of its files belongs to, found without loading the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

import holisafe.models.pocket  # noqa: F401  registers its tower
from holisafe.editing._checkpoint import Checkpoint
from holisafe.errors import EditingError, GuardError, ModelError
from holisafe.families import family_of
from holisafe.guard.attach import language_model_of

VISION_LANGUAGE = (AutoModelForImageTextToText,)
WITH_LANGUAGE = (AutoModelForImageTextToText, AutoModelForCausalLM)
ANY = (AutoModelForImageTextToText, AutoModel)
"""transformers' classes to try for a checkpoint, in order."""

_KINDS = {VISION_LANGUAGE: "a vision-language model", WITH_LANGUAGE: "a language model", ANY: "a model"}


@dataclass(frozen=True, slots=True)
class Layout:
    """A model without weights, and where the tensors of its files go.

    Attributes:
        model: The model, on the meta device.
        places: From the name of a tensor in the files to the name of its parameter; parameters that are put together
            from several tensors, such as experts, stand behind each of them.
    """

    model: Any
    places: dict[str, str]

    def tensors_in(self, module: nn.Module) -> set[str]:
        """Names in the files of the tensors that a module consists of."""
        path = next(name for name, each in self.model.named_modules() if each is module)
        return {file_name for file_name, place in self.places.items() if place.startswith(f"{path}.")}


def layout_of(checkpoint: Checkpoint, classes: Sequence[Any]) -> Layout:
    """Build a checkpoint's model on the meta device.

    Raises:
        ModelError: transformers does not know the model as one of these kinds, or it lacks weights.
    """
    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
    except Exception as error:  # transformers raises many kinds
        raise ModelError(
            f"{checkpoint.name}: its configuration cannot be read ({_first(error)}); models with code of their own "
            "are not edited"
        ) from error
    known = [each for each in classes if type(config) in each._model_mapping]
    if not known:
        wanted = _KINDS[tuple(classes)]
        raise ModelError(f"{checkpoint.name} is of type {config.model_type}; expected {wanted} that transformers knows")
    try:
        with torch.device("meta"):
            model = known[0].from_config(config)
    except Exception as error:
        raise ModelError(f"{checkpoint.name}: its model cannot be built ({_first(error)})") from error
    layout = Layout(model, _places(model, checkpoint))
    _check_whole(layout, checkpoint)
    return layout


def language_modules(layout: Layout, name: str) -> tuple[nn.Module, nn.Module | None]:
    """The decoder of a model, and its output layer.

    Raises:
        EditingError: The model has no decoder of its own.
    """
    model = layout.model
    try:
        decoder = language_model_of(model, family_of(model))
    except (GuardError, AttributeError) as error:
        raise EditingError(f"{name}: {model.config.model_type} models have no language model of their own") from error
    return decoder, model.get_output_embeddings()


def _places(model: Any, checkpoint: Checkpoint) -> dict[str, str]:
    """As `from_pretrained` renames what it reads."""
    transforms = get_model_conversion_mapping(model)
    renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, WeightConverter)]
    parameters = model.state_dict()
    places = {}
    for name in checkpoint.tensors:
        place, _ = rename_source_key(name, renamings, converters, model.base_model_prefix, parameters)
        places[name] = name if place not in parameters and name in parameters else place
    return places


def _check_whole(layout: Layout, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that lacks parameters; those that share a tensor with another need one of the two."""
    tied = layout.model.all_tied_weights_keys
    there = set(layout.places.values())
    there |= {one for one, other in tied.items() if other in there} | {tied[one] for one in tied if one in there}
    wanted = {name for name, _ in layout.model.named_parameters(remove_duplicate=False)}
    if missing := sorted(wanted - there):
        raise ModelError(
            f"{checkpoint.name}: the checkpoint lacks {missing[0]}, and {len(missing) - 1} more; get its files again"
        )


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
