"""Recorded answers: files with the model's text of each record in `prediction`, and logs of other evaluation tools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holisafe._printable import encodable
from holisafe.datasets._conversation import without_placeholders
from holisafe.datasets._identity import Identifier
from holisafe.datasets._loaded import Level, Loaded, Problem
from holisafe.datasets._other_tools import XLSX, read_xlsx, recognise
from holisafe.datasets._recognised import looks_like
from holisafe.datasets._record import record_id
from holisafe.datasets._rows import BrokenRow, read_files
from holisafe.datasets._values import MISSING, plain, show
from holisafe.datasets.holisafe_bench import data_files, file_source, read_rows
from holisafe.errors import DataError, ImageError
from holisafe.records import ImageRef, Response, Sample

_NEEDED = ("id", "query", "image", "type")


def read_predictions(path: str | Path, samples: Sequence[Sample] | None = None) -> Loaded:
    """Read recorded answers, each with what was asked, or joined by id to the samples that were asked.

    lmms-eval sample logs and VLMEvalKit tables are recognised by their fields, and need `samples`. The images need not
    be at hand. A record without a prediction keeps its place: its response says so as an error.

    Args:
        path: The file, or a folder of one.
        samples: What was asked; the file then needs no more than `id` and `prediction`. A sample without an answer
            stays, as an error, so that leaving out questions cannot better a rate. None where the records say what
            was asked themselves, in the fields of a data set.

    Returns:
        The samples and, in the same order, one response each; the model is named after the file.

    Raises:
        DataError: There are no records to be had, a field is missing from all of them, or they answer other samples.
    """
    try:
        return _read(path, samples)
    except DataError as error:
        if samples is not None or (found := looks_like(Path(path))) is None:
            raise
        raise DataError(
            f"{error}; this looks like {found.title}, which says what is asked: give the answers, with `id` and "
            f"`prediction`, and name it as --data {found.name}:{path}"
        ) from error


def _read(path: str | Path, samples: Sequence[Sample] | None) -> Loaded:
    file = Path(path)
    files = data_files(file)
    _check_suffix(file)
    is_book = files[0].suffix.lower() in XLSX
    raws = read_xlsx(file) if is_book else read_files(files, replace_surrogates=True)
    raws, foreign = recognise(raws, file, samples)
    if foreign is not None and samples is not None:
        return foreign.completed(_joined(_Answers(foreign.rows), file, samples))
    rows = _Answers(raws)
    if samples is not None:
        return _joined(rows, file, samples)
    identifier = Identifier()
    source = file_source(files[0], str(path))
    loaded = read_rows(rows, source, check_image=lambda ref: _identified_if_there(ref, identifier))
    if not loaded.samples:
        rows.check_fields(file, _NEEDED, "name the data set that was asked, such as --data open --split test")
    problems = list(loaded.problems)
    responses = [_response(sample.id, rows.said[sample.id], file, problems) for sample in loaded.samples]
    return Loaded(loaded.samples, tuple(problems), tuple(responses))


def _check_suffix(file: Path) -> None:
    """Refuse what is not read, with what to save instead.

    Raises:
        DataError: It is a pickle, or an old workbook.
    """
    suffix = file.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        raise DataError(f"{file}: a pickle runs code when it is read; save the answers as xlsx, tsv or JSON Lines")
    if suffix in (".xls", ".ods"):
        raise DataError(f"{file}: {suffix} workbooks are not read; save it as xlsx or tsv")


@dataclass(slots=True)
class _Answers:
    """Rows that are read once; of each id, the first answer and question are kept on the way."""

    rows: Iterable[Any]
    said: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, None] = field(default_factory=dict)
    count: int = 0

    def __iter__(self) -> Iterator[Any]:
        for raw in self.rows:
            self.count += 1
            name = record_id(raw)
            if isinstance(raw, Mapping):
                self.fields |= dict.fromkeys(map(str, raw))
            if name is not None and name not in self.said:
                self.said[name] = plain(raw.get("prediction", MISSING))
                self.asked[name] = raw.get("query")
            yield raw

    def check_fields(self, file: Path, needed: Sequence[str], remedy: str) -> None:
        """Complain of fields that no record has.

        Raises:
            DataError: There are such fields.
        """
        missing = [name for name in needed if name not in self.fields and not _has_other(name, self.fields)]
        if self.fields and missing:
            raise DataError(
                f"{file}: no record has the field{'s' * (len(missing) > 1)} {', '.join(missing)}; found "
                f"{', '.join(list(self.fields)[:12])}; {remedy}"
            )


_OTHERS = {"query": ("question", "conversations", "messages"), "image": ("images",), "type": ("expected",)}


def _has_other(name: str, fields: Mapping[str, None]) -> bool:
    return any(other in fields for other in _OTHERS.get(name, ()))


def _joined(rows: _Answers, file: Path, samples: Sequence[Sample]) -> Loaded:
    """The answers with the samples they belong to."""
    by_id = {sample.id: sample for sample in samples}
    seen: set[str] = set()
    problems: list[Problem] = []
    for index, raw in enumerate(rows):
        name = record_id(raw)
        if isinstance(raw, BrokenRow):
            fault = ("record", raw.reason, "JSON that can be read", "repair the record")
        elif name is None:
            found = raw.get("id", MISSING) if isinstance(raw, Mapping) else raw
            fault = ("id", show(found), "an integer or a text", "left out")
        elif name not in by_id:
            fault = ("id", repr(name), "an id of the data set", "left out")
        elif name in seen:
            fault = ("id", repr(name), "one answer for each id", "the first counts")
        else:
            seen.add(name)
            continue
        problems.append(Problem(str(file), index, name, *fault))
    if rows.count == 0:
        raise DataError(f"{file}: no records; expected one or more; check that the file is the right one")
    rows.check_fields(file, ("id", "prediction"), "rename the field that holds it")
    if not seen:
        first = next(iter(rows.said), None)
        raise DataError(
            f"{file}: no record has an id of the data set (the first has {first!r}, the data set's {samples[0].id!r}); "
            "name the data set and split they were made from"
        )
    others = [name for name in seen if not _is_same_question(rows.asked[name], by_id[name].query)]
    if others:
        raise DataError(
            f"{file}: {len(others)} records ask another question than the sample with the same id "
            f"(first: id {min(others)!r}); score them with the data set they were made from"
        )
    responses = []
    for sample in samples:
        if sample.id in seen:
            responses.append(_response(sample.id, rows.said[sample.id], file, problems))
        else:
            error = "no prediction: the file has no record of this id"
            responses.append(Response(sample.id, "", file.stem, error=error))
    return Loaded(tuple(samples), tuple(problems), tuple(responses))


def _is_same_question(asked: Any, query: str) -> bool:
    return not isinstance(asked, str) or without_placeholders(asked)[0].strip() == query.strip()


def _response(name: str, text: Any, file: Path, problems: list[Problem]) -> Response:
    """An answer; one that is missing is noted and counts as an error."""
    if isinstance(text, str):
        return Response(name, encodable(text), encodable(file.stem))
    found = show(text)
    problems.append(Problem(str(file), None, name, "prediction", found, "a text", "counted as an error", Level.NOTE))
    return Response(name, "", encodable(file.stem), error=f"no prediction: found {found}")


def _identified_if_there(ref: ImageRef, identifier: Identifier) -> ImageRef:
    """The image with its digest where its bytes are at hand."""
    try:
        return identifier(ref)
    except ImageError:
        return ref
