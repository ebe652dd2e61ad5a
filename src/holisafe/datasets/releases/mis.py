"""MIS (Ding et al., arXiv 2501.18533; Apache-2.0): two images and a text, harmful only together.

`mis_easy.json`, `mis_hard.json` and `mis_real.json`, maybe in the folder `mis_test`: lists of `id`, `question`,
`category`, `sub_category`, `image_path1`, `image_path2`; the paths are relative to these files.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from holisafe.datasets._loaded import Loaded
from holisafe.datasets._release_reader import (
    ReleaseReader,
    WrongField,
    check_split,
    identifier,
    mapping,
    objects,
    open_release,
    optional_text,
    text,
)
from holisafe.datasets._released import released
from holisafe.datasets._values import show
from holisafe.errors import DataError
from holisafe.records import Behaviour

NAME, TITLE = "mis", "MIS"
SPLITS = ("easy", "hard", "real")
SPLIT_TAG = "split"
_IN = ("", "mis_test/")
MAIN_NAMES = tuple(f"{folder}mis_{split}.json" for folder in _IN for split in SPLITS)


@released(
    NAME,
    title=TITLE,
    splits=SPLITS,
    description="two images and a text that are harmful only together",
    files=MAIN_NAMES,
    fields=({"question", "image_path1", "image_path2"},),
)
def load_mis(path: Path, split: str | None) -> Loaded:
    """The requests of MIS: two images in order, then the text."""
    check_split(split, SPLITS, TITLE)
    reader = open_release(path, NAME, TITLE, MAIN_NAMES, "Apache-2.0")
    main = reader.files.main
    alone = path.is_file() and path.suffix == ".json"
    names = [main] if alone else [name for name in MAIN_NAMES if reader.files.has(name)]
    for name in names:
        of = PurePosixPath(name).stem.removeprefix("mis_")
        if of not in SPLITS:
            raise DataError(f"{reader.files.describe(name)}: named {of!r}, expected one of {', '.join(MAIN_NAMES[:3])}")
        if split in (None, of):
            _read_file(reader, name, of)
    return reader.loaded(split)


def _read_file(reader: ReleaseReader, name: str, split: str) -> None:
    below = str(PurePosixPath(name).parent)
    folder = "" if below == "." else f"{below}/"
    for at, raw in enumerate(objects(reader.files.json(name), reader.files.describe(name), TITLE)):
        own = raw.get("id") if isinstance(raw, dict) else None
        with reader.record(at, None if own is None else f"{split}-{own}", file=name):
            record = mapping(raw)
            number = identifier(record, "id")
            images = tuple(
                reader.image(field, folder + text(record, field), text(record, field))
                for field in ("image_path1", "image_path2")
            )
            if images[0].identity == images[1].identity:
                raise WrongField("image_path2", show(record["image_path2"]), "another image than image_path1")
            reader.add(
                f"{split}-{number}",
                images,
                text(record, "question"),
                expected=Behaviour.REFUSE,
                topics=(optional_text(record, "category"), optional_text(record, "sub_category")),
                tags={SPLIT_TAG: split},
            )
