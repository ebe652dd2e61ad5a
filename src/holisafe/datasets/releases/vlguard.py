"""VLGuard (Zong et al., ICML 2024, arXiv 2402.02207): harmful images, and harmful requests about harmless images.

`train.json` and `test.json` are lists of `id`, `image`, `safe`, `harmful_category`, `harmful_subcategory` and
`instr-resp`, a list of turns: for a safe image one with `safe_instruction` and one with `unsafe_instruction`, for an
unsafe image one with `instruction`; each with a `response`. Images lie in the folders (or zips) `train` and `test`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
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
from holisafe.records import Behaviour
from holisafe.taxonomy import Combination

NAME, TITLE = "vlguard", "VLGuard"
SPLITS = ("train", "test")
SUBSET_TAG = "subset"
"""Tag: one of `SUBSETS`."""

SUBSETS = ("unsafes", "safe_unsafes", "safe_safes")
"""Unsafe images; unsafe requests about safe images; safe requests about safe images."""


@released(
    NAME,
    title=TITLE,
    splits=SPLITS,
    description="harmful images, and harmful and harmless requests about harmless images",
    files=(),
    fields=({"instr-resp", "safe", "image"},),
)
def load_vlguard(path: Path, split: str | None) -> Loaded:
    """VLGuard, the splits that are there.

    Args:
        path: `train.json`, `test.json`, their folder, or a zip of it.
        split: "train", "test", or None for both.

    Raises:
        DataError: There are no records to be had.
        UnknownNameError: There is no such split.
    """
    check_split(split, SPLITS, TITLE)
    reader = open_release(path, NAME, TITLE, tuple(f"{each}.json" for each in SPLITS))
    for name in _files(reader, split):
        place = "train" if PurePosixPath(name).stem.startswith("train") else "test"
        where = reader.files.describe(name)
        for at, raw in enumerate(objects(reader.files.json(name), where, TITLE)):
            named = str(raw.get("id")) if isinstance(raw, Mapping) else None
            with reader.record(at, named, file=name):
                _add(reader, mapping(raw), place)
    return reader.loaded(split)


def _files(reader: ReleaseReader, split: str | None) -> list[str]:
    """The files of the splits that are asked for; a file that was named by itself is its split."""
    there = [f"{each}.json" for each in SPLITS if reader.files.has(f"{each}.json")]
    if reader.files.main not in there or reader.files.path.name == reader.files.main:
        there = [reader.files.main]
    chosen = [name for name in there if split is None or (split == "train") == name.startswith("train")]
    if not chosen:
        raise DataError(f"{reader.files.path}: has no split {split!r}, only {', '.join(there)}; name {split}.json")
    return chosen


_TURNS = {
    True: (("safe_instruction", "safe_safes", "-safe"), ("unsafe_instruction", "safe_unsafes", "-unsafe")),
    False: (("instruction", "unsafes", ""),),
}
"""Whether the image is safe → field, subset, and ending of the sample's id."""

_COMBINATIONS = {"safe_safes": Combination.SSS, "safe_unsafes": Combination.SUU}
"""Beside an unsafe image, the data do not say whether the text alone is safe."""


def _add(reader: ReleaseReader, raw: Mapping[str, Any], split: str) -> None:
    name, is_safe = identifier(raw, "id"), raw.get("safe", MISSING)
    if not isinstance(is_safe, bool):
        raise WrongField("safe", show(is_safe), "true or false")
    turns = raw.get("instr-resp", MISSING)
    if not isinstance(turns, list) or not turns:
        raise WrongField("instr-resp", show(turns), "a list of turns")
    image = reader.image("image", f"{split}/{text(raw, 'image')}", text(raw, "image"))
    for field, subset, ending in _TURNS[is_safe]:
        turn = next((mapping(each) for each in turns if field in mapping(each)), None)
        if turn is None:
            raise WrongField("instr-resp", show(turns), f"a turn with {field}")
        reader.add(
            name + ending,
            (image,),
            text(turn, field),
            combination=_COMBINATIONS.get(subset),
            expected=Behaviour.ANSWER if subset == "safe_safes" else Behaviour.REFUSE,
            reference=optional_text(turn, "response"),
            twin={"-safe": f"{name}-unsafe", "-unsafe": f"{name}-safe"}.get(ending),
            tags={SUBSET_TAG: subset, "split": split},
            topics=(optional_text(raw, "harmful_category"), optional_text(raw, "harmful_subcategory")),
        )
