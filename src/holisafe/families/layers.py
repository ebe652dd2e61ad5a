"""Where a language model's layers read and write the residual stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from holisafe.errors import ModelError

_ATTENTION = ("self_attn", "linear_attn", "attention", "attn", "temporal_block", "conv", "mixer")
_MLP = ("mlp", "feed_forward", "block_sparse_moe", "moe", "ffn")


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """One layer of a decoder.

    Attributes:
        layer: The layer; its first input is the residual stream, (rows, tokens, hidden).
        attention: The module whose output is added to the stream first.
        mlp: The module whose output is added to it second.
    """

    layer: nn.Module
    attention: nn.Module
    mlp: nn.Module


def decoder_layers(model: Any) -> list[DecoderLayer]:
    """The layers of a model's language model, first to last.

    Where a layer normalises what it adds to the stream (Gemma 2 and 3), those norms are the modules that add.

    Raises:
        ModelError: The model is not made of such layers.
    """
    layers = getattr(model.get_decoder(), "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        raise ModelError(f"{type(model).__name__}: its language model has no list of layers; its states cannot be read")
    return [_writers(layer, place) for place, layer in enumerate(layers)]


def _writers(layer: nn.Module, place: int) -> DecoderLayer:
    parts = dict(layer.named_children())
    if "post_feedforward_layernorm" in parts:
        return DecoderLayer(layer, parts["post_attention_layernorm"], parts["post_feedforward_layernorm"])
    attention = next((parts[name] for name in _ATTENTION if name in parts), None)
    mlp = next((parts[name] for name in _MLP if name in parts), None)
    if attention is None or mlp is None:
        raise ModelError(
            f"layer {place} of the language model is a {type(layer).__name__} with {', '.join(parts)}; expected one "
            "attention and one feed-forward part"
        )
    return DecoderLayer(layer, attention, mlp)
