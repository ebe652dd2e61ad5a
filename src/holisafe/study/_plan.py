"""What a study compares: a JSON file of methods, each with what it needs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from holisafe._files import parse_json, read_json
from holisafe.errors import RunError, UnknownNameError
from holisafe.study._made import MADE

_KEYS = {"label", "about", "defence", "fit", "guard", "tune", "learns_from", "scored_by", "edit"}
_MADE_BY = ("fit", "tune", "edit")
_MOST_OF_A_LABEL = 100
_LONGEST_NAME = 200
"""Bytes of a folder's name; most file systems take 255."""

FIT_SAMPLES = 64
SCORED_SAMPLES = 480


@dataclass(frozen=True, slots=True)
class Method:
    """One row of a study.

    Attributes:
        label: Its name in tables and folders; unique.
        about: What it is, in words.
        defence: Defences as `--defence` takes them, outermost first; "{fitted}" is the folder that `fit` made.
        fit: A fitted defence's settings, fitted on the study's train split first; None where nothing is fitted.
        guard: Guard of the model, such as "own".
        tune: Settings of `holisafe tune` (method, max_steps, ...), by which the model is tuned first.
        learns_from: What is made of the study's train split for the tuning: "pairs", "several-images", "scores"; the
            split as it is when None.
        scored_by: For "scores": a model with the same tokens, whose guard scores; the model itself when None.
        edit: Settings of `holisafe edit` (method and its own), by which the model is edited first.
    """

    label: str
    about: str = ""
    defence: tuple[str, ...] = ()
    fit: Mapping[str, Any] | None = None
    guard: str | None = None
    tune: Mapping[str, Any] | None = None
    learns_from: str | None = None
    scored_by: str | None = None
    edit: Mapping[str, Any] | None = None

    @property
    def changes_weights(self) -> bool:
        """Whether it makes another model first."""
        return self.tune is not None or self.edit is not None


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """A study.

    Attributes:
        name: Its name.
        about: What it compares, in words.
        methods: What is measured; the first is the untouched model.
        fit_samples: Samples of the train split on which defences are fitted.
        scored_samples: Samples of the train split that `learns_from` "scores" are of.
        changes_weights: Models, as they are given or by the names they are shown under, whose weights the methods with
            `tune` and `edit` change; the others get no such row.
    """

    name: str
    about: str
    methods: tuple[Method, ...]
    fit_samples: int = FIT_SAMPLES
    scored_samples: int = SCORED_SAMPLES
    changes_weights: tuple[str, ...] = ()

    def changes(self, names: Set[str]) -> bool:
        """Whether methods that change weights are measured on the model with these names."""
        return bool(names & set(self.changes_weights))


def study_names() -> list[str]:
    """Names of the studies that come with holisafe."""
    return sorted(each.name.removesuffix(".json") for each in _plans().iterdir() if each.name.endswith(".json"))


def read_plan(name: str | Path) -> StudyPlan:
    """A study that comes with holisafe, or a JSON file.

    Raises:
        RunError: The file cannot be read, or a field is not what is expected.
        UnknownNameError: There is no such study.
    """
    if str(name) in study_names():
        source = str(name)
        content = parse_json(_plans().joinpath(f"{name}.json").read_text(encoding="utf-8"), RunError, source=source)
    elif Path(name).suffix == ".json":
        source, content = str(name), read_json(name, RunError)
    else:
        raise UnknownNameError("study", str(name), study_names(), hint="Or give the path of a JSON file.")
    return _plan(content, source, Path(name).stem)


def _plan(content: Any, source: str, name: str) -> StudyPlan:
    if not isinstance(content, dict) or not isinstance(content.get("methods"), list):
        raise RunError(f"{source}: expected an object with a list of methods; see docs/study.md")
    methods = tuple(_method(each, f"{source}: methods[{place}]") for place, each in enumerate(content["methods"]))
    if not methods:
        raise RunError(f"{source}: methods: found none; expected at least one")
    check_folders([each.label for each in methods], f"{source}: methods: the labels")
    fitted = _count(content, "fit_samples", FIT_SAMPLES, source)
    scored = _count(content, "scored_samples", SCORED_SAMPLES, source)
    changed = content.get("changes_weights", [])
    if not isinstance(changed, list) or not all(isinstance(each, str) for each in changed):
        raise RunError(f"{source}: changes_weights: found {changed!r}, expected names of models")
    return StudyPlan(name, str(content.get("about", "")), methods, fitted, scored, tuple(changed))


def folder_name(name: str) -> str:
    """Name of the folder that keeps what is made for a model, method or attack."""
    shown = re.sub(r"[^\w.]+", "_", name).encode()[:_LONGEST_NAME].decode(errors="ignore")
    return shown.strip("_.") or "part"


def check_folders(names: Sequence[str], what: str) -> None:
    """Refuse names of which two would have one folder.

    Raises:
        RunError: Two would.
    """
    folders: dict[str, str] = {}
    for name in names:
        folder = folder_name(name)
        if (key := folder.casefold()) in folders:  # some file systems do not tell cases apart
            raise RunError(f"{what} {folders[key]!r} and {name!r} would have one folder, {folder}; rename one")
        folders[key] = name


def _count(content: Mapping[str, Any], name: str, default: int, source: str) -> int:
    count = content.get(name, default)
    if not isinstance(count, int) or isinstance(count, bool) or count < 4:
        raise RunError(f"{source}: {name}: found {count!r}, expected a whole number of at least 4")
    return count


def _method(entry: Any, place: str) -> Method:
    if not isinstance(entry, dict) or not isinstance(entry.get("label"), str) or not entry["label"]:
        raise RunError(f"{place}: expected an object with a label")
    if len(entry["label"]) > _MOST_OF_A_LABEL or not entry["label"].isprintable() or not entry["label"].strip():
        raise RunError(
            f"{place} ({entry['label'][:40]!r}): label: expected one line of at most {_MOST_OF_A_LABEL} printable "
            f"characters, found {len(entry['label'])}"
        )
    if unknown := sorted(set(entry) - _KEYS):
        raise RunError(f"{place} ({entry['label']}): unknown field {', '.join(unknown)}; expected {sorted(_KEYS)}")
    for key in _MADE_BY:
        if not isinstance(entry.get(key, {}), dict):
            raise RunError(f"{place} ({entry['label']}): {key}: expected an object")
    if len(given := [key for key in _MADE_BY if key in entry]) > 1:
        raise RunError(f"{place} ({entry['label']}): found {' and '.join(given)}; a method takes one; make two methods")
    for key in ("tune", "edit"):
        if not isinstance(entry.get(key, {}).get("method", ""), str):
            raise RunError(f"{place} ({entry['label']}): {key}, method: expected a name")
    if not isinstance(entry.get("tune", {}).get("method_args", {}), dict):
        raise RunError(f"{place} ({entry['label']}): tune, method_args: expected an object")
    if not isinstance(entry.get("guard"), (str, type(None))):
        raise RunError(f"{place} ({entry['label']}): guard: expected a folder, a Hub id, or own")
    defence = entry.get("defence", [])
    defences: Sequence[Any] = [defence] if isinstance(defence, str) else defence
    if not isinstance(defences, list) or not all(isinstance(each, str) for each in defences):
        raise RunError(f"{place} ({entry['label']}): defence: expected a name or a list of names")
    if "fit" in entry and not defences:
        raise RunError(f"{place} ({entry['label']}): fit: expected a defence that is fitted")
    if "fit" not in entry and any("{fitted}" in each for each in defences):
        raise RunError(
            f"{place} ({entry['label']}): defence: {{fitted}} is what fit makes; add fit, {{}} for its defaults"
        )
    made = entry.get("learns_from")
    if made is not None and (made not in MADE or "tune" not in entry):
        raise RunError(f"{place} ({entry['label']}): learns_from: expected one of {', '.join(MADE)}, beside tune")
    scorer = entry.get("scored_by")
    if scorer is not None and (not isinstance(scorer, str) or made != "scores"):
        raise RunError(f"{place} ({entry['label']}): scored_by: expected a model, beside learns_from=scores")
    return Method(
        label=entry["label"],
        about=str(entry.get("about", "")),
        defence=tuple(defences),
        fit=entry.get("fit"),
        guard=entry.get("guard"),
        tune=entry.get("tune"),
        learns_from=made,
        scored_by=scorer,
        edit=entry.get("edit"),
    )


def _plans() -> Any:
    return files("holisafe.study").joinpath("plans")
