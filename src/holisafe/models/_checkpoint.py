"""A checkpoint from a folder or the Hub, through transformers: loaded whole or refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, ProcessorMixin

import holisafe.models.pocket._vision  # noqa: F401  registers its tower, so that tuned copies of Pocket load
from holisafe._still import only_video_half_missing, still_processor
from holisafe.errors import MissingDependencyError, ModelError
from holisafe.families.features import forward_inputs
from holisafe.models._intact import check_loaded
from holisafe.models.spec import ModelSpec, Quantization
from holisafe.models.templates import check_chat_template


def load_checkpoint(spec: ModelSpec, *, is_local: bool) -> tuple[Any, Any, str | None]:
    """The model in evaluation mode, its processor, and the Hub commit that was loaded (None for a local folder).

    Raises:
        ModelError: The checkpoint is missing, gated, incomplete, damaged or of another kind.
        MissingDependencyError: What an option needs is not installed.
    """
    name = spec.source
    source = str(Path(name).expanduser()) if is_local else name
    device = spec.device or ("cuda" if torch.cuda.is_available() else "cpu")
    is_on_gpu = not device.startswith("cpu") if spec.device_map is None else torch.cuda.is_available()
    dtype = spec.dtype or ("auto" if is_on_gpu else "float32")
    common: dict[str, Any] = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
    if not is_local:
        common["local_files_only"] = _only_in_cache(name, spec.revision)
    try:
        processor = _load_processor(source, common)
    except Exception as error:
        raise _explained(error, name, "processor") from error
    options = _placing(spec, device)
    if spec.attention is not None:
        options["attn_implementation"] = spec.attention
    try:
        model, info = AutoModelForImageTextToText.from_pretrained(
            source, dtype=str(dtype), use_safetensors=True, output_loading_info=True, **common, **options
        )
        if "device_map" not in options:
            model = model.to(device)
    except Exception as error:
        raise _explained(error, name, "weights") from error
    check_loaded(model, info, name)
    return model.eval(), processor, model.config._commit_hash if not is_local else None


def check_model(model: Any, processor: Any, name: str) -> None:
    """Refuse a processor that takes no images, or whose chat template does not.

    Raises:
        ModelError: Says what is missing.
    """
    if not isinstance(processor, ProcessorMixin):
        raise ModelError(
            f"{name}: expected a processor that takes text and images, found {type(processor).__name__}; the "
            "folder needs processor_config.json or preprocessor_config.json beside the tokenizer"
        )
    check_chat_template(processor, name, forward_inputs(model).image_token)


def check_place(spec: ModelSpec) -> None:
    """Say early that a device is not there.

    Raises:
        ModelError: It is not.
    """
    kind, _, place = (spec.device or "cpu").partition(":")
    available = {"cuda": torch.cuda, "xpu": torch.xpu}.get(kind)
    if available is not None:
        count = available.device_count() if available.is_available() else 0
        if count <= int(place or 0):
            found = f"{count} of that kind" if count else "none of that kind that this torch can use"
            raise ModelError(f"device {spec.device!r}: found {found}; use cpu, or install torch for your GPU")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device 'mps': this machine has none that torch can use; use cpu")


def _placing(spec: ModelSpec, device: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` for several devices and for quantization.

    Raises:
        ModelError: transformers does not know the quantization.
        MissingDependencyError: accelerate or bitsandbytes is not installed.
    """
    options: dict[str, Any] = {}
    if spec.device_map is not None:
        options["device_map"] = spec.device_map if isinstance(spec.device_map, str) else dict(spec.device_map)
    if spec.quantization is not None:
        options["quantization_config"] = _quantization(spec.quantization)
        options.setdefault("device_map", {"": device})  # quantized weights cannot be moved afterwards
    if "device_map" in options and find_spec("accelerate") is None:
        raise MissingDependencyError("device_map needs accelerate, which is not installed; run: pip install accelerate")
    return options


def _quantization(wanted: Quantization | Mapping[str, Any]) -> Any:
    from transformers import BitsAndBytesConfig
    from transformers.quantizers.auto import AutoQuantizationConfig

    is_bitsandbytes = isinstance(wanted, Quantization) or wanted["quant_method"] == "bitsandbytes"
    if is_bitsandbytes and find_spec("bitsandbytes") is None:
        raise MissingDependencyError(
            "quantization by bitsandbytes needs that library, which is not installed; run: pip install bitsandbytes"
        )
    if wanted is Quantization.FOUR_BIT:
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    if wanted is Quantization.EIGHT_BIT:
        return BitsAndBytesConfig(load_in_8bit=True)
    try:
        return AutoQuantizationConfig.from_dict(dict(wanted))
    except (ValueError, TypeError, KeyError, ImportError) as error:
        first = str(error).strip().splitlines()[0][:200]
        raise ModelError(f"quantization: transformers does not take these settings ({first})") from error


def _only_in_cache(name: str, revision: str | None) -> bool:
    """Ask the Hub once for a model; True if it cannot be asked but the model is in the local cache.

    Raises:
        ModelError: It cannot be asked, or does not give the model, and the cache does not hold it.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        HfApi().model_info(name, revision=revision, timeout=10)
    except Exception as error:  # the network fails in many ways; the cache decides
        if not isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            raise _explained(error, name, "description") from error
        return True
    return False


def _load_processor(source: str, options: dict[str, Any]) -> Any:
    """The checkpoint's processor; without its video half where only that is missing."""
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(source, **options)
    except (ImportError, OSError) as error:
        if not only_video_half_missing(error):
            raise
        return still_processor(source, **options)


def _explained(error: Exception, name: str, part: str) -> ModelError:
    """Turn what transformers or the Hub raised into one line that says what to do."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    kinds = {type(each).__name__ for each in seen}
    text = " ".join(str(each) for each in seen)
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    if "GatedRepoError" in kinds or "gated repo" in text.lower():
        return ModelError(
            f"{name} is gated: accept its terms on its Hub page, then log in with `hf auth login` and try again"
        )
    if kinds & {"RepositoryNotFoundError", "RevisionNotFoundError"}:
        return ModelError(f"{name}: the Hub has no such model or revision, or it is private ({first})")
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError", "ConnectTimeout"}:
        return ModelError(f"{name} is not in the local cache and the Hub cannot be reached; use a local folder instead")
    if "HFValidationError" in kinds:
        return ModelError(f"{name}: no folder, and no Hub id, which has the form org/name; check the name")
    if "Unrecognized configuration class" in text:
        return ModelError(f"{name} is not an image-text-to-text model that transformers knows ({first})")
    return ModelError(f"{name}: its {part} could not be loaded: {type(error).__name__}: {first}")
