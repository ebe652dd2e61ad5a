"""Other safety data sets, as their authors release them: imported where a map of fields suffices, else named.

| data set | file | becomes |
|---|---|---|
| SIUO | list with `question_id`, `question`, `image`, `safety_warning` | SSU: safe inputs, unsafe together |
| VLGuard | list with `instr-resp` and `safe` | safe image: SSS and SUU; unsafe image: a refusal is right |
| MSSBench | object with `chat` (`safe_image_path`, `unsafe_image_path`, `queries`) | twins: SSS and SSU |

| preference pairs, SPA-VL | `prompt` or `question`, `chosen`, `rejected` | pairs; the data do not say what is right |

MM-SafetyBench, SPA-VL's evaluation sets and BeaverTails-V lack fields that nothing in the files stands for; the error
names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from holisafe.errors import DataError, UnknownNameError
from holisafe.taxonomy import parse_category, parse_subcategory

_LOOKED_AT = 8
"""Records by which the layout of a list is recognised."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """A foreign layout.

    Attributes:
        name: The data set's name.
        fields: Fields of a record that tell it.
        records: Makes records in our form of one record, given its position; None where that needs more.
        missing: What is missing for that, and what to do.
        folders: Folders beside the file in which its images lie.
    """

    name: str
    fields: frozenset[str]
    records: Callable[[Mapping[str, Any], int], Iterator[dict[str, Any]]] | None
    missing: str = ""
    folders: tuple[str, ...] = ()


def top_level_records(content: Mapping[str, Any], file: str) -> Iterable[Any]:
    """The records of a JSON object, where data sets are released as one.

    Raises:
        DataError: It holds no records that can be read; says what it looks like and what is missing.
    """
    chat = content.get("chat")
    if isinstance(chat, list) and chat and isinstance(chat[0], Mapping) and _MSSBENCH.fields <= chat[0].keys():
        return chat
    inner = next((value for value in content.values() if isinstance(value, Mapping)), {})
    if _MM_SAFETYBENCH.fields <= inner.keys():
        raise DataError(_lacking(file, _MM_SAFETYBENCH, inner))
    if {"results", "configs"} <= content.keys():
        raise DataError(
            f"{file}: the results of lmms-eval, which hold no answers; give the *_samples_*.jsonl beside it, which "
            "--log_samples writes"
        )
    lists = [name for name, value in content.items() if isinstance(value, list) and value and _are_objects(value)]
    found = f"{file}: found an object at the top level, expected a list of records; "
    if len(lists) == 1:
        raise DataError(f"{found}save the list in its field {lists[0]!r} as a file of its own")
    if lists:
        raise DataError(f"{found}save the list in one of its fields {', '.join(map(repr, lists))} as a file of its own")
    if content and _are_objects(content.values()):
        raise DataError(
            f"{found}its fields {', '.join(repr(name) for name in islice(content, 3))} hold objects with the fields "
            f"{_names(inner)}: save these as a list, each with its name as `id`"
        )
    if not {"query", "question", "conversations", "messages", "type"} & content.keys():
        raise DataError(f"{found}its fields {_names(content)} are not those of a record (id, image, query, type)")
    raise DataError(f"{found}wrap the record in [ ]")


def in_our_form(raws: Iterable[Any], file: str) -> tuple[Iterable[Any], tuple[str, ...]]:
    """Records of a known foreign layout as ours, others as they are; and the folders that hold the layout's images.

    Raises:
        DataError: The layout is known, and lacks fields; the message names them.
    """
    all_raws = iter(raws)
    first = list(islice(all_raws, _LOOKED_AT))
    raws = chain(first, all_raws)
    for raw in first:
        layout = next((each for each in _LAYOUTS if isinstance(raw, Mapping) and _is_of(each, raw)), None)
        if layout is not None and layout.records is None:
            raise DataError(_lacking(file, layout, raw))
        if layout is not None:
            return _converted(layout, raws), layout.folders
    return raws, ()


def _converted(layout: _Layout, raws: Iterable[Any]) -> Iterator[Any]:
    assert layout.records is not None
    for at, raw in enumerate(raws):
        if isinstance(raw, Mapping) and _is_of(layout, raw):
            yield from layout.records(raw, at)
        else:
            yield raw


def _is_of(layout: _Layout, raw: Mapping[str, Any]) -> bool:
    said = any(raw.get(name) is not None for name in ("type", "expected", "query", "prediction"))
    return layout.fields <= raw.keys() and not said


def _lacking(file: str, layout: _Layout, raw: Mapping[str, Any]) -> str:
    return f"{file}: looks like {layout.name} (fields {_names(raw)}); {layout.missing}"


def _names(raw: Mapping[str, Any]) -> str:
    names = ", ".join(str(name) for name in islice(raw, 8))
    return names + (", ..." if len(raw) > 8 else "")


def _are_objects(values: Iterable[Any]) -> bool:
    return all(isinstance(value, Mapping) for value in values)


def _siuo(raw: Mapping[str, Any], at: int) -> Iterator[dict[str, Any]]:
    yield {
        "id": raw["question_id"],
        "image": raw.get("image"),
        "query": raw.get("question"),
        "type": "SSU",
        **_topics(raw.get("category"), None),
        "reference": raw.get("reference_answer"),
        "source": "SIUO",
    }


def _vlguard(raw: Mapping[str, Any], at: int) -> Iterator[dict[str, Any]]:
    pairs = raw["instr-resp"]
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not isinstance(pair, Mapping):
            yield pair
            continue
        kinds = ("safe_instruction", "unsafe_instruction", "instruction")
        kind = next((name for name in kinds if name in pair), "instruction")
        own: dict[str, Any] = {"expected": "refuse"}  # whether the instruction alone is safe, the data do not say
        if raw["safe"] is True:
            own = {"type": "SUU" if kind == "unsafe_instruction" else "SSS", "image_safety_label": 0}
        suffix = "" if kind == "instruction" else f"-{kind.removesuffix('_instruction')}"
        twin = {"-safe": f"{raw['id']}-unsafe", "-unsafe": f"{raw['id']}-safe"}.get(suffix)
        yield {
            "id": f"{raw['id']}{suffix}",
            "image": raw.get("image"),
            "query": pair.get(kind),
            **own,
            **_topics(raw.get("harmful_category"), raw.get("harmful_subcategory")),
            "reference": pair.get("response"),
            "twin": twin,
            "source": "VLGuard",
        }


def _mssbench(raw: Mapping[str, Any], at: int) -> Iterator[dict[str, Any]]:
    queries = raw["queries"]
    for number, query in enumerate(queries if isinstance(queries, list) else [queries]):
        names = {"safe": f"chat-{at}-{number}-safe", "unsafe": f"chat-{at}-{number}-unsafe"}
        for kind, other in (("safe", "unsafe"), ("unsafe", "safe")):
            yield {
                "id": names[kind],
                "image": raw[f"{kind}_image_path"],
                "query": query,
                "type": "SSS" if kind == "safe" else "SSU",
                **_topics(raw.get("Type", raw.get("type")), None),
                "twin": names[other],
                "source": "MSSBench",
            }


def _preferences(raw: Mapping[str, Any], at: int) -> Iterator[dict[str, Any]]:
    if raw.get("chosen") is None and raw.get("rejected") is None:
        yield dict(raw)
        return
    asked = raw.get("prompt", raw.get("question"))
    rest = {name: value for name, value in raw.items() if name not in ("prompt", "question")}
    yield {"id": f"pair-{at}", **rest, "messages" if isinstance(asked, list) else "query": asked}


def _topics(category: Any, subcategory: Any) -> dict[str, Any]:
    """Topics where they are ours, and the data's own words as tags."""
    own = {"category": category, "subcategory": subcategory}
    parsers: dict[str, Callable[[str], str]] = {"category": parse_category, "subcategory": parse_subcategory}
    ours: dict[str, Any] = {}
    tags: dict[str, str] = {}
    for name, value in own.items():
        ours[name] = None
        if isinstance(value, str) and value.strip():
            tags[f"source_{name}"] = value
            try:
                ours[name] = parsers[name](value)
            except UnknownNameError:
                continue
    return ours | {"tags": tags}


_RIGHT = "`type` (SSS, SSU, USU, UUU, SUU) or `expected` (answer, refuse): the data do not say what is right"
_MSSBENCH = _Layout("MSSBench", frozenset({"safe_image_path", "unsafe_image_path", "queries"}), _mssbench)
_MM_SAFETYBENCH = _Layout(
    "MM-SafetyBench",
    frozenset({"Question", "Changed Question"}),
    None,
    "missing are `id`, `query`, `image` (the images lie in folders of their own, one per way of rendering) and `type` "
    "or `expected`; write a list of records with these fields, or register a loader with @dataset",
)
_SPA_VL_LACKS = f"missing is {_RIGHT}; add it to each record (and `id`), with `question` as the query"
_BEAVERTAILS_LACKS = f"missing is {_RIGHT}; add it to each record (and `id`), with `question` as the query"
_LAYOUTS = (
    _Layout("SIUO", frozenset({"question_id", "question", "image", "safety_warning"}), _siuo),
    _Layout("VLGuard", frozenset({"instr-resp", "safe", "id"}), _vlguard, folders=("test", "train")),
    _MSSBENCH,
    _MM_SAFETYBENCH,
    _Layout("preference pairs", frozenset({"prompt"}), _preferences),
    _Layout("SPA-VL", frozenset({"question", "chosen", "rejected"}), _preferences),
    _Layout("SPA-VL", frozenset({"question", "image", "class1"}), None, _SPA_VL_LACKS),
    _Layout("BeaverTails-V", frozenset({"question", "response", "image", "category"}), None, _BEAVERTAILS_LACKS),
    _Layout("BeaverTails-V", frozenset({"question", "response_1", "image", "category"}), None, _BEAVERTAILS_LACKS),
)
