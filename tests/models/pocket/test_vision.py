"""The tower: published weights fit, padding is TensorFlow's, and transformers knows it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel

from holisafe.models.pocket._vision import EfficientNetLiteConfig, EfficientNetLiteModel, SameConv2d
from holisafe.models.pocket._wheels import tower_state


@pytest.mark.parametrize(("size", "kernel", "stride"), [(192, 3, 2), (191, 3, 2), (24, 5, 2), (12, 5, 1), (7, 3, 1)])
def test_padding_is_the_same_padding_of_tensorflow(size: int, kernel: int, stride: int) -> None:
    convolution = SameConv2d(2, 3, kernel, stride, bias=False)
    x = torch.randn(1, 2, size, size)
    outputs = -(-size // stride)
    needed = max((outputs - 1) * stride + kernel - size, 0)
    padded = F.pad(x, (needed // 2, needed - needed // 2, needed // 2, needed - needed // 2))
    expected = F.conv2d(padded, convolution.weight, stride=stride)
    assert convolution(x).shape[-1] == outputs
    torch.testing.assert_close(convolution(x), expected)


def test_the_published_weights_fit_exactly() -> None:
    model = EfficientNetLiteModel(EfficientNetLiteConfig())
    result = model.load_state_dict(tower_state())
    assert not result.missing_keys
    assert not result.unexpected_keys


def test_tokens_are_one_global_and_a_grid_of_local_ones() -> None:
    model = EfficientNetLiteModel(EfficientNetLiteConfig()).eval()
    output = model(torch.randn(2, 3, 192, 192))
    assert output.last_hidden_state.shape == (2, 10, 1280)
    # at 192 pixels the grid divides the feature map evenly, so the global token is the mean of the local ones
    torch.testing.assert_close(output.last_hidden_state[:, 1:].mean(1), output.pooler_output)


def test_local_tokens_see_their_own_part_of_the_image() -> None:
    model = EfficientNetLiteModel(EfficientNetLiteConfig()).eval()
    model.load_state_dict(tower_state())
    plain = torch.zeros(1, 3, 192, 192)
    marked = plain.clone()
    marked[:, :, :48, :48] = torch.randn(3, 48, 48)
    change = (model(marked).last_hidden_state - model(plain).last_hidden_state).norm(dim=-1)[0, 1:]
    assert change.argmax() == 0


def test_training_mode_leaves_batch_norm_statistics_alone() -> None:
    model = EfficientNetLiteModel(EfficientNetLiteConfig()).train()
    before = model._bn0.running_mean.clone()
    model(torch.randn(2, 3, 64, 64))
    assert torch.equal(model._bn0.running_mean, before)


def test_the_auto_classes_build_it() -> None:
    config = AutoConfig.for_model("efficientnet_lite")
    assert isinstance(AutoModel.from_config(config), EfficientNetLiteModel)
