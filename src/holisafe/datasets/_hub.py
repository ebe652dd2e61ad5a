"""Data sets on the Hugging Face Hub, through the `datasets` library."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holisafe.datasets._loaded import Loaded
from holisafe.datasets._places import Source
from holisafe.datasets.holisafe_bench import HUB_ID, LICENCE, NAME, read_rows
from holisafe.errors import DataError, ImageError, MissingDependencyError
from holisafe.images import read_bytes
from holisafe.records import ImageRef

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


def is_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name`."""
    return _HUB_ID.fullmatch(name) is not None and not name.endswith((".json", ".parquet"))


def read_hub(hub_id: str, split: str | None = None) -> Loaded:
    """Read a Hub data set in the released format.

    Args:
        hub_id: `owner/name`.
        split: Its split; None for "test", the only one that HoliSafe-Bench has.

    Raises:
        MissingDependencyError: The `datasets` library is not installed.
        DataError: The data set cannot be loaded: gated, private, misspelt, or the Hub is out of reach.
    """
    library = _library(hub_id)
    try:
        table = library.load_dataset(hub_id, split=split or "test")
    except Exception as error:  # datasets, huggingface_hub, httpx and fsspec raise kinds of their own
        raise DataError(explain(hub_id, error)) from error
    return read_table(table, hub_id)


def split_names(hub_id: str) -> list[str]:
    """Names of a Hub data set's splits.

    Raises:
        MissingDependencyError: The `datasets` library is not installed.
        DataError: The data set cannot be loaded.
    """
    library = _library(hub_id)
    try:
        return list(library.get_dataset_split_names(hub_id))
    except Exception as error:  # as above
        raise DataError(explain(hub_id, error)) from error


def _library(hub_id: str) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{hub_id}: reading from the Hub needs the library 'datasets'; run: pip install 'holisafe[datasets]'"
        ) from error
    return datasets


def read_table(table: Any, hub_id: str) -> Loaded:
    """Read a `datasets.Dataset`, its images as the bytes they were stored as, not re-encoded.

    Raises:
        DataError: It has no rows.
    """
    import datasets

    columns = [name for name, feature in table.features.items() if isinstance(feature, datasets.Image)]
    for column in columns:
        table = table.cast_column(column, datasets.Image(decode=False))
    is_released = hub_id.lower() == HUB_ID
    source = Source(hub_id, _download_folders()[0], NAME if is_released else hub_id, LICENCE if is_released else "")
    return read_rows((_with_bytes(row, columns) for row in table), source)


def _with_bytes(row: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Image files that the libraries downloaded, as bytes; a row may name no other file of this machine."""
    for column in columns:
        image = row[column]
        if image and image["bytes"] is None and image["path"]:
            path = Path(image["path"])
            for folder in _download_folders():
                with contextlib.suppress(ImageError):  # the record is then reported as without its image
                    data = read_bytes(ImageRef(str(path), path=path, root=folder))
                    row = row | {column: {"bytes": data, "path": None}}
    return row


def _download_folders() -> list[Path]:
    import huggingface_hub

    import datasets

    return [Path(datasets.config.HF_DATASETS_CACHE), Path(huggingface_hub.constants.HF_HUB_CACHE)]


def explain(hub_id: str, error: BaseException) -> str:
    """What to do about a data set that the Hub does not give, by what the libraries say on the way."""
    texts = [f"{type(link).__name__}: {link}" for link in _chain(error)]
    said = " ".join(texts).lower()
    if "gated" in said or "401" in said or "403" in said:
        return (
            f"{hub_id}: access is gated or private (or the name is misspelt: the Hub does not tell the two apart "
            f"without a login). Accept the terms on https://huggingface.co/datasets/{hub_id}, log in with the same "
            "account by `hf auth login` (or set HF_TOKEN), and run again; or give the folder of a copy you have"
        )
    first = " ".join(texts[0].split())
    return (
        f"{hub_id}: no such folder here, and cannot be loaded from the Hub ({first[:300]}); "
        "check the name, the split and the network"
    )


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links
