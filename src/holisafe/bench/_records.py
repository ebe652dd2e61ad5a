"""Records as JSON values, as run folders and Inspect logs keep them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from holisafe.errors import RunError
from holisafe.images import content_hash
from holisafe.records import ImageRef, ImageVerdict, Response, Sample
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory

IMAGES = "images"
"""Folder below a run folder with the images that were only in memory, each once, named by its content."""


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
    """Every field of a response."""
    return asdict(response) | {"image_verdicts": [_verdict_to_json(each) for each in response.image_verdicts]}


def response_from_json(data: Mapping[str, Any]) -> Response:
    """Read what `response_to_json` wrote.

    Raises:
        RunError: It is not such an object.
    """
    try:
        return Response(**(dict(data) | {"image_verdicts": tuple(map(_verdict_from_json, data["image_verdicts"]))}))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"a response is not as this version writes it: {error!r}; run the bench again") from error


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


def _verdict_to_json(verdict: ImageVerdict) -> dict[str, Any]:
    distribution = {label.value: probability for label, probability in verdict.distribution.items()}
    return asdict(verdict) | {"label": verdict.label.value, "distribution": distribution}


def _verdict_from_json(data: Mapping[str, Any]) -> ImageVerdict:
    return ImageVerdict(
        label=GuardLabel(data["label"]),
        probability=data["probability"],
        distribution={GuardLabel(label): value for label, value in data["distribution"].items()},
        threshold=data["threshold"],
    )
