"""Load any transformers image-text-to-text checkpoint: a short name, a local folder, or an id on the Hub.

A folder that `holisafe tune` made is loaded as its base model with what it learned laid over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holisafe.checkpoints.tuned import GUARD, TunedModel, find_tuned, lay_over
from holisafe.errors import MissingDependencyError, ModelError, UnknownNameError
from holisafe.models._still import only_video_half_missing, still_processor
from holisafe.models.registry import registered_guard, registered_models

DTYPES = ("auto", "float32", "bfloat16", "float16")

OWN_GUARD = "own"
"""Asks `load` for the guard that comes with the model."""

GUARD_FILE = "guard_config.json"
"""What tells that a folder holds a guard."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in evaluation mode and its processor; unpacks as `model, processor`.

    Attributes:
        model: The transformers model, on its device.
        processor: Its processor, which holds the chat template.
        name: What `load` was asked for.
        revision: The Hub commit that was loaded, or the revision that was asked for; None for a local folder.
        guard: Folder or Hub id that the model's guard was loaded from; None where it has no guard.
    """

    model: Any
    processor: Any
    name: str
    revision: str | None = None
    guard: str | None = None

    def __iter__(self) -> Iterator[Any]:
        """Yield the model, then the processor."""
        yield self.model
        yield self.processor


def load(
    name: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    attention: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    guard: str | Path | None = None,
) -> LoadedModel:
    """Load a vision-language model and its processor, with a guard if one is asked for.

    Args:
        name: A registered short name ("pocket"), a folder with a checkpoint or that `holisafe tune` made, or a Hub id
            ("org/name").
        device: Where to put it, e.g. "cpu", "cuda:1"; the first GPU, else the CPU, when not given.
        dtype: "auto" (as saved), "float32", "bfloat16" or "float16". When not given: as saved on a GPU, float32 on
            a CPU.
        attention: A transformers attention implementation, e.g. "eager", "sdpa", "flash_attention_2".
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Whether to run code that comes with the checkpoint.
        guard: "own" for the guard that comes with the model (a registered model's, or that in the checkpoint's folder
            or its subfolder `guard`), else a folder or Hub id with a guard; None for none.

    Raises:
        UnknownNameError: A short name that is not registered and no folder.
        ModelError: The checkpoint is missing, gated, of another kind, lacks a processor or chat template, or no guard
            comes with it.
        GuardError: The guard cannot be had or does not fit the model.
        MissingDependencyError: torch or transformers is not installed.
    """
    loaded = _load(name, device, dtype, attention, revision, trust_remote_code)
    return loaded if guard is None else _guarded(loaded, guard)


def _load(
    name: str, device: str | None, dtype: str | None, attention: str | None, revision: str | None, remote: bool
) -> LoadedModel:
    if dtype is not None and dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is not known; expected one of {', '.join(DTYPES)}")
    builders = registered_models()
    if name in builders:
        if revision is not None:
            raise ModelError(f"{name} is a registered model, which has no revisions; leave {revision!r} out")
        given = {"device": device, "dtype": dtype, "attention": attention}
        model, processor = builders[name](**{key: value for key, value in given.items() if value is not None})
        return _checked(model, processor, name, None)
    tuned = tuned_model(name)
    if tuned is not None:
        if revision is not None:
            raise ModelError(
                f"{name} says itself which revision of {tuned.base} it was tuned from; leave out {revision!r}"
            )
        base = _load(tuned.base, device, dtype, attention, tuned.revision, remote)
        return replace(base, model=lay_over(base.model, tuned, tuned_model(tuned.base)), name=name, revision=None)
    _check_place(name, builders)
    return _load_checkpoint(name, device, dtype, attention, revision, remote)


def _guarded(loaded: LoadedModel, guard: str | Path) -> LoadedModel:
    """The model with its guard; that of a registered or tuned model was made for it, whatever its folder's name."""
    from holisafe.guard import load_guard

    is_own = str(guard) == OWN_GUARD
    where = _own_guard(loaded.name) if is_own else guard
    was_made_for_it = registered_guard(loaded.name) is not None or tuned_model(loaded.name) is not None
    load_guard(
        loaded.model,
        where,
        processor=loaded.processor,
        revision=loaded.revision if is_own else None,
        any_base=is_own and was_made_for_it,
    )
    loaded.model.eval()
    return replace(loaded, guard=str(where))


def _own_guard(name: str) -> str | Path:
    """Where the guard that comes with a model is: a folder that holds one, or the model's own Hub repository.

    Raises:
        ModelError: None comes with it, or its files are missing.
    """
    folder = registered_guard(name)
    if folder is not None:
        if not (folder / GUARD_FILE).is_file():
            raise ModelError(
                f"{name}: the guard that comes with it is not in this installation ({folder} holds no {GUARD_FILE}); "
                "install holisafe again, or give the folder of a guard"
            )
        return folder
    if name in registered_models():
        raise ModelError(f"no guard comes with {name}; give the folder of one, or its Hub id")
    if not looks_local(name):
        return name
    tuned = tuned_model(name)
    checkpoint = Path(name).expanduser() if tuned is None else tuned.folder
    for place in (checkpoint / GUARD, checkpoint):
        if (place / GUARD_FILE).is_file():
            return place
    raise ModelError(
        f"no guard comes with {name}: neither {checkpoint / GUARD} nor the folder itself holds {GUARD_FILE}; save "
        "one there with save_guard, or give the folder of another"
    )


def tuned_model(name: str) -> TunedModel | None:
    """What the folder of a tuned model says; None where `name` is none.

    Raises:
        ModelError: It cannot be read, or its tuning has not come to its end.
    """
    if name in registered_models() or not looks_local(name):
        return None
    return find_tuned(Path(name).expanduser())


def looks_local(name: str) -> bool:
    """Whether `name` is written as a path, or is a folder that exists."""
    return name.startswith((".", "/", "~")) or Path(name).expanduser().is_dir()


def _check_place(name: str, known: dict[str, Any]) -> None:
    """Say early, and without a network, that `name` cannot be a checkpoint.

    Raises:
        ModelError: It is a path without a checkpoint.
        UnknownNameError: It is neither a registered name, nor a path, nor of the form "org/name".
    """
    if looks_local(name):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise ModelError(f"no model folder at {folder}; expected a folder with config.json and the weights")
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} holds no config.json; expected a checkpoint saved with save_pretrained")
    elif "/" not in name:
        raise UnknownNameError("model", name, known, hint="Or give a folder, or a Hub id of the form org/name.")


def _load_checkpoint(
    name: str, device: str | None, dtype: str | None, attention: str | None, revision: str | None, remote: bool
) -> LoadedModel:
    try:
        import torch
        from transformers import AutoModelForImageTextToText

        import holisafe.models.pocket._vision  # noqa: F401  registers its tower, so that tuned copies of Pocket load
    except ImportError as error:
        raise MissingDependencyError(
            f"loading a model needs torch and transformers ({error}); install them with: pip install 'holisafe[models]'"
        ) from error

    source = str(Path(name).expanduser()) if looks_local(name) else name
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    kind = dtype or ("auto" if place.startswith("cuda") else "float32")
    common: dict[str, Any] = {"revision": revision, "trust_remote_code": remote}
    if not looks_local(name):
        common["local_files_only"] = _only_in_cache(name, revision)
    try:
        processor = _load_processor(source, common)
    except Exception as error:
        raise _explained(error, name, "processor") from error
    extra = {} if attention is None else {"attn_implementation": attention}
    try:
        model = AutoModelForImageTextToText.from_pretrained(source, dtype=kind, use_safetensors=True, **common, **extra)
        model = model.to(place).eval()
    except Exception as error:
        raise _explained(error, name, "weights") from error
    commit: str | None = getattr(model.config, "_commit_hash", None)  # local folders leave it out
    return _checked(model, processor, name, commit or revision)


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


def _checked(model: Any, processor: Any, name: str, revision: str | None) -> LoadedModel:
    """Refuse a processor that takes no images or has no chat template."""
    from transformers import ProcessorMixin

    if not isinstance(processor, ProcessorMixin):
        raise ModelError(
            f"{name}: expected a processor that takes text and images, found {type(processor).__name__}; the "
            "folder needs processor_config.json or preprocessor_config.json beside the tokenizer"
        )
    if not processor.chat_template:
        raise ModelError(
            f"{name}: the processor has no chat template, so a question cannot be put to the model; add a "
            "chat_template.jinja to the checkpoint"
        )
    return LoadedModel(model, processor, name, revision)


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
    if "Unrecognized configuration class" in text:
        return ModelError(f"{name} is not an image-text-to-text model that transformers knows ({first})")
    return ModelError(f"{name}: its {part} could not be loaded: {type(error).__name__}: {first}")
