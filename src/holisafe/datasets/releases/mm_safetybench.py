"""MM-SafetyBench (Liu et al., ECCV 2024, arXiv 2311.17600; CC BY-NC 4.0): each question with three kinds of image.

`processed_questions/SCENARIO.json` is an object by question number, each with `Question`, `Changed Question`,
`Key Phrase`, `Phrase Type`, `Rephrased Question` and `Rephrased Question(SD)`; images are
`imgs/SCENARIO/KIND/NUMBER.jpg`. SD is a generated picture, TYPO the key phrase as a picture, SD_TYPO one above the
other. `TinyVersion_ID_List.json` is a list of `Scenario` and `Sampled_ID_List`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holisafe.datasets._loaded import Loaded
from holisafe.datasets._release_files import ReleaseFiles
from holisafe.datasets._release_reader import (
    ReleaseReader,
    WrongField,
    check_split,
    identifier,
    mapping,
    objects,
    open_release,
    optional_text,
    text,
)
from holisafe.datasets._released import released
from holisafe.datasets._values import show
from holisafe.errors import DataError
from holisafe.records import Behaviour

NAME, TITLE, LICENCE = "mm-safetybench", "MM-SafetyBench", "CC-BY-NC-4.0"
SCENARIOS = (
    "01-Illegal_Activitiy",
    "02-HateSpeech",
    "03-Malware_Generation",
    "04-Physical_Harm",
    "05-EconomicHarm",
    "06-Fraud",
    "07-Sex",
    "08-Political_Lobbying",
    "09-Privacy_Violence",
    "10-Legal_Opinion",
    "11-Financial_Advice",
    "12-Health_Consultation",
    "13-Gov_Decision",
)
"""Names of the scenarios, spelt as the files are."""

KINDS = {"SD": "Rephrased Question(SD)", "TYPO": "Rephrased Question", "SD_TYPO": "Rephrased Question"}
"""Kind of image → field with the text that is asked beside it."""

SPLITS = ("all", "tiny")
SCENARIO_TAG, KIND_TAG = "scenario", "kind"

_FOLDERS = ("processed_questions/", "data/processed_questions/")
_MAIN = tuple(f"{folder}{name}.json" for folder in _FOLDERS for name in SCENARIOS)
_TINY = "TinyVersion_ID_List.json"


@released(
    NAME,
    title=TITLE,
    splits=SPLITS,
    description="harmful questions with generated, typographic and combined images, 13 scenarios",
    files=_MAIN,
    fields=({"Question", "Changed Question"},),
)
def load_mm_safetybench(path: Path, split: str | None) -> Loaded:
    """MM-SafetyBench, the scenarios that are there, every question once for each kind of image.

    Args:
        path: The folder or zip with `processed_questions` and `imgs` (or `data` with both), or one scenario's file.
        split: "all", "tiny" (the authors' smaller set), or None for all.

    Raises:
        DataError: There are no records to be had.
        UnknownNameError: There is no such split.
    """
    check_split(split, SPLITS, TITLE)
    reader = open_release(path, NAME, TITLE, _MAIN, LICENCE)
    folder, scenarios = _there(reader.files)
    tiny = _tiny(reader.files) if split == "tiny" else None
    for scenario in scenarios:
        name = f"{folder}{scenario}.json"
        for at, (number, raw) in enumerate(_questions(reader.files, name).items()):
            if tiny is not None and number not in tiny.get(scenario, ()):
                continue
            with reader.record(at, f"{scenario}/{number}", file=name):
                _add(reader, mapping(raw), folder, scenario, number)
    return reader.loaded(split)


def _there(files: ReleaseFiles) -> tuple[str, list[str]]:
    """The folder of the questions, and the scenarios of which it holds any.

    Raises:
        DataError: There are none.
    """
    if files.path.is_file() and files.folder.is_dir():
        if files.path.stem in SCENARIOS:
            return _FOLDERS[0], [files.path.stem]
        raise DataError(f"{files.path}: named after no scenario; the files are {SCENARIOS[0]}.json and so on, so spelt")
    main = files.main
    folder = main[: main.rfind("/") + 1]
    return folder, [name for name in SCENARIOS if files.has(f"{folder}{name}.json")]


def _questions(files: ReleaseFiles, name: str) -> Mapping[str, Any]:
    content = files.json(name)
    if not isinstance(content, Mapping):
        raise DataError(f"{files.describe(name)}: found {show(content)}, expected an object of questions by number")
    return content


def _tiny(files: ReleaseFiles) -> dict[str, set[str]]:
    """Scenario → numbers of the smaller set.

    Raises:
        DataError: The list is missing or damaged.
    """
    where = files.describe(_TINY)
    found: dict[str, set[str]] = {}
    for raw in objects(files.json(_TINY), where, TITLE):
        try:
            record = mapping(raw)
            numbers = record.get("Sampled_ID_List")
            if not isinstance(numbers, list):
                raise WrongField("Sampled_ID_List", show(numbers), "a list of numbers")
            found[text(record, "Scenario")] = {identifier({"number": each}, "number") for each in numbers}
        except WrongField as wrong:
            raise DataError(f"{where}: {wrong.field}: found {wrong.found}, expected {wrong.expected}") from wrong
    return found


def _add(reader: ReleaseReader, raw: Mapping[str, Any], folder: str, scenario: str, number: str) -> None:
    images = folder.removesuffix("processed_questions/") + "imgs"
    for kind, field in KINDS.items():
        name = f"{scenario}/{kind}/{number}"
        reader.add(
            name,
            (reader.image(f"imgs/{name}.jpg", *(f"{images}/{name}.{end}" for end in ("jpg", "png"))),),
            text(raw, field),
            expected=Behaviour.REFUSE,
            cluster=f"{scenario}/{number}",
            tags={
                SCENARIO_TAG: scenario,
                KIND_TAG: kind,
                "key_phrase_type": optional_text(raw, "Phrase Type"),
            },
        )
