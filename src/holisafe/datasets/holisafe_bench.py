"""HoliSafe-Bench as it is released, and every data set in its format: JSON with images, Parquet, or a Hub id.

- JSON: a list of records in `holisafe_bench.json` (any name will do), with `images/` beside it.
- Parquet: one row per record, the image's bytes in `image`; one file, or a folder of files named after their split
  (`test.parquet`, `test-00000-of-00002.parquet`).
- Hub: `owner/name`, through the `datasets` library.

Records are turned into samples one by one (`_record`): a broken one is reported and left out, the others load.
The released data set itself is gated: its terms are to be accepted on its page. Licence CC-BY-NC-4.0.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from holisafe.datasets._loaded import Level, Loaded, Problem
from holisafe.datasets._record import CheckImage, Source, read_record, record_id, show
from holisafe.errors import DataError, ImageError
from holisafe.images import check_path, content_hash, open_image
from holisafe.images.sources import check_packing
from holisafe.records import ImageRef, Response, Sample

FILE_NAME = "holisafe_bench.json"
HUB_ID = "etri-vilab/holisafe-bench"
NAME = "HoliSafe-Bench"
LICENCE = "CC-BY-NC-4.0"


def read_path(path: Path, split: str | None = None, *, check_image: CheckImage | None = None) -> Loaded:
    """Read a JSON file, a Parquet file, or the folder of either.

    Args:
        path: The file or folder.
        split: Of a folder of Parquet files, the split to read; elsewhere only None or "test".
        check_image: What an image has to pass (raising ImageError); by default it has to be there.

    Raises:
        DataError: There are no records to be had: nothing there, unreadable, empty, of another form.
    """
    check = check_image or image_is_there
    files = _files(path, split)
    if files[0].suffix == ".parquet":
        return _read_records(_parquet_records(files), _source(files[0], str(path)), check)
    return _read_records(_json_records(files[0]), _source(files[0], str(files[0])), check)


def validate_path(path: Path, split: str | None = None) -> Loaded:
    """Read like `read_path`, and decode every image once; what cannot be decoded counts as broken.

    Raises:
        DataError: As `read_path`.
    """
    seen: dict[ImageRef, ImageError | None] = {}

    def decodes(ref: ImageRef) -> None:
        if ref not in seen:
            seen[ref] = _image_error(ref)
        if (error := seen[ref]) is not None:
            raise error

    return read_path(path, split, check_image=decodes)


def read_predictions(path: Path) -> Loaded:
    """Read recorded answers in the released format: the records, each with the model's text in `prediction`.

    The images need not be at hand. A record without a prediction keeps its place: its response says so as an error.

    Returns:
        The samples and, in the same order, one response each; the model is named after the file.

    Raises:
        DataError: There are no records to be had.
    """
    loaded = read_path(path, check_image=lambda ref: None)
    said: dict[str | None, Any] = {}  # of the first record of an id, as in `read_path`
    for raw in _all_records(path):
        if isinstance(raw, Mapping):
            said.setdefault(record_id(raw), raw.get("prediction", _MISSING))
    responses: list[Response] = []
    problems = list(loaded.problems)
    for sample in loaded.samples:
        text = said[sample.id]
        if isinstance(text, str):
            responses.append(Response(sample.id, text, path.stem))
            continue
        found = "nothing (the field is missing)" if text is _MISSING else show(text)
        problem = Problem(str(path), None, sample.id, "prediction", found, "a text", "counted as an error", Level.NOTE)
        problems.append(problem)
        responses.append(Response(sample.id, "", path.stem, error=f"no prediction: found {found}"))
    return Loaded(loaded.samples, tuple(problems), tuple(responses))


def read_rows(rows: Iterable[Any], source: Source, *, check_image: CheckImage | None = None) -> Loaded:
    """Read records that are in memory already, such as the rows of a Hub data set.

    Raises:
        DataError: There are none.
    """
    return _read_records(rows, source, check_image or image_is_there)


def image_is_there(ref: ImageRef) -> None:
    """Pass an image whose bytes are at hand: in memory, or in a file below the data folder.

    Raises:
        ImageError: They are not.
    """
    if ref.url is not None:
        raise ImageError(f"{ref.url}: on the network, which is not asked for; download it into the data folder")
    if ref.data is None:
        check_path(ref)


def _read_records(raws: Iterable[Any], source: Source, check_image: CheckImage) -> Loaded:
    samples: list[Sample] = []
    problems: list[Problem] = []
    first_index: dict[str, int] = {}
    images: dict[ImageRef, ImageRef] = {}  # records that share an image share its bytes in memory
    count = 0
    for index, raw in enumerate(raws):
        count += 1
        sample, found = read_record(raw, index, source, check_image)
        problems.extend(found)
        name = record_id(raw)
        if name is None:
            continue
        if first_index.setdefault(name, index) != index:
            before = f"an id of its own (record {first_index[name]} has it too)"
            remedy = "rename or remove one; the first is kept"
            problems.append(Problem(source.file, index, name, "id", show(raw["id"]), before, remedy))
        elif sample is not None:
            shared = tuple(images.setdefault(ref, ref) for ref in sample.images)
            samples.append(sample.with_images(shared))
    if count == 0:
        raise DataError(f"{source.file}: no records; expected one or more; check that the file is the right one")
    problems.extend(_twin_problems(samples, source, first_index))
    return Loaded(_told_apart(samples, images), tuple(problems))


def _told_apart(samples: Sequence[Sample], images: Iterable[ImageRef]) -> tuple[Sample, ...]:
    """Samples in which images of one name and other bytes, as libraries leave of files in several folders, have two."""
    of_name: dict[str, list[ImageRef]] = {}
    for image in images:
        of_name.setdefault(image.key, []).append(image)
    new = {
        image: replace(image, key=f"{name}#{content_hash(image.data)[:12]}")
        for name, alike in of_name.items()
        for image in alike
        if len(alike) > 1 and image.data is not None
    }
    if not new:
        return tuple(samples)
    return tuple(_renamed(each, new) for each in samples)


def _renamed(sample: Sample, new: Mapping[ImageRef, ImageRef]) -> Sample:
    images = tuple(new.get(image, image) for image in sample.images)
    is_of_image = sample.cluster == sample.images[0].key  # the records name none
    return replace(sample.with_images(images), cluster=images[0].key if is_of_image else sample.cluster)


def _twin_problems(samples: Sequence[Sample], source: Source, first_index: Mapping[str, int]) -> Iterator[Problem]:
    """Notes on twins that make no pair."""
    by_id = {sample.id: sample for sample in samples}
    for sample in samples:
        twin = by_id.get(sample.twin or "")
        if sample.twin is None or (twin is not None and twin.is_safe != sample.is_safe):
            continue
        found = "no good record" if twin is None else f"one that is {'' if twin.is_safe else 'un'}safe too"
        expected = "the id of a record of which the other behaviour is right"
        remedy = "it counts as no pair"
        place = first_index.get(sample.id)
        yield Problem(source.file, place, sample.id, "twin", found, expected, remedy, Level.NOTE)


def _files(path: Path, split: str | None) -> list[Path]:
    """The file or files behind a path."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the path")
    if path.is_file():
        return [_one_split(path, split)]
    if (path / FILE_NAME).is_file():
        return [_one_split(path / FILE_NAME, split)]
    if parquet := sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet")):
        return _of_split(parquet, split, path)
    if len(lists := sorted(path.glob("*.json"))) == 1:
        return [_one_split(lists[0], split)]
    raise DataError(
        f"{path}: found neither {FILE_NAME} nor Parquet files nor a single other JSON file; "
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


def _source(file: Path, name: str) -> Source:
    folder = file.parent.absolute()  # a run is looked at from elsewhere, too
    images = folder / "images"
    released = file.name == FILE_NAME
    return Source(
        name,
        images if images.is_dir() else folder,
        NAME if released else file.stem,
        LICENCE if released else "",
    )


def _all_records(path: Path) -> Iterable[Any]:
    files = _files(path, None)
    return _parquet_records(files) if files[0].suffix == ".parquet" else _json_records(files[0])


_MISSING = object()


def _json_records(path: Path) -> list[Any]:
    try:
        records = json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not readable as JSON at line {error.lineno}, column {error.colno}: {error.msg}; "
            "repair the file or get it again"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON: {error}; repair the file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    if not isinstance(records, list):
        raise DataError(
            f"{path}: found {'an object' if isinstance(records, dict) else show(records)} at the top level, "
            "expected a list of records; wrap the records in [ ]"
        )
    return records


def _parquet_records(files: list[Path]) -> Iterator[Any]:
    return itertools.chain.from_iterable(_parquet_rows(file) for file in files)


def _parquet_rows(path: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            check_packing(file.metadata)
            for batch in file.iter_batches(batch_size=64):
                yield from batch.to_pylist()
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as Parquet: {error}; get the file again") from error


def _image_error(ref: ImageRef) -> ImageError | None:
    try:
        open_image(ref)
    except ImageError as error:
        return error
    return None
