"""Records as JSON values, as run folders and Inspect logs keep them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from holisafe.errors import GuardError, RunError
from holisafe.records._guard_reading import GuardModelVerdict
from holisafe.records._judge_id import JudgeId
from holisafe.records._run import AnswerCost, Judgement, Outcome, Response
from holisafe.records._sample import Behaviour, ImageRef, Role, Sample, Turn
from holisafe.records._verdict import GuardVerdict
from holisafe.taxonomy import Combination, GuardLabel

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What values of other types raise."""


def sample_to_json(sample: Sample) -> dict[str, Any]:
    """Every field of a sample; images by reference and digest only, never by their bytes."""
    return {
        "id": sample.id,
        "turns": [
            {"role": turn.role.value, "text": turn.text, "images": [_image_to_json(image) for image in turn.images]}
            for turn in sample.turns
        ],
        "expected": sample.expected.value if sample.expected else None,
        "combination": sample.combination.value if sample.combination else None,
        "image_labels": [label.value for label in sample.image_labels],
        "reference": sample.reference,
        "options": list(sample.options),
        "twin": sample.twin,
        "cluster": sample.cluster,
        "tags": dict(sample.tags),
        "source": sample.source,
        "licence": sample.licence,
    }


def sample_from_json(data: Mapping[str, Any], images: Path | None = None) -> Sample:
    """Read what `sample_to_json` wrote.

    Args:
        data: The JSON object.
        images: Folder with the images that were in memory, named by `image_file`; None when there is none.

    Raises:
        RunError: It is not such an object.
    """
    try:
        sample = Sample(
            id=_string(data["id"]),
            turns=tuple(
                Turn(
                    Role(turn["role"]),
                    _string(turn["text"]),
                    tuple(_image_from_json(image, images) for image in turn["images"]),
                )
                for turn in data["turns"]
            ),
            expected=Behaviour(data["expected"]) if data["expected"] else None,
            combination=Combination(data["combination"]) if data["combination"] else None,
            image_labels=tuple(GuardLabel(label) for label in data["image_labels"]),
            reference=_optional(data["reference"], str),
            options=tuple(map(_string, data["options"])),
            twin=_optional(data["twin"], str),
            cluster=_string(data["cluster"]),
            tags={_string(name): _string(value) for name, value in data["tags"].items()},
            source=_string(data["source"]),
            licence=_string(data["licence"]),
        )
        _ = sample.category, sample.subcategory  # tags that are enums
        return sample
    except _MALFORMED as error:
        raise RunError(
            f"a sample in the run is not as this version writes it: {error!r}; was it written by another version of "
            "holisafe? run the bench again with another --out"
        ) from error


def response_to_json(response: Response) -> dict[str, Any]:
    """Every field of a response, the cost only where there is one; its guard's verdict as docs/json.md describes it."""
    cost = {} if response.cost is None else {"cost": asdict(response.cost)}
    return {
        "sample_id": response.sample_id,
        "text": response.text,
        "model": response.model,
        "verdict": response.verdict.to_json(),
        "finish_reason": response.finish_reason,
        "refusal": response.refusal,
        "input_tokens": response.input_tokens,
        "output_tokens": response.output_tokens,
        "error": response.error,
        **cost,
    }


def response_from_json(data: Mapping[str, Any]) -> Response:
    """Read what `response_to_json` wrote.

    Raises:
        RunError: It is not such an object.
    """
    try:
        return Response(
            sample_id=_string(data["sample_id"]),
            text=_string(data["text"]),
            model=_string(data["model"]),
            verdict=GuardVerdict.from_json(data["verdict"]),
            finish_reason=_optional(data["finish_reason"], str),
            refusal=_optional(data["refusal"], str),
            input_tokens=_optional(data["input_tokens"], int),
            output_tokens=_optional(data["output_tokens"], int),
            error=_optional(data["error"], str),
            cost=None if data.get("cost") is None else answer_cost_from_json(data["cost"]),
        )
    except _MALFORMED as error:
        raise RunError(
            f"a response is not as this version writes it: {error!r}; was it written by another version of holisafe? "
            "run the bench again with another --out"
        ) from error


def answer_cost_from_json(data: Mapping[str, Any]) -> AnswerCost:
    """Read the fields of an `AnswerCost`.

    Raises:
        TypeError, ValueError, KeyError: A field is missing or no number of at least 0.
    """
    generations, passes, seconds = data["generations"], data["passes"], data["seconds"]
    if not all(isinstance(each, int) and each >= 0 for each in (generations, passes)):
        raise ValueError(f"cost: found {dict(data)}, expected numbers of at least 0")
    if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        raise ValueError(f"cost: found {dict(data)}, expected numbers of at least 0")
    return AnswerCost(generations, passes, float(seconds))


def guard_verdict_from_json(data: Mapping[str, Any]) -> GuardModelVerdict:
    """Read what `GuardModelVerdict.to_json` wrote.

    Raises:
        RunError: It is not such an object.
    """
    try:
        return GuardModelVerdict.from_json(data)
    except (*_MALFORMED, GuardError) as error:
        raise RunError(
            f"a guard's verdict is not as this version writes it: {error!r}; was it written by another version of "
            "holisafe? run the bench again with another --out"
        ) from error


def judgement_to_json(judgement: Judgement) -> dict[str, Any]:
    """Every field of a judgement; the votes of a panel are nested."""
    return {
        "sample_id": judgement.sample_id,
        "judge": judgement.judge.to_json(),
        "outcome": judgement.outcome.value,
        "rationale": judgement.rationale,
        "scores": dict(judgement.scores),
        "votes": [judgement_to_json(vote) for vote in judgement.votes],
        "usage": dict(judgement.usage),
        "details": dict(judgement.details),
    }


def judgement_from_json(data: Mapping[str, Any]) -> Judgement:
    """Read what `judgement_to_json` wrote.

    Raises:
        RunError: It is not such an object.
    """
    try:
        return Judgement(
            sample_id=_string(data["sample_id"]),
            judge=JudgeId.from_json(data["judge"]),
            outcome=Outcome(data["outcome"]),
            rationale=_string(data["rationale"]),
            scores={str(name): float(value) for name, value in data["scores"].items()},
            votes=tuple(map(judgement_from_json, data["votes"])),
            usage={str(name): int(value) for name, value in data["usage"].items()},
            details={_string(name): value for name, value in data.get("details", {}).items()},
        )
    except _MALFORMED as error:
        raise RunError(f"a judgement is not as this version writes it: {error!r}; score the run again") from error


def image_file(digest: str, data: bytes) -> str:
    """File name of an image that was only in memory: its digest, and the suffix of its format."""
    return f"{digest}{_suffix(data)}"


def media_type(data: bytes) -> str:
    """MIME type of an encoded image by its first bytes."""
    return {".jpg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}.get(_suffix(data), "image/png")


def _suffix(data: bytes) -> str:
    if data.startswith(b"\xff\xd8"):
        return ".jpg"
    if data.startswith(b"GIF8"):
        return ".gif"
    return ".webp" if data[8:12] == b"WEBP" else ".png"


def _image_to_json(image: ImageRef) -> dict[str, Any]:
    named = {"key": image.key, "digest": image.digest}
    if image.data is not None:
        return named | {"file": image_file(image.digest, image.data)}
    place = {"path": image.path and str(image.path), "root": image.root and str(image.root), "url": image.url}
    return named | {key: value for key, value in place.items() if value is not None}


def _image_from_json(data: Mapping[str, Any], folder: Path | None) -> ImageRef:
    key, digest = _string(data["key"]), _string(data["digest"])
    if "file" in data:
        return ImageRef(key, path=folder / data["file"] if folder else None, root=folder, digest=digest)
    path, root = data.get("path"), data.get("root")
    return ImageRef(key, path=path and Path(path), root=root and Path(root), url=data.get("url"), digest=digest)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, found {type(value).__name__}")
    return value


def _optional(value: Any, kind: type) -> Any:
    if value is not None and type(value) is not kind:
        raise TypeError(f"expected {kind.__name__} or null, found {type(value).__name__}")
    return value
