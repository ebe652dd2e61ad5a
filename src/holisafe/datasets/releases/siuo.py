"""SIUO (Wang et al., NAACL 2025, arXiv 2406.15279; CC BY-NC 4.0): safe image and safe text, unsafe together.

`siuo_gen.json` is a list of `question_id`, `image`, `question`, `category`, `safety_warning`, `reference_answer`;
`siuo_mcqa.json` one of `question_id`, `image`, `question`, `category`, `options` (by letter), `correct_option`. Images
lie in `images`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from string import ascii_uppercase
from typing import Any

from holisafe.datasets._loaded import Loaded
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
from holisafe.datasets._values import MISSING, show
from holisafe.errors import DataError
from holisafe.taxonomy import Combination

NAME, TITLE, LICENCE = "siuo", "SIUO", "CC-BY-NC-4.0"
SPLITS = ("generation", "mcqa")
CORRECT_TAG = "correct_option"
"""Tag with the letter of the right option."""

_FILES = {"generation": "siuo_gen.json", "mcqa": "siuo_mcqa.json"}
_MAIN = tuple(f"{folder}{name}" for name in _FILES.values() for folder in ("", "data/"))
_FOLDERS = ("images", "data/images")


@released(
    NAME,
    title=TITLE,
    splits=SPLITS,
    description="safe images and safe texts that are unsafe together; open and multiple choice",
    files=_MAIN,
    fields=({"question_id", "question", "image", "safety_warning"}, {"question_id", "options", "correct_option"}),
)
def load_siuo(path: Path, split: str | None) -> Loaded:
    """SIUO.

    Args:
        path: `siuo_gen.json` or `siuo_mcqa.json`, or the folder or zip that holds them and `images`.
        split: "generation", "mcqa", or None for the open questions.

    Raises:
        DataError: There are no records to be had.
        UnknownNameError: There is no such split.
    """
    check_split(split, SPLITS, TITLE)
    reader = open_release(path, NAME, TITLE, _MAIN, LICENCE)
    name = _file(reader, split)
    for at, raw in enumerate(objects(reader.files.json(name), reader.files.describe(name), TITLE)):
        named = str(raw.get("question_id")) if isinstance(raw, Mapping) else None
        with reader.record(at, named, file=name):
            _add(reader, mapping(raw), is_choice=PurePosixPath(name).name == _FILES["mcqa"])
    return reader.loaded(split)


def _file(reader: ReleaseReader, split: str | None) -> str:
    """The file of a split; the one that was named, where its name is not another split's.

    Raises:
        DataError: It is not there.
    """
    files, wanted = reader.files, _FILES[split or "generation"]
    if files.path.is_file() and files.folder.is_dir():
        if split is None or files.path.name not in _FILES.values() or files.path.name == wanted:
            return files.main
        raise DataError(f"{files.path}: is not {wanted}, which holds split {split!r}; name that file or the folder")
    found = next((f"{folder}{wanted}" for folder in ("", "data/") if files.has(f"{folder}{wanted}")), None)
    if found is None:
        raise DataError(f"{files.path}: has no {wanted}, which holds split {split or 'generation'!r}; download it")
    return found


def _add(reader: ReleaseReader, raw: Mapping[str, Any], is_choice: bool) -> None:
    image = text(raw, "image")
    options = _options(raw) if is_choice else {}
    correct = text(raw, "correct_option").strip().upper() if is_choice else None
    if is_choice and correct not in options:
        raise WrongField("correct_option", show(raw["correct_option"]), f"one of {', '.join(options)}")
    reader.add(
        identifier(raw, "question_id"),
        (reader.image("image", *(f"{folder}/{image}" for folder in _FOLDERS), image),),
        text(raw, "question"),
        combination=Combination.SSU,
        # The original's scripts read `reference` and `evaluation`, which the files do not have.
        reference=options[correct] if correct is not None else optional_text(raw, "reference_answer"),
        options=tuple(options.values()),
        tags={CORRECT_TAG: correct},
        topics=(optional_text(raw, "category"), None),
    )


def _options(raw: Mapping[str, Any]) -> dict[str, str]:
    """Letter → text of an option."""
    found = raw.get("options", MISSING)
    letters = ascii_uppercase[: len(found)] if isinstance(found, Mapping) else ""
    if not isinstance(found, Mapping) or len(letters) < 2 or list(found) != list(letters):
        raise WrongField("options", show(found), "an object with the letters A, B, ... in order and their texts")
    return {letter: text(found, letter) for letter in letters}
