"""Lets torchvision's build for CUDA be imported on a machine without CUDA: pytorch/vision issue 9085.

Its Python code asks for two operators of a library that cannot be loaded. They are defined here before it looks, and
never called: no model served here uses them. tools/vllm.sh puts this file into vLLM's environment, as
`sitecustomize.py`.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_KEPT: list[Any] = []


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Acts when torchvision is imported, so that other programs do not import torch."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Find nothing."""
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _KEPT.append(library)


sys.meta_path.insert(0, _BeforeTorchvision())
