"""What `measure` is asked for, checked before anything is loaded or written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

from holisafe import benchmarks, datasets
from holisafe import judges as judging
from holisafe._checks import check_each, check_type
from holisafe._enums import parse_enum
from holisafe.bench._folder import default_folder, identified
from holisafe.bench._guards import ReachedGuard, chosen_guards
from holisafe.bench._names import LOCAL, inspect_name
from holisafe.bench._spending import GUARD, JUDGE, MODEL, Prices, check_budget
from holisafe.bench._vllm import EngineName, check_vllm_options
from holisafe.bench._vllm_server import VllmOptions
from holisafe.datasets import Loaded
from holisafe.errors import DataError, ModelError, RunError
from holisafe.judges import Judge
from holisafe.judges.guard_models import Guard
from holisafe.models import ModelSpec
from holisafe.records import MAX_UNJUDGED, JudgeId, Sample


@dataclass(frozen=True, slots=True)
class AskedModel:
    """The model of a run.

    Attributes:
        model: What `run.json` calls it.
        name: Inspect's name of it.
        options: How a local model is loaded and run; empty for others.
        model_args: Further arguments of its provider.
        vllm: How the vLLM that answers in its place is reached; None where it answers by itself.
    """

    model: str
    name: str
    options: dict[str, Any]
    model_args: dict[str, Any]
    vllm: VllmOptions | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a checkpoint that `holisafe.models` can load."""
        return self.name.startswith(LOCAL)

    @property
    def arguments(self) -> dict[str, Any]:
        """All arguments of its provider."""
        return {**self.options, **self.model_args}


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A whole run.

    Attributes:
        folder: Its folder.
        model: Its model.
        samples: What is asked.
        broken_records: Records of the data that cannot be read.
        judges: The judges.
        judge_model: Inspect's name of the model that judges ask.
        settings: What makes a run the same run, as `run.json` keeps it.
        max_retries: Retries of a request to a hosted model.
        timeout: Seconds that one attempt may take.
        prices: Prices of tokens.
        budget: Money at which the run stops; None for no limit.
        max_unjudged: Share of answers without a verdict above which a judge's figures are withheld.
        guards: The guard models that are shown the same requests.
    """

    folder: Path
    model: AskedModel
    samples: Sequence[Sample]
    broken_records: int
    judges: Sequence[Judge]
    judge_model: str | None
    settings: dict[str, Any]
    max_retries: int
    timeout: int
    prices: Prices
    budget: float | None
    max_unjudged: float
    guards: Sequence[ReachedGuard] = ()

    @property
    def judge_ids(self) -> list[JudgeId]:
        """Identities of the judges, in order."""
        return [each.id for each in self.judges]

    @property
    def hosted(self) -> dict[str, str]:
        """Role → name of the hosted model that is asked: the measured one, that of judges, the first of guards."""
        asks = any(judging.asks_model(each) for each in self.judges)
        judge = {JUDGE: self.judge_model} if asks and self.judge_model is not None else {}
        guards = [each.guard.id.name for each in self.guards if each.endpoint is not None]
        return {
            **({} if self.model.is_local else {MODEL: self.model.name}),
            **judge,
            **({GUARD: guards[0]} if guards else {}),
        }


def run_request(
    model: str | Path | ModelSpec,
    *,
    data: str | Path = "open",
    split: str | None = "test",
    setting: str | None = None,
    judges: Sequence[str | Judge] | None = None,
    judge_model: str | None = None,
    fallback_judge: str | Judge | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    max_new_tokens: int = 512,
    seed: int = 0,
    temperature: float = 0.0,
    epoch: int = 1,
    system_prompt: str | None = None,
    chat_template_args: Mapping[str, Any] | None = None,
    max_retries: int = 5,
    timeout: int = 300,
    model_args: Mapping[str, Any] | None = None,
    batch_size: int = 16,
    image_reuse: bool = True,
    prices: Prices | None = None,
    budget: float | None = None,
    max_unjudged: float = MAX_UNJUDGED,
    guard_models: Sequence[str | Guard] = (),
    defence: str | Sequence[str] | None = None,
    engine: str = "transformers",
    vllm: VllmOptions | None = None,
    **loading: Any,
) -> RunRequest:
    """What `measure` is asked for, by its names; `loading` are fields of a `ModelSpec`.

    Raises:
        DataError, ModelError, JudgeError, RunError, UnknownNameError: As `measure`.
    """
    check_numbers(
        max_new_tokens=(max_new_tokens, 1), seed=(seed, 0), max_retries=(max_retries, 0), timeout=(timeout, 1)
    )
    check_numbers(batch_size=(batch_size, 1), epoch=(epoch, 1))
    _check_temperature(temperature)
    check_type(model, (str, Path, ModelSpec), "model")
    check_type(data, (str, Path), "data")
    check_type(limit, (int, NoneType), "limit")
    check_type(out, (str, Path, NoneType), "out")
    check_type(system_prompt, (str, NoneType), "system_prompt")
    check_type(prices, (Prices, NoneType), "prices")
    check_type(budget, (int, float, NoneType), "budget")
    check_type(setting, (str, NoneType), "setting")
    judges = default_judges(data, setting) if judges is None else judges
    check_each(judges, object, "judges")
    check_each(guard_models, object, "guard_models")
    check_share(max_unjudged, "max_unjudged")
    by = chosen_judges(judges, judge_model, fallback_judge)
    template = dict(chat_template_args) if chat_template_args else None
    running = {"batch_size": batch_size, "image_reuse": image_reuse, "chat_template_args": template}
    defended = _defended(defence)
    running |= defended
    asked = asked_model(model, {**_LOADING, **loading}, running, model_args)
    if parse_enum(EngineName, engine) is EngineName.VLLM:
        asked = _by_vllm(asked, vllm or VllmOptions())
    elif vllm is not None:
        raise RunError("there are options of vLLM, and the engine is transformers; give engine='vllm' (--engine vllm)")
    _check_epoch(epoch, temperature, asked)
    samples, broken = chosen_samples(data, split, limit, seed, setting)
    request = RunRequest(
        folder=default_folder(asked.model, data, defended.get("defence", ())) if out is None else Path(out),
        model=asked,
        samples=samples,
        broken_records=broken,
        judges=by,
        judge_model=judge_model,
        settings={
            "model": asked.model,
            "data": str(data),
            "data_sha256": datasets.fingerprint(samples),
            "split": split,
            "setting": samples[0].tags.get(datasets.SETTING_TAG),
            "limit": limit,
            "seed": seed,
            "max_new_tokens": max_new_tokens,
            "temperature": temperature or None,  # None, as in runs that did not know them
            "epoch": epoch if epoch > 1 else None,
            "system_prompt": system_prompt,
            "model_args": asked.model_args,
            **asked.options,
        },
        max_retries=max_retries,
        timeout=timeout,
        prices=prices or Prices(),
        budget=budget,
        max_unjudged=max_unjudged,
        guards=chosen_guards(guard_models),
    )
    check_budget(request.prices, budget, request.hosted)
    return request


_LOADING: Mapping[str, Any] = {
    **dict.fromkeys(("device", "device_map", "dtype", "quantization", "attention", "revision")),
    "trust_remote_code": False,
    "guard": None,
}


def asked_model(
    model: str | Path | ModelSpec,
    loading: Mapping[str, Any],
    running: Mapping[str, Any],
    model_args: Mapping[str, Any] | None,
) -> AskedModel:
    """The model that a name, a path or a spec means.

    Args:
        model: A spec is a local model, always; of a name, `inspect_name` tells.
        loading: Options by the names of `ModelSpec`'s fields.
        running: Options of a local model that the engine takes.
        model_args: Further arguments of the provider.

    Raises:
        ModelError: There is a spec and one of its fields as well, or a guard for a model that is not local.
        UnknownNameError: There is no such model.
    """
    if isinstance(model, ModelSpec):
        loading = ModelSpec.of(model, **loading).options()
        name = LOCAL + model.source
        asked = model.source if inspect_name(model.source) == name else name
    else:
        asked = str(model)
        name = inspect_name(asked)
    is_local = name.startswith(LOCAL)
    if loading["guard"] is not None and not is_local:
        raise ModelError(f"a guard plugs into local models only, and {name} is not one; leave it out")
    if "defence" in running and not is_local:
        raise ModelError(f"a defence works inside local models only, and {name} is not one; leave it out")
    return AskedModel(asked, name, {**loading, **running} if is_local else {}, dict(model_args or {}))


def _by_vllm(asked: AskedModel, vllm: VllmOptions) -> AskedModel:
    """The model as vLLM answers in its place.

    Raises:
        ModelError: It is not local, or an option has no counterpart in vLLM.
    """
    if not asked.is_local:
        raise ModelError(f"--engine vllm serves local checkpoints, and {asked.name} is not one; leave it out")
    if asked.model_args:
        raise ModelError("--model-args are arguments of a hosted model's provider; vLLM's are given as --vllm-args")
    check_vllm_options(asked.options)
    kept = ("device", "dtype", "revision", "trust_remote_code", "guard", "batch_size", "chat_template_args")
    served = {"vllm_args": dict(vllm.args) or None, "base_url": vllm.base_url}
    options = {**{key: asked.options[key] for key in kept}, **served, "engine": EngineName.VLLM.value}
    return replace(asked, options=options, vllm=vllm)


def _defended(defence: str | Sequence[str] | None) -> dict[str, Any]:
    """The engine's option for defences, where there are any; their names and settings are right.

    Raises:
        UnknownNameError: There is no such defence.
        DefenceError: A setting is wrong, or a defence that learns something first names no folder with that.
    """
    names = [defence] if isinstance(defence, str) else list(defence or [])
    if not names:
        return {}
    from holisafe.defences import FittedDefence, parse_all, read_fitted

    for each in parse_all(names):
        if isinstance(each, FittedDefence):
            read_fitted(each.settings.fitted, each.name)
    return {"defence": names}


def check_numbers(**given: tuple[int, int]) -> None:
    """Refuse a number below its least, before anything is asked.

    Raises:
        RunError: One is.
    """
    for name, (value, least) in given.items():
        check_type(value, int, name)
        if value < least:
            raise RunError(f"{name}: found {value}, expected at least {least}")


def _check_temperature(temperature: float) -> None:
    check_type(temperature, (int, float), "temperature")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise RunError(f"temperature: found {temperature}, expected 0 (greedy) or a number above 0")


def _check_epoch(epoch: int, temperature: float, model: AskedModel) -> None:
    """Refuse a further epoch that would repeat the first word by word."""
    if epoch > 1 and not temperature and model.is_local:
        raise RunError(
            f"epoch {epoch} of {model.model}: a local model decodes greedily and would give the answers of the first "
            "epoch again; give a temperature above 0 (--temperature)"
        )


def check_share(value: float, name: str) -> None:
    """Refuse what is no share.

    Raises:
        RunError: It is not in [0, 1].
    """
    check_type(value, (int, float), name)
    if not 0 <= value <= 1:
        raise RunError(f"{name}: found {value}, expected a share in [0, 1]")


def default_judges(data: str | Path, setting: str | None) -> tuple[str, ...]:
    """The judges of a run that names none: the benchmark's, or the published string match.

    Raises:
        DataError: A benchmark's data are needed and not named.
    """
    asked = benchmarks.parse(data)
    return ("holisafe",) if asked is None else (asked.benchmark.judge_for(setting),)


def chosen_judges(
    judges: Sequence[str | Judge], judge_model: str | None = None, fallback: str | Judge | None = None
) -> list[Judge]:
    """The judges, by name or as they are; those that ask a model have it in their identity.

    Raises:
        RunError: There is none, or one twice.
        JudgeError: One asks a model and there is none, or there is a fallback and none of them asks a model.
        UnknownNameError: There is no such judge.
    """
    found = [judging.get(each) if isinstance(each, str) else each for each in judges]
    if fallback is not None:
        found = judging.with_fallbacks(found, judging.get(fallback) if isinstance(fallback, str) else fallback)
    found = [judging.with_model(each, judge_model) for each in found]
    names = [each.id.name for each in found]
    if not found or len(set(names)) < len(names):
        raise RunError(f"the judges are {names}; expected at least one, and each once")
    return found


def chosen_samples(
    data: str | Path, split: str | None, limit: int | None, seed: int, setting: str | None = None
) -> tuple[Sequence[Sample], int]:
    """The samples to ask, and how many records cannot be read.

    Raises:
        DataError: The data cannot be read, hold no samples, or there is a setting and they are no benchmark's.
        UnknownNameError: The benchmark has no such setting.
    """
    loaded = _loaded(data, split, setting)
    if loaded.broken and not loaded.samples:
        raise DataError(f"{data} (split {split}): every record is broken; the first: {loaded.broken[0]}")
    if not loaded.samples:
        raise DataError(
            f"{data} (split {split}) holds no samples, so there is nothing to ask; check the path and the split"
        )
    drawn = list(loaded.samples) if limit is None else datasets.stratified(loaded.samples, limit, seed)
    return identified(drawn), loaded.broken_records


def _loaded(data: str | Path, split: str | None, setting: str | None) -> Loaded:
    asked = benchmarks.parse(str(data))
    if asked is None and setting is not None:
        raise DataError(
            f"setting {setting!r}: {data} is no benchmark with settings; use --data NAME:PATH, or leave it out"
        )
    if asked is None:
        return datasets.read(str(data), split)
    if split not in (None, "test"):
        raise DataError(f"{data}: a benchmark is measured whole; leave the split {split!r} out")
    return asked.benchmark.samples(asked.path, setting)
