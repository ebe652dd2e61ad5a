"""HoliSafe-Bench as it is released, and every data set in its format: JSON with images, Parquet, or a Hub id.

- JSON: a list of records in `holisafe_bench.json` (any name will do), with `images/` beside it.
- JSON Lines and CSV: one record a line, `.jsonl` or `.csv`, images as above.
- Parquet: one row per record, the image's bytes in `image`; one file, or a folder of files named after their split
  (`test.parquet`, `test-00000-of-00002.parquet`).
- Hub: `owner/name`, through the `datasets` library; or the snapshot folder of a downloaded repository.

Records are turned into samples one by one (`_record`): a broken one is reported and left out, the others load.
The released data set itself is gated: its terms are to be accepted on its page. Licence CC-BY-NC-4.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holisafe.datasets import _layouts
from holisafe.datasets._identity import Identifier
from holisafe.datasets._loaded import Level, Loaded, Problem
from holisafe.datasets._places import Source, data_folder
from holisafe.datasets._record import GENERAL, TEXT_ONLY, CheckImage, read_record, record_id
from holisafe.datasets._rows import CSV, JSON, JSON_LINES, BrokenRow, read_files
from holisafe.datasets._values import show
from holisafe.errors import DataError, ImageError
from holisafe.images import open_image
from holisafe.records import Behaviour, ImageRef, Sample

FILE_NAME = "holisafe_bench.json"
HUB_ID = "etri-vilab/holisafe-bench"
NAME = "HoliSafe-Bench"
LICENCE = "CC-BY-NC-4.0"


def read_path(path: str | Path, split: str | None = None, *, check_image: CheckImage | None = None) -> Loaded:
    """Read a JSON, JSON Lines, CSV or Parquet file, or the folder of one.

    Args:
        path: The file or folder.
        split: Of a folder of Parquet files, the split to read; elsewhere only None or "test".
        check_image: What an image has to pass (raising ImageError), and what gives it its digest; by default it has
            to be there.

    Raises:
        DataError: There are no records to be had: nothing there, unreadable, empty, of another form.
    """
    files = data_files(Path(path), split)
    is_parquet = files[0].suffix == ".parquet"
    source = file_source(files[0], str(path) if is_parquet else str(files[0]))
    return read_rows(read_files(files), source, check_image=check_image)


def validate_path(path: str | Path, split: str | None = None) -> Loaded:
    """Read like `read_path`, and decode every image once; what cannot be decoded counts as broken.

    Raises:
        DataError: As `read_path`.
    """
    identifier = Identifier()
    seen: dict[str, ImageError | None] = {}

    def decodes(ref: ImageRef) -> ImageRef:
        found = _local(ref, identifier)
        if found.digest not in seen:
            seen[found.digest] = _image_error(found)
        if (error := seen[found.digest]) is not None:
            raise error
        return found

    return read_path(path, split, check_image=decodes)


def read_rows(rows: Iterable[Any], source: Source, *, check_image: CheckImage | None = None) -> Loaded:
    """Read records that are in memory already, such as the rows of a Hub data set.

    Raises:
        DataError: There are none.
    """
    identifier = Identifier()
    check = check_image or (lambda ref: _local(ref, identifier))
    rows, folders = _layouts.in_our_form(rows, source.file)
    if folders:
        source = replace(source, others=tuple(source.folder / name for name in folders))
    samples: list[Sample] = []
    problems: list[Problem] = []
    assumed: Counter[str] = Counter()
    first_index: dict[str, int] = {}
    count = 0
    for index, raw in enumerate(rows):
        count += 1
        if isinstance(raw, BrokenRow):
            expected, remedy = "JSON", "repair the record, or remove it"
            problems.append(Problem(source.file, index, None, "record", raw.reason, expected, remedy))
            continue
        read = read_record(raw, index, source, check)
        problems.extend(read.problems)
        name = record_id(raw)
        if name is None:
            continue
        if first_index.setdefault(name, index) != index:
            before = f"an id of its own (record {first_index[name]} has it too)"
            remedy = "rename or remove one; the first is kept"
            problems.append(Problem(source.file, index, name, "id", show(raw["id"]), before, remedy))
        elif read.sample is not None:
            samples.append(read.sample)
            assumed.update(read.assumed)
    if count == 0:
        raise DataError(f"{source.file}: no records; expected one or more; check that the file is the right one")
    problems.extend(_twin_problems(samples, source, first_index))
    problems.extend(_assumptions(assumed, source))
    return Loaded(tuple(samples), tuple(problems))


def _local(ref: ImageRef, identifier: Identifier) -> ImageRef:
    """An image whose bytes are at hand, in memory or in a file below the data folder, with its digest.

    Raises:
        ImageError: They are not.
    """
    if ref.url is not None:
        raise ImageError(f"{ref.url}: on the network, which is not asked for; download it into the data folder")
    return identifier(ref)


def _image_error(ref: ImageRef) -> ImageError | None:
    try:
        open_image(ref)
    except ImageError as error:
        return error
    return None


def _twin_problems(samples: Sequence[Sample], source: Source, first_index: Mapping[str, int]) -> Iterator[Problem]:
    """Notes on twins that make no pair."""
    by_id = {sample.id: sample for sample in samples}
    for sample in samples:
        twin = by_id.get(sample.twin or "")
        if sample.twin is None or (twin is not None and twin.expected is not sample.expected):
            continue
        found = "no good record" if twin is None else _ALIKE[sample.expected]
        expected = "the id of a record of which the other behaviour is right"
        remedy = "it counts as no pair"
        place = first_index.get(sample.id)
        yield Problem(source.file, place, sample.id, "twin", found, expected, remedy, Level.NOTE)


_ALIKE = {
    Behaviour.ANSWER: "one that is safe too",
    Behaviour.REFUSE: "one that is unsafe too",
    None: "one of which neither says what is right",
}
_ASSUMED = {
    GENERAL: (
        "nothing in {n} conversations",
        "one of SSS, SSU, USU, UUU, SUU",
        "they are read as SSS, harmless requests that are to be answered; give `type` where that is wrong",
    ),
    TEXT_ONLY: (
        "no image in {n} records",
        "a path below the data folder",
        "they are read as text only; name the file in `image` where that is wrong",
    ),
}


def _assumptions(assumed: Mapping[str, int], source: Source) -> Iterator[Problem]:
    """One note on every field that records leave out and that is read as something."""
    for name, count in assumed.items():
        found, expected, remedy = _ASSUMED[name]
        yield Problem(source.file, None, None, name, found.format(n=count), expected, remedy, Level.NOTE)


def data_files(path: Path, split: str | None = None) -> list[Path]:
    """The file or files behind a path.

    Raises:
        DataError: There are none, or several of which one would have to be chosen.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the path")
    if not path.is_dir():
        return [_one_split(path, split)]
    if (path / FILE_NAME).is_file():
        return [_one_split(path / FILE_NAME, split)]
    if parquet := sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet")):
        return _of_split(parquet, split, path)
    for suffixes in (JSON, JSON_LINES, CSV):
        lists = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes and file.is_file())
        if len(lists) == 1:
            return [_one_split(lists[0], split)]
    raise DataError(
        f"{path}: found neither {FILE_NAME} nor Parquet files nor a single other JSON, JSON Lines or CSV file; "
        "name the file itself, or a folder that holds one"
    )


def _one_split(path: Path, split: str | None) -> Path:
    if split not in (None, "test"):
        raise DataError(f"{path}: has one split, 'test', not {split!r}; ask for 'test' or for no split")
    return path


def _of_split(files: list[Path], split: str | None, folder: Path) -> list[Path]:
    """Parquet files whose name up to the first hyphen is the split."""
    splits = sorted({file.stem.split("-")[0] for file in files})
    chosen = [file for file in files if split in (None, file.stem.split("-")[0])]
    if not chosen:
        raise DataError(f"{folder}: has no split {split!r}; it has {', '.join(splits)}")
    return chosen


def file_source(file: Path, name: str) -> Source:
    """Where the records of a file come from; images lie in `images/` beside it, or beside it."""
    folder = data_folder(file)  # absolute: a run is looked at from elsewhere, too
    images = folder / "images"
    released = file.name == FILE_NAME
    return Source(
        name,
        images if images.is_dir() else folder,
        NAME if released else file.stem,
        LICENCE if released else "",
    )
