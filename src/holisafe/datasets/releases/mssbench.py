"""MSSBench (Zhou et al., arXiv 2410.06172; MIT): one request, safe beside one image and unsafe beside the other.

`combine.json` holds `chat` and `embodied`; images lie in the folders (or zips) of these names beside it.

- chat: `safe_image_path`, `unsafe_image_path`, `unsafe_image` (caption of the unsafe one), `intent`, `Type`, `queries`.
- embodied: `safe`, `unsafe` (images), `safe_instruction`, `unsafe_instruction`, both also in the plural,
  `observation_safe`, `observation_unsafe`, `category`, `task`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from holisafe.datasets._loaded import Loaded
from holisafe.datasets._release_reader import (
    ReleaseReader,
    WrongField,
    check_split,
    mapping,
    objects,
    open_release,
    optional_text,
    text,
    texts,
)
from holisafe.datasets._released import released
from holisafe.datasets._values import show
from holisafe.errors import DataError
from holisafe.taxonomy import Combination

NAME, TITLE = "mssbench", "MSSBench"
SPLITS = ("chat", "embodied")
TASK_TAG = "task"
"""Tag: "chat" or "embodied"."""

Ask = Literal["query", "intent", "captioned intent"]
"""What a sample asks: each query (or instruction); the intent behind it; the intent and a caption of the image."""

CAPTION = "\nThe caption is: "


@released(
    NAME,
    title=TITLE,
    splits=SPLITS,
    description="one request, safe beside one image and unsafe beside the other; chat and embodied",
    files=("combine.json",),
    fields=({"safe_image_path", "unsafe_image_path", "queries"}, {"observation_safe", "observation_unsafe"}),
)
def load_mssbench(path: Path, split: str | None) -> Loaded:
    """The queries of MSSBench as they are released, without a prompt around them."""
    return read_mssbench(path, split)


def read_mssbench(path: Path, split: str | None = None, *, ask: Ask = "query") -> Loaded:
    """MSSBench, for one of its prompt variants.

    Args:
        path: `combine.json`, its folder, or a zip of it.
        split: "chat", "embodied", or None for both.
        ask: What a sample asks.

    Raises:
        DataError: There are no records to be had.
        UnknownNameError: There is no such split.
    """
    check_split(split, SPLITS, TITLE)
    reader = open_release(path, NAME, TITLE, ("combine.json",), "MIT")
    where = reader.files.describe(reader.files.main)
    content = reader.files.json(reader.files.main)
    if not isinstance(content, Mapping) or not set(SPLITS) & content.keys():
        raise DataError(f"{where}: found {show(content)}, expected an object with the lists 'chat' and 'embodied'")
    for task in SPLITS if split is None else (split,):
        for at, raw in enumerate(objects(content.get(task, []), f"{where}, {task}", TITLE)):
            with reader.record(at, f"{task}-{at}"):
                pairs = _chat(mapping(raw), ask) if task == "chat" else _embodied(mapping(raw), ask)
                _add(reader, task, at, mapping(raw), list(pairs))
    return reader.loaded(split)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The texts that are asked beside the safe and the unsafe image."""

    safe: str
    unsafe: str


_IMAGES = {"chat": ("safe_image_path", "unsafe_image_path"), "embodied": ("safe", "unsafe")}
_SCENARIO = {"chat": "Type", "embodied": "category"}


def _chat(raw: Mapping[str, Any], ask: Ask) -> Iterator[_Pair]:
    """The pairs of a chat record. Only the unsafe image has a caption, so that variant says which is which."""
    if ask == "query":
        yield from (_Pair(query, query) for query in texts(raw, "queries"))
        return
    intent = text(raw, "intent")
    caption = CAPTION + text(raw, "unsafe_image") if ask == "captioned intent" else ""
    yield _Pair(intent, intent + caption)


def _embodied(raw: Mapping[str, Any], ask: Ask) -> Iterator[_Pair]:
    """The pairs of an embodied record."""
    if ask == "query":
        yield from map(_Pair, *_same_length(texts(raw, "safe_instructions"), texts(raw, "unsafe_instructions")))
        return
    safe, unsafe = text(raw, "safe_instruction"), text(raw, "unsafe_instruction")
    if ask == "captioned intent":
        safe += CAPTION + text(raw, "observation_safe")
        unsafe += CAPTION + text(raw, "observation_unsafe")
    yield _Pair(safe, unsafe)


def _same_length(safe: list[str], unsafe: list[str]) -> tuple[list[str], list[str]]:
    if len(safe) != len(unsafe):
        found, expected = f"{len(unsafe)} texts", f"as many as in safe_instructions ({len(safe)})"
        raise WrongField("unsafe_instructions", found, expected)
    return safe, unsafe


def _add(reader: ReleaseReader, task: str, at: int, raw: Mapping[str, Any], pairs: list[_Pair]) -> None:
    images = {}
    for kind, field in zip(("safe", "unsafe"), _IMAGES[task], strict=True):
        name = text(raw, field)
        images[kind] = reader.image(field, f"{task}/{name}", name)
    scenario = optional_text(raw, _SCENARIO[task])
    for number, pair in enumerate(pairs):
        names = {kind: f"{task}-{at}-{number}-{kind}" for kind in images}
        are_twins = pair.safe == pair.unsafe or images["safe"].identity == images["unsafe"].identity
        for kind, other in (("safe", "unsafe"), ("unsafe", "safe")):
            reader.add(
                names[kind],
                (images[kind],),
                pair.safe if kind == "safe" else pair.unsafe,
                combination=Combination.SSS if kind == "safe" else Combination.SSU,
                twin=names[other] if are_twins else None,
                tags={TASK_TAG: task, "scenario": scenario},
            )
