"""The guard's own weights: heads, attention pooling and the meta token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holisafe.errors import GuardError
from holisafe.guard._config import ANSWER_OUTPUTS, JOINT_OUTPUTS, GuardConfig, GuardSite

NO_OUTPUT_HEAD = "the model's guard has no output head, which judges answers; `holisafe guard train-output` adds one"


class Head(nn.Module):
    """Linear, GELU, dropout, as often as the depth asks for, then a linear classifier.

    Source: arXiv 2506.04704 v5, section 4; `mlp` and its numbering are those of the released weights.
    """

    def __init__(self, width: int, outputs: int, config: GuardConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        hidden = config.hidden_width(width)
        for _ in range(config.depth - 1):
            layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(config.dropout)]
            width = hidden
        self.mlp = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, vectors: Tensor) -> Tensor:
        """(vectors, width) to logits (vectors, outputs)."""
        logits: Tensor = self.mlp(vectors)
        return logits


class Guard(nn.Module):
    """What `attach_guard` adds to a model, as its submodule `guard`.

    Attributes:
        config: Its configuration.
        image_head: Classifies images, None where the configuration has none.
        joint_head: Classifies image and question together, None where the configuration has none.
        output_head: Judges answers, None where the configuration has none.
        query: (width,), what attention pooling compares visual tokens with; None for other pooling.
        meta_token: (width,), the embedding of the safety meta token, (vision width,) where it is in the vision
            encoder; None without one.
    """

    def __init__(self, config: GuardConfig, site: GuardSite) -> None:
        super().__init__()
        width = site.width
        self.config = config
        self.image_head = Head(width, len(config.labels), config) if config.image_head else None
        self.joint_head = Head(width, JOINT_OUTPUTS, config) if config.joint_head else None
        self.output_head = Head(width, ANSWER_OUTPUTS, config) if config.output_head else None
        self.query = nn.Parameter(torch.zeros(width)) if config.pooling == "attention" else None
        token_width = site.vision_width if config.meta_in_encoder else width
        assert token_width is not None
        self.meta_token = nn.Parameter(torch.randn(token_width) * 0.02) if config.meta_token else None

    def forward(self, images: Tensor | None, prompts: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Classify.

        Args:
            images: One vector per image (images, width), or None.
            prompts: The hidden state of each prompt's last position (prompts, width), or None.

        Returns:
            Logits of images (images, labels) and of prompts (prompts, 12); None where there is no head or no input.
        """
        image_logits = self.image_head(self._placed(images)) if self.image_head and images is not None else None
        joint_logits = self.joint_head(self._placed(prompts)) if self.joint_head and prompts is not None else None
        return image_logits, joint_logits

    def judge_answers(self, states: Tensor) -> Tensor:
        """Logits of answers (answers, 9) from the hidden state of the last token read of each (answers, width).

        Raises:
            GuardError: There is no output head.
        """
        if self.output_head is None:
            raise GuardError(NO_OUTPUT_HEAD)
        logits: Tensor = self.output_head(self._placed(states))
        return logits

    def _placed(self, vectors: Tensor) -> Tensor:
        own = next(self.parameters())
        return vectors.to(own.device, own.dtype)
