"""The families that need an entry: how they group visual tokens, or why they cannot be guarded."""

from __future__ import annotations

from holisafe.guard.family import GuardFamily, register_family

_CROSS_ATTENTION = "it reads images by cross-attention, so no position of the prompt holds their visual tokens"
_ENCODER = "its images are read by an encoder, and no position of the answering decoder stands for them"

for _family in (
    # every token of the vision encoder goes into the language model
    GuardFamily("llava", vision_tower="model.vision_tower"),
    GuardFamily("vipllava", vision_tower="model.vision_tower"),
    # one unbroken run is one image: its tiles follow each other, or images always have marks around them
    GuardFamily("gemma3", grouping="runs"),
    GuardFamily("internvl", grouping="runs"),
    GuardFamily("qianfan_ocr", grouping="runs"),
    GuardFamily("idefics2", grouping="runs"),
    GuardFamily("blip-2", grouping="runs", language_model="language_model.model.decoder"),
    GuardFamily("instructblip", grouping="runs", language_model="language_model.model.decoder"),
    GuardFamily(
        "granite4_vision",
        grouping="runs",
        language_only="its visual features are added inside the language model, and what is put into it is empty",
    ),
    # tiles or rows with tokens between them
    GuardFamily("idefics3", grouping="boundaries", first=("<row_1_col_1>",), last=("<global-img>",)),
    GuardFamily("smolvlm", grouping="boundaries", first=("<row_1_col_1>",), last=("<global-img>",)),
    GuardFamily("granite_docling", grouping="boundaries", first=("<row_1_col_1>",)),
    GuardFamily("aya_vision", grouping="boundaries", first=("<|START_OF_IMG|>",)),
    GuardFamily("cohere2_vision", grouping="boundaries", first=("<|START_OF_IMG|>",)),
    GuardFamily("lfm2_vl", grouping="boundaries", first=("<|image_start|>",)),
    GuardFamily("ovis2", grouping="boundaries", first=("<IMG_START>",)),
    GuardFamily("minicpmv4_6", grouping="boundaries", first=("<image>",)),
    GuardFamily(
        "llama4", grouping="boundaries", first=("config.boi_token_index",), language_model="language_model.model"
    ),
    GuardFamily("minicpm_ocr", grouping="boundaries", first=("<image>",)),
    GuardFamily("fuyu", grouping="boundaries", first=("<s>",)),
    # no tiles, but something else of their own
    GuardFamily("nemotron_h_omni", language_model="language_model.model"),
    GuardFamily("chameleon", language_only="its images are words of its vocabulary, without visual features"),
    # not to be guarded
    *(GuardFamily(name, why_not=_CROSS_ATTENTION) for name in ("mllama", "idefics", "blip")),
    *(
        GuardFamily(name, why_not=_ENCODER)
        for name in ("florence2", "t5gemma2", "udop", "pix2struct", "pp_formulanet", "vision-encoder-decoder")
    ),
    GuardFamily("git", why_not="it puts visual features before the text, and no position of the prompt stands for one"),
    *(
        GuardFamily(name, why_not="it marks images by a mask of its own, which the guard does not read")
        for name in ("kosmos-2", "kosmos-2.5")
    ),
    GuardFamily("shieldgemma2", why_not="it answers yes or no, not in words; guard the gemma3 model inside it"),
    GuardFamily("pi0", why_not="it answers with a robot's movements"),
    GuardFamily("diffusion_gemma", why_not="it writes by denoising, and the model that writes reads no image tokens"),
    GuardFamily(
        "perception_lm",
        why_not="its tiles and its images look the same in a prompt, so verdicts could not be told apart by image",
    ),
):
    register_family(_family)
