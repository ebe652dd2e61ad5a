"""Records as JSON values, as run folders and Inspect logs keep them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from holisafe.errors import RunError
from holisafe.images import content_hash
from holisafe.records import ImageRef, ImageVerdict, JointVerdict, Response, Sample
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory

IMAGES = "images"
"""Folder below a run folder with the images that were only in memory, each once, named by its content."""

VERDICTS = "holisafe_guard"
"""Where the metadata of a local model's output keep what its guard said of the prompt."""


def sample_to_json(sample: Sample) -> dict[str, Any]:
    """Every field of a sample; images by reference only, never by their bytes."""
    return {
        "id": sample.id,
        "images": [_image_to_json(image) for image in sample.images],
        "query": sample.query,
        "combination": sample.combination.value,
        "category": sample.category.value if sample.category else None,
        "subcategory": sample.subcategory.value if sample.subcategory else None,
        "image_labels": [label.value for label in sample.image_labels],
        "reference": sample.reference,
        "twin": sample.twin,
        "cluster": sample.cluster,
        "source": sample.source,
        "licence": sample.licence,
    }


def sample_from_json(data: Mapping[str, Any], folder: Path | None = None) -> Sample:
    """Read what `sample_to_json` wrote.

    Args:
        data: The JSON object.
        folder: The run folder, where images that were in memory lie; None when there is none.

    Raises:
        RunError: It is not such an object.
    """
    try:
        return Sample(
            id=data["id"],
            images=tuple(_image_from_json(image, folder) for image in data["images"]),
            query=data["query"],
            combination=Combination(data["combination"]),
            category=Category(data["category"]) if data["category"] else None,
            subcategory=Subcategory(data["subcategory"]) if data["subcategory"] else None,
            image_labels=tuple(GuardLabel(label) for label in data["image_labels"]),
            reference=data["reference"],
            twin=data["twin"],
            cluster=data["cluster"],
            source=data["source"],
            licence=data["licence"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"a sample in the log is not as this version writes it: {error!r}; run the bench again"
        ) from error


def response_to_json(response: Response) -> dict[str, Any]:
    """Every field of a response; its guard's verdicts as docs/json.md describes them."""
    return asdict(response) | verdicts_to_json(response.image_verdicts, response.joint_verdict)


def response_from_json(data: Mapping[str, Any]) -> Response:
    """Read what `response_to_json` wrote.

    Raises:
        RunError: It is not such an object.
    """
    try:
        images, joint = verdicts_from_json(data)
        return Response(**(dict(data) | {"image_verdicts": images, "joint_verdict": joint}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"a response is not as this version writes it: {error!r}; run the bench again") from error


def verdicts_to_json(images: Sequence[ImageVerdict], joint: JointVerdict | None) -> dict[str, Any]:
    """What a guard says of one prompt: `{image_verdicts, joint_verdict}`."""
    return {
        "image_verdicts": [_image_verdict_to_json(each) for each in images],
        "joint_verdict": None if joint is None else _joint_verdict_to_json(joint),
    }


def verdicts_from_json(data: Mapping[str, Any]) -> tuple[tuple[ImageVerdict, ...], JointVerdict | None]:
    """Read what `verdicts_to_json` wrote; a missing joint verdict is none, as in runs of the first version.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is not such an object.
    """
    joint = data.get("joint_verdict")
    images = tuple(map(_image_verdict_from_json, data["image_verdicts"]))
    return images, None if joint is None else _joint_verdict_from_json(joint)


def in_memory_name(data: bytes) -> str:
    """File name, below `IMAGES`, of an image that was only in memory."""
    return f"{content_hash(data)[:32]}{_suffix(data)}"


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
    if image.data is not None:
        return {"key": image.key, "file": in_memory_name(image.data)}
    place = {"path": image.path and str(image.path), "root": image.root and str(image.root), "url": image.url}
    return {"key": image.key} | {key: value for key, value in place.items() if value is not None}


def _image_from_json(data: Mapping[str, Any], folder: Path | None) -> ImageRef:
    if "file" in data:
        root = folder / IMAGES if folder else None
        return ImageRef(data["key"], path=root / data["file"] if root else None, root=root)
    path, root = data.get("path"), data.get("root")
    return ImageRef(data["key"], path=path and Path(path), root=root and Path(root), url=data.get("url"))


def _image_verdict_to_json(verdict: ImageVerdict) -> dict[str, Any]:
    return {
        "label": verdict.label.value,
        "probability": verdict.probability,
        "distribution": {label.value: probability for label, probability in verdict.distribution.items()},
        "threshold": verdict.threshold,
    }


def _image_verdict_from_json(data: Mapping[str, Any]) -> ImageVerdict:
    return ImageVerdict(
        label=GuardLabel(data["label"]),
        probability=float(data["probability"]),
        distribution={GuardLabel(label): float(value) for label, value in data["distribution"].items()},
        threshold=float(data["threshold"]),
    )


def _joint_verdict_to_json(verdict: JointVerdict) -> dict[str, Any]:
    return {
        "combination": verdict.combination.value,
        "probability": verdict.probability,
        "distribution": {name.value: probability for name, probability in verdict.distribution.items()},
        "categories": {name.value: probability for name, probability in verdict.categories.items()},
        "threshold": verdict.threshold,
    }


def _joint_verdict_from_json(data: Mapping[str, Any]) -> JointVerdict:
    return JointVerdict(
        combination=Combination(data["combination"]),
        probability=float(data["probability"]),
        distribution={Combination(name): float(value) for name, value in data["distribution"].items()},
        categories={Category(name): float(value) for name, value in data["categories"].items()},
        threshold=float(data["threshold"]),
    )
