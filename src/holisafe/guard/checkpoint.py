"""A guard's weights on disk and on the Hub: `guard_config.json` and `guard.safetensors`, a few MB beside any model.

docs/decisions/0004-guard-weights.md says why they are files of their own and what else keeps them.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import re
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from holisafe._version import __version__
from holisafe.errors import GuardError
from holisafe.guard._card import OURS, model_card_of
from holisafe.guard._config import GuardConfig, GuardSite
from holisafe.guard._weights import SavedGuard, fill_guard, read_all, read_json, shapes
from holisafe.guard.attach import base_model, name_of, observer_of
from holisafe.guard.calibration import Calibration
from holisafe.guard.head import Guard

FORMAT = 2
"""Version of the two files; a reader refuses others."""

M = TypeVar("M")

CONFIG_FILE = "guard_config.json"
WEIGHTS_FILE = "guard.safetensors"
CARD_FILE = "README.md"


def save_guard(model: Any, folder: str | Path, *, model_card: str | None = None) -> Path:
    """Write a model's guard to a folder: configuration, calibration, weights and a model card.

    The folder may be the one that the model itself is saved in. Where several processes hold the model, one saves.

    Args:
        model: A model with a guard, also one wrapped by PEFT or DDP; of a guard that PEFT trains
            (`modules_to_save=["guard"]`, or adapters in its layers), what the model now computes with is saved.
        folder: Made where it does not exist.
        model_card: Text of README.md. When None, ours, unless somebody else's README.md is there.

    Returns:
        The folder.

    Raises:
        GuardError: The model has no guard, its weights are spread over processes, or the folder cannot be written.
    """
    from safetensors.torch import save

    observer = observer_of(model)
    site = dataclasses.replace(observer.site, base_model=public_name(observer.site.base_model))
    content = save(_weights(model, observer.config, site), metadata={"format": "pt"})
    description = {
        "format": FORMAT,
        "holisafe": __version__,
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "config": observer.config.to_json(),
        "site": site.to_json(),
        "calibration": observer.calibration.to_json(),
    }
    folder = Path(folder)
    card = folder / CARD_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / WEIGHTS_FILE, content)
        _write(folder / CONFIG_FILE, (json.dumps(description, indent=2) + "\n").encode())
        if model_card is not None:
            _write(card, model_card.encode())
        elif not card.exists() or OURS in card.read_text("utf-8", errors="replace"):
            _write(card, model_card_of(observer.config, site, observer.calibration).encode())
    except OSError as error:
        raise GuardError(f"the guard cannot be saved in {folder}: {error}") from error
    return folder


def load_guard(
    model: M,
    folder_or_hub_id: str | Path,
    *,
    processor: Any = None,
    revision: str | None = None,
    any_base: bool = False,
) -> M:
    """Attach a guard that `save_guard` or `push_guard` kept: the same model object comes back.

    The weights keep the dtype they were saved in; the calibration comes with them. The guard is refused
    where it was made for another model: another family or hidden size, or another name. Of names, the last part is
    compared, so `org/name` and `/models/name` are the same; a model loaded from the folder or repository that the
    guard is in has the right weights whatever its name, and models that were not loaded by name are not compared by it.

    Args:
        model: Any transformers image-text-to-text model, without a guard.
        folder_or_hub_id: A folder with both files, or a Hub repository, of which only these two are fetched.
        processor: See `attach_guard`; needed only where the base model is of another family than the guard's.
        revision: Branch, tag or commit of a Hub repository.
        any_base: Whether the base model's family and name go unchecked, e.g. for the same weights in a folder of
            another name, or quantised.

    Raises:
        GuardError: The files are missing, are damaged or do not fit the model, which is then as it was.
    """
    base = base_model(model)
    folder = _folder(folder_or_hub_id, revision)
    saved = read_guard(folder)
    if not any_base and not _is_own_folder(base, folder_or_hub_id):
        _check_base(base, saved)
    if saved.site.model_type != base.config.model_type:  # token ids of another family mean nothing here
        saved = dataclasses.replace(
            saved, site=dataclasses.replace(saved.site, boundary_ids=((), ()), meta_token_id=None)
        )
    _check_meta_token(base, saved)
    return fill_guard(model, saved, processor)


def push_guard(
    model: Any,
    repo_id: str,
    *,
    private: bool = False,
    commit_message: str = "Upload guard",
    token: str | None = None,
    model_card: str | None = None,
) -> str:
    """Put a model's guard on the Hub, in a repository of its own or beside a model's weights.

    Args:
        model: A model with a guard.
        repo_id: `owner/name`; made where it does not exist.
        private: Whether a new repository is private.
        commit_message: First line of the commit.
        token: Access token; that of `hf auth login` when None.
        model_card: Text of README.md; when None, ours where the repository has no README.md.

    Returns:
        Address of the commit.

    Raises:
        GuardError: The model has no guard, or the Hub does not take it.
    """
    from huggingface_hub import HfApi

    hub = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_guard(model, folder, model_card=model_card)
        files = [CONFIG_FILE, WEIGHTS_FILE]
        try:
            hub.create_repo(repo_id, private=private, exist_ok=True)
            if model_card is not None or not hub.file_exists(repo_id, CARD_FILE):
                files.append(CARD_FILE)
            commit = hub.upload_folder(
                repo_id=repo_id, folder_path=folder, allow_patterns=files, commit_message=commit_message
            )
        except Exception as error:  # huggingface_hub and the HTTP library raise kinds of their own
            raise GuardError(f"{repo_id}: the Hub did not take the guard ({_first_line(error)})") from error
    return str(commit.commit_url)


def read_guard(folder: str | Path) -> SavedGuard:
    """A saved guard, in no model.

    Raises:
        GuardError: A file is missing, damaged, or of another format.
    """
    folder = Path(folder)
    path = folder / CONFIG_FILE
    values = read_json(path)
    if "format" in values and "holisafe" in values and values["format"] != FORMAT:
        raise GuardError(
            f"{path}: format {values['format']}, written by holisafe {values['holisafe']}; holisafe {__version__} "
            f"reads format {FORMAT}: install the version that wrote it, or save the guard again with this one"
        )
    for field, kind in _FIELDS.items():
        if field not in values:
            raise GuardError(f"{path}: {field} is missing; expected a file written by save_guard")
        if not isinstance(values[field], kind) or isinstance(values[field], bool):
            raise GuardError(f"{path}: {field}: expected {_KIND_NAMES[kind]}, found {json.dumps(values[field])[:60]}")
    if unknown := sorted(set(values) - set(_FIELDS)):
        raise GuardError(f"{path}: unknown field {', '.join(unknown)}; expected {', '.join(_FIELDS)}")
    calibration = Calibration.from_json(values["calibration"], str(path))
    config = GuardConfig.from_json(values["config"], f"{path}: config")
    site = GuardSite.from_json(values["site"], f"{path}: site")
    if config.meta_in_encoder and site.vision_width is None:
        raise GuardError(f"{path}: site: vision_width is missing; expected the hidden size of the vision encoder")
    weights, found = read_all(folder / WEIGHTS_FILE)
    if found != values["weights_sha256"]:
        raise GuardError(
            f"{folder / WEIGHTS_FILE} is not the file that {CONFIG_FILE} was written with (sha256 {found[:12]}…, "
            f"expected {values['weights_sha256'][:12]}…): fetch or save both again"
        )
    return SavedGuard(config, site, calibration, weights, str(folder))


def public_name(name: str) -> str:
    """A base model's name as others may read it: of a folder on this machine, its last part or its Hub name."""
    path = Path(name).expanduser()
    for part in path.parts:
        if part.startswith("models--"):  # a folder of the Hub's cache
            return part.removeprefix("models--").replace("--", "/")
    is_folder = path.is_absolute() or name.startswith(".") or path.is_dir()
    return path.resolve().name if is_folder else name


def _weights(model: Any, config: GuardConfig, site: GuardSite) -> dict[str, Tensor]:
    """The guard's own weights, as the model computes with them."""
    module = base_model(model).get_submodule("guard")
    expected = shapes(config, site)
    if set(module.state_dict()) != set(expected):
        module = _out_of_peft(module)
    weights = {key: tensor.detach().to("cpu").contiguous() for key, tensor in module.state_dict().items()}
    for key, shape in expected.items():
        if key not in weights or weights[key].shape != shape:
            found = list(weights[key].shape) if key in weights else "none"
            raise GuardError(
                f"guard.{key}: expected shape {list(shape)}, found {found}; are the weights spread over processes? "
                "gather them first"
            )
    return {key: weights[key] for key in expected}


def _out_of_peft(module: Any) -> Any:
    """The guard that PEFT's wrapper now computes with, adapters in its layers merged."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    if isinstance(module, ModulesToSaveWrapper):
        adapters = [] if module.disable_adapters else module.active_adapters
        module = module.modules_to_save[adapters[0]] if adapters else module.original_module
    assert isinstance(module, Guard)
    guard = copy.deepcopy(module)
    for name, layer in list(guard.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            if not layer.disable_adapters:
                layer.merge()
            guard.set_submodule(name, layer.get_base_layer())
    return guard


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: a reader never sees half a file."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _folder(where: str | Path, revision: str | None) -> Path:
    folder = Path(where).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(where, Path) or folder.exists() or not re.fullmatch(_HUB_ID, where):
        raise GuardError(
            f"{where}: no such folder; expected one with {CONFIG_FILE} and {WEIGHTS_FILE}, a Hub id, or, to measure a "
            "published guard model, its NAME:SOURCE (docs/guard-models.md lists the names)"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(where, revision=revision, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE]))
    except Exception as error:  # huggingface_hub and the HTTP library raise kinds of their own
        raise GuardError(f"{where}: no folder here, and not had from the Hub ({_first_line(error)})") from error


def _is_own_folder(base: Any, where: str | Path) -> bool:
    """Whether the model was loaded from where the guard is."""
    loaded_from = str(base.config._name_or_path)
    if not loaded_from:
        return False
    folder = Path(loaded_from).expanduser()
    guard = Path(where).expanduser()
    if not folder.is_dir() or not guard.is_dir():
        return loaded_from == str(where)
    return folder.resolve() in (guard.resolve(), guard.resolve().parent)


def _check_base(base: Any, saved: SavedGuard) -> None:
    site = saved.site
    width = int(base.config.get_text_config(decoder=True).hidden_size)
    made_for = f"{site.base_model or 'a model'} ({site.model_type}, hidden size {site.width})"
    found = public_name(name_of(base))
    is_unnamed = not base.config._name_or_path or site.base_model in ("", type(base).__name__)
    same_name = is_unnamed or _last_part(found) == _last_part(site.base_model)
    if site.model_type == base.config.model_type and site.width == width and same_name:
        return
    raise GuardError(
        f"{saved.source}: the guard was made for {made_for}, and this model is {found} ({base.config.model_type}, "
        f"hidden size {width}); if it has the same weights under another name, pass any_base=True"
    )


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].casefold()


def _check_meta_token(base: Any, saved: SavedGuard) -> None:
    token, rows = saved.site.meta_token_id, int(base.get_input_embeddings().weight.shape[0])
    if token is not None and not 0 <= token < rows:
        raise GuardError(f"{saved.source}: meta_token_id {token}: the model's vocabulary has {rows} tokens")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


_HUB_ID = r"\w[\w.-]*(/\w[\w.-]*)?"
_FIELDS: dict[str, type] = {
    "format": int,
    "holisafe": str,
    "weights_sha256": str,
    "config": dict,
    "site": dict,
    "calibration": dict,
}
_KIND_NAMES: Mapping[type, str] = {int: "a whole number", str: "a string", dict: "an object"}
