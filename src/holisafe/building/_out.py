"""What is built: samples, the released form, and Parquet with a split for learning and one for measuring."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from holisafe.building._requests import Asked
from holisafe.datasets.export import export_holisafe, export_parquet
from holisafe.errors import DataError
from holisafe.records import Sample

SOURCE = "holisafe build"
RELEASED = "released"
"""Folder with a folder of released JSON and images per split."""

TRAIN, TEST = "train", "test"


def sample_of(
    one: Asked, *, cluster: str = "", twin: str = "", licence: str = "", tags: Mapping[str, str] | None = None
) -> Sample:
    """A request as a sample.

    Args:
        one: The request with its answer.
        cluster: The group of its picture.
        twin: Id of its twin; empty for none.
        licence: SPDX id of the pictures.
        tags: Further tags.
    """
    harm = None if one.combination.is_safe else one.subcategory
    return Sample.ask(
        one.id,
        [one.about.picture.ref],
        one.question,
        one.combination,
        None if harm is None else harm.category,
        harm,
        image_labels=[one.about.label],
        reference=one.answer,
        twin=twin or None,
        cluster=cluster,
        tags={"written_by": one.by, "labelled_by": one.about.by, **(tags or {})},
        source=SOURCE,
        licence=licence,
    )


def write_data(samples: Mapping[str, Sequence[Sample]], out: Path) -> list[Path]:
    """Write the splits beside what is there, then put them in its place; what a kill leaves undone, the next run does.

    Args:
        samples: Samples by split; a split without any is not written.
        out: The folder.

    Raises:
        DataError: There is nothing to learn from.
        ImageError: A picture cannot be read any more.
    """
    if not samples.get(TRAIN):
        raise DataError(f"{out}: no sample was built to learn from; the rows in {out / 'steps'} say why")
    new = out / ".new"
    shutil.rmtree(new, ignore_errors=True)
    for split, given in samples.items():
        if given:
            export_parquet(given, new, split)
            export_holisafe(given, new / RELEASED / split)
    shutil.rmtree(out / RELEASED, ignore_errors=True)
    (new / RELEASED).rename(out / RELEASED)
    written = []
    for split in (TRAIN, TEST):
        (out / f"{split}.parquet").unlink(missing_ok=True)
        if samples.get(split):
            written.append((new / f"{split}.parquet").rename(out / f"{split}.parquet"))
    new.rmdir()
    return written
