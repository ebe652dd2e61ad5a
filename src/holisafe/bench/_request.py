"""What `measure` is asked for, checked before anything is loaded or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe import benchmarks, datasets
from holisafe import judges as judging
from holisafe._checks import check_type
from holisafe.bench._folder import identified
from holisafe.bench._names import LOCAL, inspect_name
from holisafe.datasets import Loaded
from holisafe.errors import DataError, ModelError, RunError
from holisafe.judges import Judge
from holisafe.models import ModelSpec
from holisafe.records import JudgeId, Sample


@dataclass(frozen=True, slots=True)
class AskedModel:
    """The model of a run.

    Attributes:
        model: What `run.json` calls it.
        name: Inspect's name of it.
        options: How a local model is loaded and run; empty for others.
        model_args: Further arguments of its provider.
    """

    model: str
    name: str
    options: dict[str, Any]
    model_args: dict[str, Any]

    @property
    def is_local(self) -> bool:
        """Whether it is loaded on this machine by `holisafe.models`."""
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

    @property
    def judge_ids(self) -> list[JudgeId]:
        """Identities of the judges, in order."""
        return [each.id for each in self.judges]


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
    return AskedModel(asked, name, {**loading, **running} if is_local else {}, dict(model_args or {}))


def check_numbers(**given: tuple[int, int]) -> None:
    """Refuse a number below its least, before anything is asked.

    Raises:
        RunError: One is.
    """
    for name, (value, least) in given.items():
        check_type(value, int, name)
        if value < least:
            raise RunError(f"{name}: found {value}, expected at least {least}")


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
