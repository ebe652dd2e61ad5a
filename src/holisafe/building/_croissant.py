"""Croissant metadata of built data (mlcommons.org/croissant, version 1.0): the Parquet files and their columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holisafe._files import sha256_of, write_atomically
from holisafe._version import __version__
from holisafe.records import Sample

CROISSANT = "croissant.json"

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_COLUMNS = {
    "id": "Id of the sample.",
    "query": "The request.",
    "type": "Combination of image, text and both together: SSS, SSU, USU, UUU or SUU.",
    "category": "Category of the harm; empty without one.",
    "subcategory": "Subcategory of the harm; empty without one.",
    "reference": "The right answer: helpful, or a refusal with its reason.",
    "twin": "Id of the sample with the same request about a picture with which the other behaviour is right.",
    "cluster": "Samples of one group share pictures or near-duplicates.",
    "source": "What made the sample.",
    "licence": "SPDX id of the picture's licence.",
}
"""Text columns of the Parquet files (docs/data.md has all)."""


def write_croissant(samples: Mapping[str, Sequence[Sample]], out: Path, licence: str, written_by: str) -> Path:
    """Write `croissant.json` beside the Parquet files; the same files give the same bytes."""
    splits = [split for split, found in samples.items() if found]
    counts = ", ".join(f"{len(samples[split])} in {split}" for split in splits)
    page = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "holisafe-built-data",
        "description": (
            "Requests about pictures with the right answer, in the five combinations of HoliSafe (arXiv 2506.04704): "
            f"{counts} samples. datasheet.md says how they were made. Some ask for harm, at the level of intent."
        ),
        "citeAs": "holisafe (method: Lee et al., HoliSafe, arXiv 2506.04704)",
        "version": __version__,
        "license": licence,
        "rai:dataCollection": f"Pictures of a user; requests and answers written by {written_by}.",
        "rai:personalSensitiveInformation": "Pictures are as given, and may show people; nobody in them is identified.",
        "distribution": [_file(out / f"{split}.parquet") for split in splits],
        "recordSet": [_records(split) for split in splits],
    }
    write_atomically(out / CROISSANT, json.dumps(page, ensure_ascii=False, indent=1) + "\n")
    return out / CROISSANT


def _file(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256_of(path),
    }


def _records(split: str) -> dict[str, Any]:
    def field(name: str, told: str, kind: str, column: str, **more: Any) -> dict[str, Any]:
        source = {"fileObject": {"@id": f"{split}.parquet"}, "extract": {"column": column}, **more}
        return {
            "@type": "cr:Field",
            "@id": f"{split}/{name}",
            "name": name,
            "description": told,
            "dataType": kind,
            "source": source,
        }

    fields = [field(name, told, "sc:Text", name) for name, told in _COLUMNS.items()]
    image = field("image", "The picture, encoded.", "sc:ImageObject", "image", transform={"jsonPath": "bytes"})
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "key": {"@id": f"{split}/id"},
        "field": [*fields, image],
    }
