"""Reads the images and the end of each prompt out of forward passes, and lets the guard classify them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from holisafe.guard._config import GuardConfig
from holisafe.guard._spans import Layout, last_tokens, pooling_weights, slots


@dataclass(frozen=True, slots=True)
class GuardLogits:
    """What the guard's heads output for the prompts of one forward pass.

    Attributes:
        image_logits: (images, labels); None without an image head, or where no prompt has an image.
        image_rows: The prompt of each image (images,).
        joint_logits: (prompts, 12): five combinations, then seven categories; None without a joint head.
    """

    image_logits: Tensor | None
    image_rows: Tensor
    joint_logits: Tensor | None


class Reading:
    """The prompts of one call while the model reads them, in one forward pass or in chunks.

    Args:
        guard: The guard's module, which may be wrapped by PEFT.
        config: The guard's configuration.
        layout: Where the images are.
    """

    def __init__(self, guard: Any, config: GuardConfig, layout: Layout) -> None:
        self.layout = layout
        self._guard = guard
        self._config = config
        self._seen = 0  # columns that have been read
        self._pooled: Tensor | None = None
        self._weight: Tensor | None = None
        self._peak: Tensor | None = None
        self._ends: Tensor | None = None

    # sizes depend on the prompt, and decoding steps, which are worth compiling, do not come here
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def read(self, kwargs: Mapping[str, Any], hidden: Tensor) -> GuardLogits | None:
        """Pool what one pass shows of the images; the logits once the prompts have been read to their end.

        Args:
            kwargs: What the language model was given; its `inputs_embeds` are the projector's features.
            hidden: Its last hidden states (rows, columns, width).
        """
        states = hidden if self._config.features == "language" else kwargs["inputs_embeds"]
        beams = hidden.shape[0] // len(self.layout.ends)
        start, stop = self._seen, self._seen + hidden.shape[1]
        self._seen = stop
        if self._config.image_head and self.layout.images:
            self._pool(states[::beams], start, stop)
        if self._config.joint_head:
            self._read_ends(hidden[::beams], start, stop)
        return self._classify() if stop >= self.layout.width else None

    def read_embedded(self, embedded: Tensor) -> GuardLogits:
        """Classify images by what would go into the language model (rows, columns, width)."""
        if self.layout.images:
            self._pool(embedded, 0, self.layout.width)
        return self._classify()

    def meta_tokens(self, embedded: Tensor) -> Tensor:
        """The embeddings (rows, columns, width) with the learned token where it stands in the prompts.

        Once the prompts have been read, a pass that is as long as they are reads them again, as all do without a cache;
        others are decoding steps.
        """
        has_read = self._seen >= self.layout.width
        if has_read and embedded.shape[1] < self.layout.width:
            return embedded
        row, column, _image = self.layout.tokens
        start = 0 if has_read else self._seen
        stop = start + embedded.shape[1]
        beams = embedded.shape[0] // len(self.layout.ends)
        inside = (column >= start) & (column < stop)
        is_meta = torch.zeros(len(self.layout.ends), embedded.shape[1], dtype=torch.bool)
        is_meta[row[inside], column[inside] - start] = True
        is_meta = is_meta.repeat_interleave(beams, 0).to(embedded.device)[..., None]  # (rows, columns, 1)
        token = self._guard.meta_token.to(embedded.device, embedded.dtype)
        return torch.where(is_meta, token, embedded)

    def _pool(self, states: Tensor, start: int, stop: int) -> None:
        """Add these columns to the weighted sum of each image's states."""
        layout = self.layout
        weights = pooling_weights(layout, start, stop, len(layout.ends))  # (rows, images of a row, columns)
        if self._config.pooling == "last":
            weights = pooling_weights(last_tokens(layout), start, stop, len(layout.ends))
        weights = weights.to(states.device)
        if self._config.pooling == "attention":
            weights = self._attend(states, weights)
        # sums of thousands of states overflow float16; a power of two is exact in every format
        weights = (weights * 2.0 ** -int(layout.counts.max()).bit_length()).to(states.dtype)
        pooled = (weights @ states).float()  # (rows, images of a row, width)
        total = weights.float().sum(-1)  # (rows, images of a row)
        self._pooled = pooled if self._pooled is None else self._pooled + pooled
        self._weight = total if self._weight is None else self._weight + total

    def _attend(self, states: Tensor, is_of: Tensor) -> Tensor:
        """Attention weights (rows, images of a row, columns), at most 1; earlier chunks' sums are brought in line."""
        query: Tensor = self._guard.query.to(states.device, states.dtype) / states.shape[-1] ** 0.5
        scores = (states @ query).float()[:, None].masked_fill(is_of == 0, -torch.inf)
        before = is_of.new_full(is_of.shape[:2], _LOWEST) if self._peak is None else self._peak
        peak = torch.maximum(before, scores.detach().amax(-1))  # (rows, images of a row)
        if self._pooled is not None and self._weight is not None:
            kept = (before - peak).exp()
            self._pooled, self._weight = self._pooled * kept[..., None], self._weight * kept
        self._peak = peak
        return (scores - peak[..., None]).exp()

    def _read_ends(self, hidden: Tensor, start: int, stop: int) -> None:
        ends = self.layout.ends
        inside = ((ends >= start) & (ends < stop)).nonzero()[:, 0]
        if self._ends is None:
            self._ends = hidden.new_zeros(len(ends), hidden.shape[-1])
        rows = inside.to(hidden.device)
        read = hidden[rows, (ends[inside] - start).to(hidden.device)]
        self._ends = self._ends.index_copy(0, rows, read)

    def mean_vectors(self, embedded: Tensor) -> Tensor | None:
        """The mean of each image's features (images, width), float32, whatever the pooling; None without images.

        Args:
            embedded: What would go into the language model (rows, columns, width).
        """
        if not self.layout.images:
            return None
        plain = Reading(self._guard, replace(self._config, pooling="mean"), self.layout)
        plain._pool(embedded, 0, self.layout.width)
        return plain._image_vectors()

    def _image_vectors(self) -> Tensor | None:
        """One pooled vector per image (images, width), float32."""
        if self._pooled is None or self._weight is None:
            return None
        mean = self._pooled / self._weight.clamp(min=torch.finfo(torch.float32).tiny)[..., None]
        return mean[self.layout.rows.to(mean.device), slots(self.layout).to(mean.device)]

    def _classify(self) -> GuardLogits:
        image_logits, joint_logits = self._guard(self._image_vectors(), self._ends)
        return GuardLogits(image_logits, self.layout.rows, joint_logits)


_LOWEST = -1e30
"""Below every score, and finite, so that differences are."""
