"""Measure every method of a study on every model, in a folder that resumes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from holisafe import datasets, judges
from holisafe._files import read_json, write_atomically
from holisafe.bench import measure
from holisafe.errors import DataError, HoliSafeError, RunError
from holisafe.records import Run
from holisafe.study._made import Learned, made
from holisafe.study._plan import Method, StudyPlan, check_folders, folder_name

OnPart = Callable[[str, str, int, int], None]
"""Called with the model, the method's label, and how many samples of how many are answered."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of a study's table.

    Attributes:
        model: The model's name.
        method: What was done.
        run: Its run; None where it could not be measured.
        why_not: Why it could not.
        learned: Numbers that were learned or changed for it; 0 where nothing was.
        attacked: Its runs on attacks, by the attack's name.
    """

    model: str
    method: Method
    run: Run | None
    why_not: str = ""
    learned: int = 0
    attacked: Mapping[str, Run] = field(default_factory=dict)


def run_study(
    plan: StudyPlan,
    models: Mapping[str, str],
    out: str | Path,
    *,
    data: str = "open",
    split: str = "test",
    train_split: str = "train",
    limit: int | None = 100,
    judge: str = "holisafe",
    max_new_tokens: int = 64,
    batch_size: int = 16,
    seed: int = 0,
    device: str | None = None,
    attacks: Mapping[str, str] | None = None,
    on_part: OnPart | None = None,
) -> list[Measured]:
    """Measure all methods; what is there already is read back, and one that fails leaves the others alone.

    Args:
        plan: The study.
        models: Name to show and model, as `measure` takes it.
        out: Folder of the study; made if missing.
        data: What is asked.
        split: Its split.
        train_split: The split that defences and tuning learn from.
        judge: Judge of all methods.
        limit: Stratified limit on the samples; None for all.
        max_new_tokens: Maximum number of new tokens per answer.
        batch_size: Maximum number of prompts answered at once.
        seed: Seed of the draw and of fitting.
        device: Where the models are loaded.
        attacks: Name and data of unsafe requests that were changed to get past a defence; every method is measured on
            all of them too. One may be added later.
        on_part: Told how far it is.

    Raises:
        RunError: The folder cannot be written, or belongs to a study with other settings.
        DataError: The data cannot be read.
        UnknownNameError: There is no such judge or data set.
    """
    folder = Path(out)
    check_folders(list(models), "models")
    check_folders(list(attacks or {}), "attacks")
    _can_begin(judge, data, split, limit, list((attacks or {}).values()))
    settings = {
        "data": data, "split": split, "train_split": train_split, "limit": limit, "max_new_tokens": max_new_tokens,
        "seed": seed, "fit_samples": plan.fit_samples,
    }  # fmt: skip
    _same_settings(folder, settings)
    asked = {
        "data": data, "split": split, "limit": limit, "max_new_tokens": max_new_tokens, "batch_size": batch_size,
        "seed": seed, "device": device, "judges": (judge,),
    }  # fmt: skip
    found = []
    for name, source in models.items():
        for method in plan.methods:
            if method.changes_weights and not plan.changes({name, source}):
                continue
            part = _Part(folder, name, source, method, plan, data, train_split, device)
            found.append(part.measured(asked, attacks or {}, on_part or _untold))
    return found


def _can_begin(judge: str, data: str, split: str, limit: int | None, attacks: Sequence[str]) -> None:
    """Refuse what would fail every row, before any is measured."""
    judges.get(judge)
    samples = datasets.read(data, split).samples
    if limit is not None:
        datasets.stratified(samples, limit)
    for each in dict.fromkeys(attacks):
        datasets.read(each)


@dataclass(frozen=True, slots=True)
class _Part:
    """One method on one model."""

    root: Path
    name: str
    source: str
    method: Method
    plan: StudyPlan
    data: str
    train_split: str
    device: str | None

    @property
    def folder(self) -> Path:
        return self.root / folder_name(self.name) / folder_name(self.method.label)

    def measured(self, asked: Mapping[str, Any], attacks: Mapping[str, str], on_part: OnPart) -> Measured:
        attacked: dict[str, Run] = {}
        try:
            model, learned = self._model(on_part)
            run = self._run(model, "run", asked, on_part)
            for name, data in attacks.items():
                unlimited = {**asked, "data": data, "split": None, "limit": None}
                attacked[name] = self._run(model, f"under-{folder_name(name)}", unlimited, on_part)
        except HoliSafeError as error:
            return Measured(self.name, self.method, None, str(error))
        return Measured(self.name, self.method, run, "", learned, attacked)

    def _run(self, model: str, folder: str, asked: Mapping[str, Any], on_part: OnPart) -> Run:
        return measure(
            model,
            out=self.folder / folder,
            guard=self.method.guard,
            defence=tuple(each.replace("{fitted}", str(self.folder / "fitted")) for each in self.method.defence),
            progress=lambda done, total: on_part(self.name, self.method.label, done, total),
            **asked,
        )

    def _model(self, on_part: OnPart) -> tuple[str, int]:
        """What is measured, made first where that is needed; and how many numbers were learned."""
        self._same_method()
        if self.method.tune is not None:
            return self._tuned(on_part)
        if self.method.edit is not None:
            return self._edited(on_part)
        if self.method.fit is not None:
            return self.source, self._fitted(on_part)
        return self.source, 0

    def _same_method(self) -> None:
        """Refuse what was made of another model, or with other settings."""
        path = self.folder / "method.json"
        made: dict[str, Any] = {"label": self.method.label, "model": self.source, "fit": self.method.fit}
        if self.method.learns_from is not None:
            made |= {"learns_from": self.method.learns_from, "scored_by": self.method.scored_by}
        record = json.dumps({**made, "tune": self.method.tune, "edit": self.method.edit}, indent=2, default=dict)
        if path.exists() and read_json(path, RunError) != json.loads(record):
            raise RunError(f"{self.folder} was made of another model or with other settings; remove it")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, record + "\n")

    def _fitted(self, on_part: OnPart) -> int:
        from safetensors import safe_open

        from holisafe.defences import FewSamplesWarning, fit
        from holisafe.models import load

        folder, note = self.folder / "fitted", self.folder / "fitted.json"
        name = self.method.defence[0].partition(":")[0]
        if not note.exists():
            on_part(self.name, f"{self.method.label}: fitting", 0, 0)
            samples = _train_samples(self.data, self.train_split, self.plan.fit_samples)
            record = {"data": self.data, "split": self.train_split, "samples": len(samples)}
            settings = {key: _filled(value, self.source) for key, value in (self.method.fit or {}).items()}
            told = partial(_told, on_part, self.name, self.method.label)
            model = load(self.source, device=self.device)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FewSamplesWarning)  # the table says on how many samples
                fit(name, model, samples, folder, settings=settings, data=record, progress=told)
            write_atomically(note, json.dumps(record))
        with safe_open(folder / "parts.safetensors", "pt") as parts:
            return sum(_size(parts.get_slice(key).get_shape()) for key in parts.keys())  # noqa: SIM118

    def _tuned(self, on_part: OnPart) -> tuple[str, int]:
        from holisafe.tuning import TuneConfig, tune

        settings = dict(self.method.tune or {})
        if unknown := sorted(settings.keys() - {each.name for each in fields(TuneConfig)}):
            raise RunError(f"{self.method.label}: tune: unknown setting {', '.join(unknown)}")
        learned = self._learned(on_part)
        settings["method_args"] = {**settings.get("method_args", {}), **learned.method_args}
        config = TuneConfig(**settings)
        folder = self.folder / "tuned"
        tuned = tune(
            self.source, learned.data, folder, config, split=learned.split,
            progress=lambda *_: on_part(self.name, f"{self.method.label}: tuning", 0, 0),
        )  # fmt: skip
        return str(folder), _learned(folder) if tuned else 0

    def _learned(self, on_part: OnPart) -> Learned:
        kind = self.method.learns_from
        if kind is None:
            return Learned(self.data, self.train_split, {})
        told = partial(on_part, self.name, f"{self.method.label}: {kind}")
        count = self.plan.scored_samples
        return made(
            kind, self.method.scored_by or self.source, self.data, self.train_split, self.folder / "data", count, told
        )

    def _edited(self, on_part: OnPart) -> tuple[str, int]:
        from holisafe.editing import edit

        settings = dict(self.method.edit or {})
        if taken := sorted(settings.keys() & {"model", "out", "sources"}):
            raise RunError(f"{self.method.label}: edit: the study gives {', '.join(taken)} itself; remove it")
        folder = self.folder / "edited"
        if not (folder / "edit.json").exists():
            on_part(self.name, f"{self.method.label}: editing", 0, 0)
            edit(settings.pop("method", ""), self.source, folder, **settings)
        return str(folder), 0


def _train_samples(data: str, split: str, count: int) -> list[Any]:
    loaded = datasets.read(data, split)
    try:
        return list(datasets.stratified(loaded.samples, min(count, len(loaded.samples)), 0))
    except DataError as error:
        raise RunError(f"fit_samples of the study: {error}") from error


def _filled(value: Any, source: str) -> Any:
    return value.replace("{model}", source) if isinstance(value, str) else value


def _learned(folder: Path) -> int:
    from safetensors import safe_open

    count = 0
    for path in sorted(folder.rglob("tuned/**/*.safetensors")):
        with safe_open(path, "pt") as parts:
            count += sum(_size(parts.get_slice(key).get_shape()) for key in parts.keys())  # noqa: SIM118
    return count


def _size(shape: Any) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _same_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / "study.settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            there = read_json(path, RunError)
            if not isinstance(there, dict):
                raise RunError(f"{path}: expected an object; use another --out")
            if there != settings:
                keys = [key for key in settings if there.get(key) != settings[key]]
                raise RunError(f"{folder} holds a study with other settings ({', '.join(keys)}); use another --out")
        write_atomically(path, json.dumps(settings, indent=2) + "\n")
    except (OSError, ValueError) as error:
        raise RunError(f"{folder}: cannot be written or read ({error}); use another --out") from error


def _told(on_part: OnPart, name: str, label: str, stage: str, done: int, total: int) -> None:
    on_part(name, f"{label}: {stage}", done, total)


def _untold(*_: object) -> None:
    pass
