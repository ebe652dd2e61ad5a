"""Load any transformers image-text-to-text checkpoint: a short name, a local folder, or an id on the Hub.

A folder that `holisafe tune` made is loaded as its base model with the weights that it learned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holisafe.checkpoints.tuned import GUARD, TunedModel, apply_tuned_weights, find_tuned
from holisafe.errors import MissingDependencyError, ModelError, UnknownNameError
from holisafe.models.registry import registered_guard, registered_model, registered_models
from holisafe.models.spec import OWN_GUARD, DeviceMap, Dtype, ModelSpec, Quantization

__all__ = ["OWN_GUARD", "LoadedModel", "load", "looks_local", "tuned_model"]

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
    source: str | Path | ModelSpec,
    *,
    revision: str | None = None,
    dtype: Dtype | str | None = None,
    device: str | None = None,
    device_map: DeviceMap | None = None,
    quantization: Quantization | str | Mapping[str, Any] | None = None,
    attention: str | None = None,
    trust_remote_code: bool = False,
    guard: str | Path | None = None,
) -> LoadedModel:
    """Load a vision-language model and its processor, with a guard if one is asked for.

    Args:
        source: A registered short name ("pocket"), a folder with a checkpoint or that `holisafe tune` made, or a Hub
            id ("org/name"); or a whole `ModelSpec`, and then no option.
        revision: Branch, tag or commit on the Hub.
        dtype: "auto" (as saved), "float32", "bfloat16" or "float16". When not given: as saved on a GPU, float32 on
            a CPU.
        device: Where to put it, e.g. "cpu", "cuda:1"; the first GPU, else the CPU, when not given.
        device_map: Several devices: "auto", another name that accelerate knows, or a device for each module.
        quantization: "4bit" or "8bit" (bitsandbytes), or the settings of a transformers quantization config.
        attention: A transformers attention implementation, e.g. "eager", "sdpa", "flash_attention_2".
        trust_remote_code: Whether to run code that comes with the checkpoint.
        guard: "own" for the guard that comes with the model (a registered model's, or that in the checkpoint's folder
            or its subfolder `guard`), else a folder or Hub id with a guard; None for none.

    Raises:
        UnknownNameError: A short name that is not registered and no folder.
        ModelError: An option is unknown, or given beside a `ModelSpec`; the checkpoint is missing, gated, incomplete,
            of another kind, lacks a processor or a chat template for images; or no guard comes with it.
        GuardError: The guard cannot be loaded or does not fit the model.
        MissingDependencyError: torch, transformers or what an option needs is not installed.
        RegistryError: The package that adds the model cannot be imported.
    """
    spec = ModelSpec.of(
        source,
        revision=revision,
        dtype=dtype,
        device=device,
        device_map=device_map,
        quantization=quantization,
        attention=attention,
        trust_remote_code=trust_remote_code,
        guard=guard,
    )
    loaded = _load(spec)
    return loaded if spec.guard is None else _guarded(loaded, spec.guard)


def _load(spec: ModelSpec) -> LoadedModel:
    name = spec.source
    try:
        from holisafe.models._checkpoint import check_model, check_place, load_checkpoint
    except ImportError as error:
        raise MissingDependencyError(
            f"loading a model needs torch and transformers ({error}); install them with: pip install 'holisafe[models]'"
        ) from error
    check_place(spec)
    registered = registered_model(name)
    if registered is not None:
        if spec.revision is not None:
            raise ModelError(f"{name} is a registered model, which has no revisions; leave {spec.revision!r} out")
        model, processor = registered.build(spec)
        check_model(model, processor, name)
        return LoadedModel(model, processor, name)
    tuned = tuned_model(name)
    if tuned is not None:
        return _load_tuned(spec, tuned)
    _check_source(name)
    model, processor, commit = load_checkpoint(spec, is_local=looks_local(name))
    check_model(model, processor, name)
    return LoadedModel(model, processor, name, commit or spec.revision)


def _load_tuned(spec: ModelSpec, tuned: TunedModel) -> LoadedModel:
    """The base model with what the tuned one learned."""
    from holisafe.models._intact import check_finite

    if spec.revision is not None:
        raise ModelError(
            f"{spec.source} says itself which revision of {tuned.base} it was tuned from; leave out {spec.revision!r}"
        )
    if spec.quantization is not None:
        raise ModelError(
            f"{spec.source}: what was learned cannot be merged into a quantized model; merge it first with `holisafe "
            "merge`, and load the merged model quantized"
        )
    base = _load(replace(spec, source=tuned.base, revision=tuned.revision, guard=None))
    model = apply_tuned_weights(base.model, tuned, tuned_model(tuned.base))
    check_finite(model, spec.source)
    return replace(base, model=model, name=spec.source, revision=None)


def _guarded(loaded: LoadedModel, guard: str) -> LoadedModel:
    """The model with its guard; that of a registered or tuned model was made for it, whatever its folder's name."""
    from holisafe.guard import load_guard

    is_own = guard == OWN_GUARD
    where = _own_guard(loaded.name) if is_own else guard
    was_made_for_it = is_own and (loaded.name in registered_models() or tuned_model(loaded.name) is not None)
    load_guard(
        loaded.model,
        where,
        processor=loaded.processor,
        revision=loaded.revision if is_own else None,
        any_base=was_made_for_it,
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
        ModelError: It cannot be read, or its tuning has not finished.
    """
    if name in registered_models() or not looks_local(name):
        return None
    return find_tuned(Path(name).expanduser())


def looks_local(name: str) -> bool:
    """Whether `name` is written as a path, or is a folder that exists."""
    return name.startswith((".", "/", "~")) or Path(name).expanduser().is_dir()


def _check_source(name: str) -> None:
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
        hint = "Or give a folder, or a Hub id of the form org/name."
        raise UnknownNameError("model", name, registered_models(), hint=hint)
    elif not _HUB_ID.fullmatch(name):
        raise ModelError(f"{name}: no folder, and no Hub id, which has the form org/name; check the name")


_HUB_ID = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*/\w[\w.-]*(?<![.-])(?<!\.git)", re.ASCII)
"""What the Hub accepts as the name of a repository."""
