"""USB-SafeBench (Zheng et al., ACL 2026, arXiv 2505.23793): risky or safe image, risky or safe text, 61 risks.

`USB_base_final.csv` and `USB_hard_final.csv` have the columns `id`, `usage` ("vulnerability" or "overrefusal"),
`text`, `text_zh`, `open_url` (the image, within `img` or `img.zip`), `level1_category` to `level3_category`,
`img_risk` and `text_risk` (1 or 0), `img_style`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from holisafe.datasets._loaded import Loaded
from holisafe.datasets._release_reader import (
    ReleaseReader,
    WrongField,
    check_split,
    identifier,
    open_release,
    optional_text,
    text,
)
from holisafe.datasets._release_rows import release_rows, row
from holisafe.datasets._released import released
from holisafe.datasets._values import MISSING, show
from holisafe.errors import DataError
from holisafe.records import Behaviour
from holisafe.taxonomy import Combination

NAME, TITLE, LICENCE = "usb", "USB-SafeBench", "Apache-2.0"
SPLITS = ("base", "hard")
USAGE_TAG, LEVEL_TAG, RISK_TAG = "usage", "level1", "risk"
LEVELS = ("National Safety", "Public Safety", "Ethical Safety")
USAGES = ("vulnerability", "overrefusal")
COMBINATIONS = {
    "RIRT": Combination.UUU,
    "RIST": Combination.USU,
    "SIRT": Combination.SUU,
    "SIST": Combination.SSU,
}
"""The authors' names, (R)isky or (S)afe (I)mage and (T)ext, and ours."""

_FILES = {split: f"USB_{split}_final.csv" for split in SPLITS}


@released(
    NAME,
    title=TITLE,
    splits=SPLITS,
    description="risky and safe images with risky and safe texts, 61 risks, English and Chinese",
    files=tuple(_FILES.values()),
    fields=({"img_risk", "text_risk", "open_url"},),
)
def load_usb(path: Path, split: str | None) -> Loaded:
    """USB-SafeBench in English.

    Args:
        path: One of the two files, or the folder or zip that holds them and the images.
        split: "base", "hard", or None for "base", or for the file that was named.
    """
    return read_usb(path, split)


def read_usb(path: Path, split: str | None = None, language: Literal["en", "zh"] = "en") -> Loaded:
    """USB-SafeBench in one of its two languages.

    Args:
        path: One of the two files, or the folder or zip that holds them and the images.
        split: "base", "hard", or None for "base", or for the file that was named.
        language: Language of the requests.

    Raises:
        DataError: There are no records to be had.
        UnknownNameError: There is no such split.
    """
    check_split(split, SPLITS, TITLE)
    reader = open_release(path, NAME, TITLE, tuple(_FILES.values()), LICENCE)
    name = _file(reader, split)
    for at, raw in enumerate(release_rows(reader.files, name)):
        with reader.record(at, file=name):
            _add(reader, row(raw), "text" if language == "en" else "text_zh")
    return reader.loaded(split)


def _file(reader: ReleaseReader, split: str | None) -> str:
    """The file of a split.

    Raises:
        DataError: It is not there, or another was named.
    """
    files, wanted = reader.files, _FILES[split or "base"]
    if files.path.is_file() and files.folder.is_dir():
        if split is None or files.path.name not in _FILES.values() or files.path.name == wanted:
            return files.main
        raise DataError(f"{files.path}: is not {wanted}, which holds split {split!r}; name that file or the folder")
    if not files.has(wanted):
        raise DataError(f"{files.path}: has no {wanted}, which holds split {split or 'base'!r}; download it")
    return wanted


def _add(reader: ReleaseReader, raw: Mapping[str, Any], text_field: str) -> None:
    usage, level, place = text(raw, "usage"), optional_text(raw, "level1_category"), text(raw, "open_url")
    if usage not in USAGES:
        raise WrongField("usage", show(usage), " or ".join(USAGES))
    attacks = usage == "vulnerability"
    if attacks and level not in LEVELS:
        raise WrongField("level1_category", show(level), f"one of {', '.join(LEVELS)}")
    risk = f"{_risk(raw, 'img_risk')}I{_risk(raw, 'text_risk')}T" if attacks else None
    reader.add(
        identifier(raw, "id"),
        (reader.image("open_url", place, f"img/{PurePosixPath(place).name}"),),
        text(raw, text_field),
        combination=COMBINATIONS[risk] if risk else None,
        expected=Behaviour.REFUSE if attacks else Behaviour.ANSWER,
        tags={
            USAGE_TAG: usage,
            RISK_TAG: risk,
            LEVEL_TAG: level,
            "level2": optional_text(raw, "level2_category"),
            "style": optional_text(raw, "img_style"),
        },
        topics=(optional_text(raw, "level2_category"), optional_text(raw, "level3_category")),
    )


def _risk(raw: Mapping[str, Any], field: str) -> str:
    found = str(raw.get(field))
    if found not in ("0", "1"):
        raise WrongField(field, show(raw.get(field, MISSING)), "1 (risky) or 0 (safe)")
    return "R" if found == "1" else "S"
