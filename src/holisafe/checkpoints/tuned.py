"""A tuned model on the disk: the weights that it learned, applied to its base model when it is loaded.

tuned.json          which base model, how it was tuned, and the SHA-256 of the files below
adapter/            what the language model learned (LoRA, as PEFT saves it)
parts.safetensors   whole weights of the projector and the vision encoder, where they learned
guard/              the guard, as `save_guard` writes it
learned_images.txt  which images it learned from, as `image_digests` gives them
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holisafe._files import read_json
from holisafe.checkpoints.adapter import ADAPTER_FILE, merge_adapter
from holisafe.checkpoints.manifest import check_files, parse_manifest
from holisafe.errors import ImageError, ModelError
from holisafe.images import content_hash, read_bytes
from holisafe.records import Sample

FORMAT = 2
"""Version of the folder; a reader refuses others."""

TUNED_FILE = "tuned.json"
PARTS_FILE = "parts.safetensors"
ADAPTER = "adapter"
GUARD = "guard"
IMAGES_FILE = "learned_images.txt"
_IN_ADAPTER, _IN_PARTS = frozenset({"language"}), frozenset({"projector", "vision"})
"""Parts by where their weights are saved."""
TUNED = "tuned"
"""Where a run's folder holds what it came to."""

UNFINISHED_FILE = "tune.json"
"""What a run's folder holds from its beginning on."""


@dataclass(frozen=True, slots=True)
class TunedModel:
    """What a tuned model's folder says of itself.

    Attributes:
        folder: The folder with `tuned.json`.
        base: Name of the base model, for `holisafe.models.load`.
        revision: Its Hub commit; None where it has none.
        weights: `hash_base` of the base model; None where that is not known.
        files: What `file_manifest` gave of the files when they were saved.
        learned: How many parameters learned, by the name of their part.
    """

    folder: Path
    base: str
    revision: str | None
    weights: str | None = None
    files: Mapping[str, str | None] = field(default_factory=dict)
    learned: Mapping[str, int] = field(default_factory=dict)


def find_tuned(folder: Path) -> TunedModel | None:
    """The tuned model in a folder or in its subfolder `tuned`; None where there is none.

    Raises:
        ModelError: It cannot be read, its `tuned.json` is missing, or its tuning has not finished.
    """
    for place in (folder, folder / TUNED):
        if (place / TUNED_FILE).is_file():
            return _read(place)
    for place in (folder, folder / TUNED):
        is_plain = (place / "config.json").is_file()  # merged: it keeps the list of images
        if not is_plain and any((place / name).exists() for name in (ADAPTER, PARTS_FILE, IMAGES_FILE)):
            raise ModelError(
                f"{place / TUNED_FILE}: missing, though the folder holds what a tuned model learned; get the folder "
                "again"
            )
    if (folder / UNFINISHED_FILE).is_file() and not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder}: its tuning has not finished; start the same `holisafe tune` again, which resumes "
            "from its newest checkpoint"
        )
    return None


def apply_tuned_weights(model: Any, tuned: TunedModel, base: TunedModel | None = None) -> Any:
    """Give a base model what the tuned one learned, except for the guard; the adapter is merged.

    The folder's files must be those that were saved, all of them.

    Args:
        model: The base model.
        tuned: The tuned one.
        base: What the base's folder says, where it was tuned itself.

    Raises:
        ModelError: A file is missing or damaged, or was made for another model, or the base has other weights now.
    """
    check_files(tuned.folder, tuned.files, (f"{ADAPTER}/", PARTS_FILE))
    for parts, name in ((_IN_ADAPTER, ADAPTER), (_IN_PARTS, PARTS_FILE)):
        if (missing := parts & tuned.learned.keys()) and not (tuned.folder / name).exists():
            raise ModelError(
                f"{tuned.folder / name}: is missing, and {TUNED_FILE} says that {', '.join(sorted(missing))} learned; "
                "get the whole folder, or tune again"
            )
    if tuned.weights is not None and is_comparable(model) and hash_base(model, base) != tuned.weights:
        raise ModelError(
            f"{tuned.folder / TUNED_FILE}: base: the weights of {tuned.base} are not those that it was tuned from; get "
            "those, or tune again"
        )
    if (tuned.folder / PARTS_FILE).is_file():
        found = fill_parts(model, tuned.folder / PARTS_FILE)
        if found != (learned := sum(tuned.learned.get(part, 0) for part in _IN_PARTS)):
            raise ModelError(
                f"{tuned.folder / PARTS_FILE}: holds {found:,} parameters, and {TUNED_FILE} says that {learned:,} of "
                "the projector and the vision encoder learned; get the whole folder, or tune again"
            )
    if (tuned.folder / ADAPTER).is_dir():
        model = merge_adapter(model, tuned.folder / ADAPTER)
    model.name_or_path = str(tuned.folder)  # whose weights these are now
    return model.eval()


def _read(folder: Path) -> TunedModel:
    path = folder / TUNED_FILE
    try:
        values = read_json(path, ModelError)
        kind, base, files, learned = values["format"], values["base"], values.get("files"), values["learned"]
        name, revision, weights = base["name"], base["revision"], base.get("weights_sha256")
    except (ModelError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); expected what `holisafe tune` writes"
        ) from error
    if kind != FORMAT:
        raise ModelError(
            f"{path}: format: found {json.dumps(kind)[:40]}, expected {FORMAT}; install the version of holisafe that "
            "wrote it, or tune again"
        )
    if not isinstance(name, str) or not isinstance(revision, str | None) or not isinstance(weights, str | None):
        raise ModelError(f"{path}: base: expected a name, a revision and a hash, found {json.dumps(base)[:80]}")
    return TunedModel(folder, name, revision, weights, parse_manifest(files, path), _parse_learned(learned, path))


def _parse_learned(value: Any, path: Path) -> dict[str, int]:
    counts = {part: each.get("parameters") for part, each in value.items()} if _is_table(value) else None
    if counts is None or not all(isinstance(count, int) for count in counts.values()):
        raise ModelError(
            f"{path}: learned: expected the number of parameters of each part that learned, found "
            f"{json.dumps(value)[:80]}"
        )
    return counts


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, dict) for each in value.values())


def image_digests(samples: Iterable[Sample]) -> dict[str, str]:
    """The name of each image by what `learned_images.txt` knows it by: 16 digits of the SHA-256 of its file.

    Images that cannot be read are left out.
    """
    found = {}
    for image in {image for sample in samples for image in sample.images}:
        with contextlib.suppress(ImageError):
            found[content_hash(read_bytes(image))[:16]] = image.key
    return found


def hash_base(model: Any, tuned: TunedModel | None) -> str:
    """`hash_weights` of a model to tune; of one that was tuned before, SHA-256 of what it learned, and from what.

    Its weights would not tell: a merged adapter rounds otherwise in another dtype or on another device.

    Args:
        model: What `load` gave, without a guard.
        tuned: What its folder says; None where it was not tuned.
    """
    if tuned is None:
        return hash_weights(model)
    digest = hashlib.sha256((tuned.weights or tuned.base).encode())
    for path in (tuned.folder / ADAPTER / ADAPTER_FILE, tuned.folder / PARTS_FILE):
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def hash_weights(model: Any) -> str:
    """SHA-256 over the name, shape and up to 1,024 evenly spaced values of each tensor, in hex.

    Enough to tell one training from another, and quick for models of any size. Values are rounded to bfloat16 before,
    so that a model has one hash whether it was loaded in float32 or in bfloat16.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        some = flat[:: max(1, len(flat) // 1024)].cpu()
        values = some.to(torch.bfloat16).double() if some.is_floating_point() else some
        digest.update(f"{name} {list(tensor.shape)}".encode() + values.numpy().tobytes())
    return digest.hexdigest()


def is_comparable(model: Any) -> bool:
    """Whether rounding to bfloat16 gives what it gave of the model as saved; float16 has rounded otherwise before."""
    import torch

    return all(each.dtype is not torch.float16 for each in model.parameters())


def fill_parts(model: Any, path: Path) -> int:
    """Give a model the whole weights and buffers that a safetensors file holds.

    Returns:
        How many parameters the file holds; buffers are not counted.

    Raises:
        ModelError: The file is damaged, or was made for another model.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        parts = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: no whole safetensors file ({error}); is it truncated? get it again") from error
    weights = dict(model.named_parameters())
    present = {**weights, **dict(model.named_buffers())}
    for name, tensor in parts.items():
        found = list(present[name].shape) if name in present else "none"
        if found != list(tensor.shape):
            raise ModelError(
                f"{path}: {name}: found the shape {list(tensor.shape)}, and the base model's is {found}; it was tuned "
                "from another model"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{path}: {name} holds values that are not finite; the file is damaged, get it again")
    with torch.no_grad():
        for name, tensor in parts.items():
            present[name].copy_(tensor)
    return sum(tensor.numel() for name, tensor in parts.items() if name in weights)
