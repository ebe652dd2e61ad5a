"""How much more a weight matters for unsafe input than for safe input (Eq. 8 to 10 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from holisafe.editing._checkpoint import Checkpoint
from holisafe.editing._encoders import Encoders, open_encoders
from holisafe.editing._pairs import Pair, read_pairs
from holisafe.editing.methods.uwm._layers import Encoder, Layer
from holisafe.errors import EditingError

EPSILON = 1e-8
"""Added to denominators, as the published code does for the vision encoder."""


class RunningScore:
    """Mean over pairs of the ratio of unsafe to safe score of each weight of one linear layer.

    A sample's score of weight (i, j) is out_i · in_j / σ_j, where A = z_j |W_ij|, out is A's mean over j, in its mean
    over i, z_j the norm of input j over the tokens and σ_j its standard deviation. The ratio of two samples is an outer
    product of a vector over outputs and one over inputs.

    Args:
        weight: (out, in).
        by_magnitude: Whether the ratio is multiplied by |W|, as for text encoders.
    """

    def __init__(self, weight: Tensor, *, by_magnitude: bool) -> None:
        self._magnitude = weight.detach().abs().float()  # (out, in)
        self._by_magnitude = by_magnitude
        self._sum = torch.zeros_like(self._magnitude)
        self._pairs = 0

    def add(self, safe: Tensor, unsafe: Tensor) -> None:
        """Add a pair: what the layer reads of the safe and of the unsafe sample, each (tokens, in)."""
        of_output, of_input = zip(*map(self._factors, (safe, unsafe)), strict=True)
        self._sum.addr_(of_output[1] / (of_output[0] + EPSILON), of_input[1] / (of_input[0] + EPSILON))
        self._pairs += 1

    @property
    def score(self) -> Tensor:
        """Φ, (out, in)."""
        mean = self._sum / self._pairs
        return mean * self._magnitude if self._by_magnitude else mean

    def _factors(self, read: Tensor) -> tuple[Tensor, Tensor]:
        read = read.float()  # (tokens, in)
        norm = read.norm(dim=0)  # (in,)
        spread = read.std(dim=0, correction=0)  # (in,)
        of_output = self._magnitude @ norm / len(norm)  # (out,)
        of_input = norm * self._magnitude.mean(0) / (spread + EPSILON)  # (in,)
        return of_output, of_input


def score_layers(base: Checkpoint, layers: Sequence[Layer], config: Any) -> dict[str, Tensor]:
    """Φ of each layer's weights, by the name of its tensor.

    Raises:
        EditingError: There are no pairs, or a layer is not used by the encoder.
        DataError: The pairs cannot be read.
        ImageError: An image cannot be read.
    """
    needs_images = any(layer.encoder is Encoder.VISION for layer in layers)
    needs_texts = any(layer.encoder is Encoder.TEXT for layer in layers)
    pairs = read_pairs(config.pairs, images=needs_images, texts=needs_texts, limit=config.limit)
    encoders = open_encoders(base, device=config.device)
    scores: dict[str, Tensor] = {}
    for encoder in Encoder:
        own = [layer for layer in layers if layer.encoder is encoder]
        if own:
            scores |= _score(encoders, encoder, own, pairs)
    return scores


def _score(encoders: Encoders, encoder: Encoder, layers: Sequence[Layer], pairs: Sequence[Pair]) -> dict[str, Tensor]:
    modules: dict[str, nn.Linear] = {layer.tensor: encoders.model.get_submodule(layer.module) for layer in layers}
    running = {
        name: RunningScore(module.weight, by_magnitude=encoder is Encoder.TEXT) for name, module in modules.items()
    }
    encode = _encode_text if encoder is Encoder.TEXT else _encode_image
    for pair in pairs:
        safe, unsafe = (_read_by(modules, encode(encoders, pair, is_safe)) for is_safe in (True, False))
        for name, score in running.items():
            if name not in safe or name not in unsafe:
                raise EditingError(f"{name}: the {encoder} encoder does not use this layer; name another")
            score.add(safe[name], unsafe[name])
    return {name: each.score.cpu() for name, each in running.items()}


def _encode_image(encoders: Encoders, pair: Pair, is_safe: bool) -> tuple[Callable[[], Any], int | None]:
    image = pair.safe_image if is_safe else pair.unsafe_image
    return (lambda: encoders.encode_image(image)), None


def _encode_text(encoders: Encoders, pair: Pair, is_safe: bool) -> tuple[Callable[[], Any], int | None]:
    text = pair.safe_text if is_safe else pair.unsafe_text
    return (lambda: encoders.encode_text(text)), encoders.text_tokens(text)


def _read_by(modules: Mapping[str, nn.Linear], encode: tuple[Callable[[], Any], int | None]) -> dict[str, Tensor]:
    """What each layer reads while one sample is encoded, (tokens, in); of a padded text, the first tokens."""
    run, tokens = encode
    read: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            read[name] = inputs[0].detach().reshape(-1, inputs[0].shape[-1])[:tokens]

        return keep

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in modules.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return read
