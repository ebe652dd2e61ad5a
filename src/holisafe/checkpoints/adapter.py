"""Merging a saved LoRA adapter into a model, whole and without surprises.

Which modules it changes is read from its weights, and compared with what its configuration asks for. A configuration's
regular expression is matched in a process of its own, which is ended when it takes too long.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holisafe._files import read_json
from holisafe.errors import ModelError

ADAPTER_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"

_PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
"""Ways of initialising LoRA that leave the base model's weights as they are."""

_UNSUPPORTED = (
    "modules_to_save", "target_parameters", "trainable_token_indices", "layer_replication", "alora_invocation_tokens",
    "arrow_config", "eva_config", "corda_config", "use_qalora", "use_bdlora", "lora_ga_config",
)  # fmt: skip
"""Settings that change more than the modules' weights, or the base model's own."""

_REGEX_SECONDS = 20.0
_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B)(\.weight)?")
_EXTRA = re.compile(r"base_model\.model\..+\.(lora_magnitude_vector(\.weight)?|lora_B\.bias)")


def merge_adapter(model: Any, folder: Path) -> Any:
    """The model with an adapter of PEFT's merged in.

    Raises:
        ModelError: A file is missing or damaged, the adapter is incomplete or was made for another model, or it is of
            a kind that cannot be merged safely.
    """
    from peft import PeftModel

    path = folder / ADAPTER_FILE
    if not path.is_file():  # PEFT would look for a pickled file
        raise ModelError(f"{folder} holds no {ADAPTER_FILE}; get it again")
    settings = _settings(folder / CONFIG_FILE)
    keys = _keys(path)
    modules = _modules(path, keys)
    _check_modules(model, folder, settings, modules)
    try:
        config = _config(folder, modules)
        with warnings.catch_warnings():
            # PEFT asks transformers by a name that transformers is about to drop
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            adapted = PeftModel.from_pretrained(model, folder, config=config, autocast_adapter_dtype=True)
            _check_whole(adapted, path, keys)
            return adapted.merge_and_unload()
    except ModelError:
        raise
    except Exception as error:  # PEFT, safetensors and torch raise kinds of their own
        first = (str(error).strip().splitlines() or [""])[0][:300]
        raise ModelError(
            f"{folder}: the adapter does not fit the base model, or is damaged ({type(error).__name__}: {first})"
        ) from error


def _settings(path: Path) -> dict[str, Any]:
    """The adapter's configuration, of the kinds that can be merged.

    Raises:
        ModelError: It is missing, or asks for something else.
    """
    try:
        settings = read_json(path, ModelError)
    except ModelError as error:
        raise ModelError(f"{path}: cannot be read ({str(error).removeprefix(f'{path}: ')}); get it again") from None
    if not isinstance(settings, dict) or settings.get("peft_type") != "LORA":
        found = settings.get("peft_type") if isinstance(settings, dict) else type(settings).__name__
        raise ModelError(f"{path}: peft_type: found {found!r}, expected 'LORA'; merge other adapters yourself")
    start = settings.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise ModelError(
            f"{path}: init_lora_weights: found {start!r}, which changes the base model's weights; convert the adapter "
            "to plain LoRA first (PEFT: save_pretrained with path_initial_model_for_weight_conversion)"
        )
    for name in _UNSUPPORTED:
        if settings.get(name):
            raise ModelError(f"{path}: {name} is not supported; merge the adapter with PEFT, and load the result")
    for name in ("rank_pattern", "alpha_pattern"):
        patterns = settings.get(name) or {}
        if not isinstance(patterns, dict) or not all(re.fullmatch(r"[\w.]+", key) for key in patterns):
            raise ModelError(f"{path}: {name}: expected module names with a number each, found other patterns")
    return settings


def _keys(path: Path) -> frozenset[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return frozenset(file.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path.parent}: the adapter does not fit the base model, or is damaged ({path.name}: {error}); get it "
            "again"
        ) from error


def _modules(path: Path, keys: frozenset[str]) -> list[str]:
    """Names of the modules that an adapter has weights for.

    Raises:
        ModelError: Half of a module's weights is missing, or there are weights of another kind.
    """
    parts: dict[str, set[str]] = {}
    for key in sorted(keys):
        found = _KEY.fullmatch(key)
        if found is not None:
            parts.setdefault(found["module"], set()).add(found["part"][-1])
        elif not _EXTRA.fullmatch(key):
            raise ModelError(f"{path}: {key} is no weight of a LoRA adapter; get the file again")
    if not parts:
        raise ModelError(f"{path}: holds no weights; get it again")
    for module, has in parts.items():
        if has != {"A", "B"}:
            raise ModelError(f"{path}: {module}: lora_{'A' if 'B' in has else 'B'} is missing; get the file again")
    return sorted(parts)


def _check_modules(model: Any, folder: Path, settings: dict[str, Any], modules: Sequence[str]) -> None:
    """Compare the modules that have weights with those of the model that the configuration asks for."""
    path = folder / CONFIG_FILE
    names = [name for name, _ in model.named_modules()]
    unknown = sorted(set(modules) - set(names))
    if unknown:
        raise ModelError(
            f"{folder}: the adapter does not fit the base model, or is damaged: the model has no {unknown[0]}, and "
            f"{len(unknown) - 1} more"
        )
    targets = settings.get("target_modules")
    if isinstance(targets, str) and targets != "all-linear":
        asked = _matching(targets, names, path)
    elif isinstance(targets, list) and all(isinstance(each, str) for each in targets):
        asked = [name for name in names if any(name == each or name.endswith(f".{each}") for each in targets)]
    else:
        return
    lacking = sorted(set(asked) - set(modules))
    if lacking and not settings.get("exclude_modules") and settings.get("layers_to_transform") is None:
        raise ModelError(
            f"{folder / ADAPTER_FILE}: weights of {lacking[0]} are missing, and {len(lacking) - 1} more, which "
            f"{CONFIG_FILE} asks for; get the file again"
        )


def _matching(pattern: str, names: list[str], path: Path) -> list[str]:
    """The names that a regular expression matches whole.

    Raises:
        ModelError: It is none, or takes too long.
    """
    code = "import json,re,sys;p,n=json.load(sys.stdin);json.dump([e for e in n if re.fullmatch(p,e)],sys.stdout)"
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code],
            input=json.dumps([pattern, names]),
            capture_output=True,
            text=True,
            timeout=_REGEX_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{path}: target_modules: the regular expression takes more than {_REGEX_SECONDS:g} s; list the modules "
            "instead"
        ) from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["unknown error"])[-1][:200]
        raise ModelError(f"{path}: target_modules: no valid regular expression ({reason})") from error
    found: list[str] = json.loads(done.stdout)
    return found


def _config(folder: Path, modules: list[str]) -> Any:
    """The adapter's configuration with its modules named one by one."""
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(folder)
    config.target_modules = set(modules)
    config.exclude_modules = None
    config.layers_to_transform = None
    config.layers_pattern = None
    config.inference_mode = True
    return config


def _check_whole(adapted: Any, path: Path, keys: frozenset[str]) -> None:
    """Refuse an adapter whose weights are not exactly those of the modules that it changes."""
    from peft import get_peft_model_state_dict

    wanted = frozenset(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    if different := sorted(wanted ^ keys):
        state = "missing" if different[0] in wanted else "not a weight of it"
        raise ModelError(f"{path}: {different[0]} is {state}, and {len(different) - 1} more; get the file again")
