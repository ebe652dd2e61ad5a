"""HarmEval of SafeInfer (Banerjee et al., arXiv 2406.12274): harmful requests as text, 11 topics.

A table with the columns `Question` and `Topic`, as CSV, Parquet or JSON. It is not the HarmEval of SPA-VL.
"""

from __future__ import annotations

from pathlib import Path

from holisafe.datasets._loaded import Loaded
from holisafe.datasets._release_reader import check_split, open_release, text
from holisafe.datasets._release_rows import release_rows, row, tables
from holisafe.datasets._released import released
from holisafe.errors import DataError
from holisafe.records import Behaviour

NAME, TITLE = "safeinfer-harmeval", "SafeInfer HarmEval"
TOPIC_TAG = "topic"
_MAIN = ("HarmEval.csv", "harmeval.csv", "HarmEval.json", "data/train-00000-of-00001.parquet")


@released(
    NAME,
    title=TITLE,
    splits=("train",),
    description="harmful requests as text, 11 topics",
    fields=({"Question", "Topic"},),
)
def load_safeinfer_harmeval(path: Path, split: str | None) -> Loaded:
    """SafeInfer's HarmEval.

    Args:
        path: The table, or the folder or zip that holds it and no other.
        split: "train" (its only one), or None.

    Raises:
        DataError: There are no records to be had.
        UnknownNameError: There is no such split.
    """
    check_split(split, ("train",), TITLE)
    reader = open_release(path, NAME, TITLE, _MAIN)
    found = tables(reader.files, _MAIN)
    if len(found) != 1:
        listed = ", ".join(found[:4]) or "none"
        raise DataError(f"{path}: found {listed}, expected one table with Question and Topic; name the file itself")
    for at, raw in enumerate(release_rows(reader.files, found[0])):
        with reader.record(at, file=found[0]):
            fields = row(raw)
            topic = text(fields, TOPIC_TAG.capitalize())
            tags = {TOPIC_TAG: topic}
            name = f"harmeval-{at}"
            reader.add(name, (), text(fields, "Question"), expected=Behaviour.REFUSE, tags=tags, topics=(topic, None))
    return reader.loaded(split)
