"""VLSBench (Hu et al., ACL 2025, arXiv 2411.19939): harmless texts whose harm only the image shows.

`data.json` is a list of `instruction_id`, `instruction`, `image_path`, `category`, `sub_category`, `source`,
`image_description`, `safety_reason`. Images are in `imgs.tar`, to be unpacked beside it into `imgs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holisafe.datasets._loaded import Loaded
from holisafe.datasets._release_reader import (
    ReleaseReader,
    check_split,
    identifier,
    mapping,
    objects,
    open_release,
    optional_text,
    text,
)
from holisafe.datasets._released import released
from holisafe.records import Behaviour

NAME, TITLE = "vlsbench", "VLSBench"
_MAIN = ("data.json", "data/data.json")


@released(
    NAME,
    title=TITLE,
    splits=("test",),
    description="texts that do not tell the harm that the image shows",
    fields=({"instruction_id", "instruction", "image_path"},),
)
def load_vlsbench(path: Path, split: str | None) -> Loaded:
    """VLSBench.

    Args:
        path: `data.json`, its folder with the unpacked images, or a zip of it.
        split: "test", or None.

    Raises:
        DataError: There are no records to be had.
        UnknownNameError: There is no such split.
    """
    check_split(split, ("test",), TITLE)
    reader = open_release(path, NAME, TITLE, _MAIN)
    main = reader.files.main
    # The original's script keeps `data = data[:2]` from a trial; every record is read here.
    for at, raw in enumerate(objects(reader.files.json(main), reader.files.describe(main), TITLE)):
        named = str(raw.get("instruction_id")) if isinstance(raw, Mapping) else None
        with reader.record(at, named):
            _add(reader, mapping(raw))
    return reader.loaded(split)


def _add(reader: ReleaseReader, raw: Mapping[str, Any]) -> None:
    name = text(raw, "image_path")
    reader.add(
        identifier(raw, "instruction_id"),
        (reader.image("image_path", name, f"imgs/{name}"),),
        text(raw, "instruction"),
        expected=Behaviour.REFUSE,  # or a warning; whether the image alone is unsafe, the data do not say
        tags={"image_from": optional_text(raw, "source")},
        topics=(optional_text(raw, "category"), optional_text(raw, "sub_category")),
    )
