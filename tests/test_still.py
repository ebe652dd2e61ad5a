"""Processors without their video half, wherever among their parts it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    Gemma4Processor,
    LlavaNextVideoProcessor,
    MiniCPMV4_6Processor,
    Qwen2_5_VLProcessor,
    Qwen2_5OmniProcessor,
)

from guard.families.all import BUILDERS
from guard.prompts import pictures
from holisafe._still import still_images_only

FAMILIES = {
    "llava_next_video": LlavaNextVideoProcessor,  # first
    "minicpmv4_6": MiniCPMV4_6Processor,  # second of three
    "qwen2_5_omni_thinker": Qwen2_5OmniProcessor,  # second of four
    "gemma4": Gemma4Processor,  # last, and handed on by name
    "qwen2_5_vl": Qwen2_5_VLProcessor,  # last
}


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_read_again_it_makes_the_same_inputs(family: str, tmp_path: Path) -> None:
    case = BUILDERS[family]()
    case.processor.save_pretrained(tmp_path)
    again = still_images_only(FAMILIES[family]).from_pretrained(tmp_path)
    image = pictures()[0]
    prompt = {"text": [again.image_token], "images": [[image]], "return_tensors": "pt"}
    expected, found = case.processor(**prompt), again(**prompt)
    assert set(expected) == set(found)
    assert all(torch.equal(value, found[key]) for key, value in expected.items() if isinstance(value, torch.Tensor))
