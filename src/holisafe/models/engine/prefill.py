"""The inputs of `generate` for a batch of prompts, by the cheapest way that is right for the family.

Three ways, each giving the same answers:

- plain: the processor pads the batch, and the model encodes every image again;
- features: the visual features of an image are computed once and handed to every question about it;
- prefix: besides, the keys and values of everything up to the end of the image are computed once per image, where the
  chat template puts the image before the question.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from holisafe.families.features import ForwardInputs, encode_images, join_features, size_of
from holisafe.models.prompts import Prepared, messages, template_options

if TYPE_CHECKING:
    from holisafe.models._watch import Watch


class FeatureCache:
    """Visual features of the images seen last, up to `limit` bytes, by what the images' bytes are.

    Attributes:
        computed: How often the vision encoder ran.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._bytes = 0
        self.computed = 0

    def features(self, model: Any, family: ForwardInputs, prompt: Prepared) -> Any:
        """The features of the prompt's images, computed if they are not held."""
        if prompt.shown not in self._held:
            output = encode_images(model, family, prompt.vision)
            self._held[prompt.shown] = output
            self.computed += 1
            self._bytes += size_of(output)
            while self._bytes > self._limit and len(self._held) > 1:
                self._bytes -= size_of(self._held.popitem(last=False)[1])
        self._held.move_to_end(prompt.shown)
        return self._held[prompt.shown]


def plain_inputs(model: Any, processor: Any, prompts: Sequence[Prepared]) -> dict[str, Any]:
    """Inputs of `generate` as the processor itself pads them; the prompts must have been kept."""
    conversations = [messages(prompt.prompt) for prompt in prompts if prompt.prompt is not None]
    options = {**prompts[0].template_args, **template_options(processor)}
    options["processor_kwargs"] = {"padding": len(prompts) > 1}
    processor.tokenizer.padding_side = "left"
    batch = processor.apply_chat_template(conversations, return_dict=True, **options)
    return dict(batch.to(model.device, model.dtype))


def feature_inputs(
    model: Any, family: ForwardInputs, cache: FeatureCache, prompts: Sequence[Prepared], pad: int
) -> dict[str, Any]:
    """Inputs of `generate` with the visual features of each image computed once."""
    return {**_padded(model, prompts, pad), **_vision(model, family, cache, prompts)}


@torch.inference_mode()
def prefix_inputs(
    model: Any,
    family: ForwardInputs,
    cache: FeatureCache,
    groups: Sequence[Sequence[Prepared]],
    config: GenerationConfig,
    watch: Watch,
) -> dict[str, Any] | None:
    """Inputs of `generate` with the keys and values of what each group shares; None where that cannot be done.

    The prompts of a group share their images and every token up to the last of them. These prefixes are read once,
    one row per group, and their keys and values repeated for each prompt. Each row then is
    [padding, prefix, padding, question]; attention mask and positions leave the padding out.
    """
    lengths = [shared_prefix(group, family) for group in groups]
    if not all(lengths):
        return None
    prompts = [prompt for group in groups for prompt in group]
    heads = [_cut(group[0], 0, length) for group, length in zip(groups, lengths, strict=True)]
    tails = [_cut(p, length, len(p.ids)) for group, length in zip(groups, lengths, strict=True) for p in group]
    start = _padded(model, heads, config.pad_token_id)  # (groups, prefix)
    end = _padded(model, tails, config.pad_token_id)  # (rows, question)
    total = start["input_ids"].shape[1] + end["input_ids"].shape[1] + config.max_new_tokens
    past: Any = DynamicCache(config=model.config.get_text_config(decoder=True))
    if not _fits(past, total):
        return None
    single = copy.deepcopy(config)
    single.max_new_tokens = 1
    vision = _vision(model, family, cache, heads)
    watch.start_shared({**start, **vision})
    model.generate(**start, **vision, past_key_values=past, generation_config=single)
    if past.get_seq_length() != start["input_ids"].shape[1] or not _fits(past, total):
        return None
    watch.go_on([len(group) for group in groups], end)
    rows = torch.tensor([row for row, group in enumerate(groups) for _ in group], device=model.device)
    past.batch_select_indices(rows)
    whole = {key: torch.cat([start[key][rows], end[key]], dim=1) for key in end}  # (rows, prefix + question)
    whole |= _positions(model, family, prompts)
    if family.takes_positions:
        whole["position_ids"] = model._prepare_position_ids_for_generation(whole["input_ids"], dict(whole))
    return {**whole, "past_key_values": past}


def shared_prefix(group: Sequence[Prepared], family: ForwardInputs) -> int:
    """Number of leading tokens that every prompt of `group` shares and that hold all its images; 0 for none.

    At least one token of each prompt stays outside, since the model must read something to answer.
    """
    shortest = min(len(prompt.ids) for prompt in group) - 1
    first = group[0]
    same = torch.ones(shortest, dtype=torch.bool)
    for other in group[1:]:
        same &= first.ids[:shortest] == other.ids[:shortest]
        for key, values in first.per_token.items():
            same &= values[:shortest] == other.per_token[key][:shortest]
    length = int(same.long().cumprod(0).sum())
    if family.image_token is None or family.image_token not in first.ids[:length]:
        return 0
    inside = all(family.image_token not in prompt.ids[length:] for prompt in group)
    return length if inside else 0


def _fits(past: Any, total: int) -> bool:
    """Whether padding inside the rows leaves every cache layer's view as it is without padding."""
    for layer in past.layers:
        if type(layer) is DynamicSlidingWindowLayer:
            if total >= layer.sliding_window:
                return False
        elif type(layer) is not DynamicLayer:
            return False
    return True


def _cut(prompt: Prepared, start: int, end: int) -> Prepared:
    per_token = {key: value[start:end] for key, value in prompt.per_token.items()}
    return Prepared(prompt.ids[start:end], per_token, prompt.vision if start == 0 else {}, prompt.shown)


def _padded(model: Any, prompts: Sequence[Prepared], pad: int) -> dict[str, Tensor]:
    """Left-padded token inputs of `prompts`, each (prompts, longest)."""
    width = max(len(prompt.ids) for prompt in prompts)

    def stack(rows: list[Tensor], value: int) -> Tensor:
        padded = [torch.nn.functional.pad(row, (width - len(row), 0), value=value) for row in rows]
        return torch.stack(padded).to(model.device)

    batch = {
        "input_ids": stack([prompt.ids for prompt in prompts], pad),
        "attention_mask": stack([torch.ones_like(prompt.ids) for prompt in prompts], 0),
    }
    for key in prompts[0].per_token:
        batch[key] = stack([prompt.per_token[key] for prompt in prompts], 0)
    return batch


def _positions(model: Any, family: ForwardInputs, prompts: Sequence[Prepared]) -> dict[str, Tensor]:
    """The inputs of the vision encoder that token positions read too, of all images in order."""
    keys = [key for key in prompts[0].vision if key in family.position_inputs]
    return {key: torch.cat([prompt.vision[key] for prompt in prompts]).to(model.device) for key in keys}


def _vision(model: Any, family: ForwardInputs, cache: FeatureCache, prompts: Sequence[Prepared]) -> dict[str, Any]:
    """Visual features of all images of `prompts`, in order, and the inputs that positions read."""
    features = [cache.features(model, family, prompt) for prompt in prompts if prompt.shown]
    if not features:
        return {}
    return {"mm_encoder_outputs": {"image": join_features(features)}, **_positions(model, family, prompts)}
