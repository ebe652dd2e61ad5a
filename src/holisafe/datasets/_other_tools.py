"""Answers as other evaluation tools log them: lmms-eval sample logs and VLMEvalKit tables.

lmms-eval: `*_samples_TASK.jsonl`, one object a line with `doc_id` (position in the split), `input` (the prompt) and
`filtered_resps`; before 0.4 also `doc`, the record without its images. The file `*_results.json` beside it names the
model and the settings. VLMEvalKit: `MODEL_DATA.xlsx` or `.tsv`, with `index`, `question` and `prediction`.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from holisafe._files import MAX_JSON_BYTES, read_json
from holisafe.datasets._loaded import Level, Loaded, Problem
from holisafe.datasets._record import record_id
from holisafe.errors import DataError
from holisafe.records import Sample

LMMS_EVAL = "lmms-eval"
VLMEVALKIT = "VLMEvalKit"

XLSX = (".xlsx", ".xlsm")

LONGEST_CELL = 32_767
"""Characters that a cell of a spreadsheet holds; writers cut what is longer."""

MOST_TOKENS = 2**31
"""Counts of tokens that are no counts: they are taken as not known."""

_FAILED = "Failed to obtain answer"
"""How VLMEvalKit writes that there is no answer."""


@dataclass(slots=True)
class Foreign:
    """Answers of another tool in our form.

    Attributes:
        tool: The tool's name.
        rows: `id`, `prediction` and, where known, `query`.
        changes: By id, fields of its response: what ended it, tokens, error.
        notes: What a reader must know.
        origin: What the log says of the model and its settings.
    """

    tool: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[Problem] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)

    def completed(self, loaded: Loaded) -> Loaded:
        """What was joined, with what the log says besides."""
        responses = tuple(
            replace(response, **self.changes.get(response.sample_id, {})) if response.error is None else response
            for response in loaded.responses
        )
        model = self.origin.get("model")
        if isinstance(model, str):
            responses = tuple(replace(response, model=model) for response in responses)
        return replace(
            loaded,
            responses=responses,
            problems=(*loaded.problems, *self.notes),
            origin={"tool": self.tool, **self.origin},
        )


def recognise(
    raws: Iterable[Any], file: Path, samples: Sequence[Sample] | None
) -> tuple[Iterable[Any], Foreign | None]:
    """The rows again, and what they are if another tool wrote them.

    Args:
        raws: The rows of the file.
        file: The file.
        samples: What was asked.

    Raises:
        DataError: They are of another tool, and cannot be joined to the samples.
    """
    all_raws = iter(raws)
    first = next(all_raws, None)
    again = chain([] if first is None else [first], all_raws)
    if not isinstance(first, Mapping):
        return again, None
    fields = first.keys()
    if "doc_id" in fields or "filtered_resps" in fields or "doc_hash" in fields:
        return [], _lmms_eval(list(again), file, _needed(samples, file, LMMS_EVAL))
    if "prediction" in fields and ("index" in fields or file.suffix.lower() in XLSX):
        return [], _vlmevalkit(list(again), file, _needed(samples, file, VLMEVALKIT))
    return again, None


def _needed(samples: Sequence[Sample] | None, file: Path, tool: str) -> Sequence[Sample]:
    if samples is None:
        raise DataError(
            f"{file}: a log of {tool}, which names no images; name the data set that the answers belong to (--data, "
            "--split)"
        )
    return samples


def _lmms_eval(raws: Sequence[Any], file: Path, samples: Sequence[Sample]) -> Foreign:
    found = Foreign(LMMS_EVAL)
    found.origin, limit = _settings(file)
    places = {sample.id: sample for sample in samples}
    for index, raw in enumerate(raws):
        if not isinstance(raw, Mapping):
            found.notes.append(_problem(file, index, None, "record", "no object", "one JSON object a line", "left out"))
            continue
        if "doc_id" not in raw or not {"filtered_resps", "resps"} & raw.keys():
            raise DataError(
                f"{file} record {index}: a log of {LMMS_EVAL} without "
                f"{'doc_id' if 'doc_id' not in raw else 'filtered_resps'}; found {', '.join(list(raw)[:12])}; this is "
                "of a version that is not known here: save it as JSON Lines with `id` and `prediction`"
            )
        doc = raw.get("doc")
        name = record_id(doc) if isinstance(doc, Mapping) else None
        asked = _asked(doc, raw.get("input"))
        sample = places.get(name or "") or _at(samples, raw["doc_id"], asked, file, index)
        answers = _texts(raw.get("filtered_resps", raw.get("resps")))
        if len(answers) > 1:
            found.notes.append(
                _problem(file, index, sample.id, "filtered_resps", f"{len(answers)} answers", "one", "the first counts")
            )
        row = {"id": sample.id, "prediction": answers[0] if answers else None}
        found.rows.append(row | ({"query": doc["query"]} if isinstance(doc, Mapping) and "query" in doc else {}))
        found.changes[sample.id] = _answer_fields(answers[0] if answers else "", raw.get("token_counts"), limit)
    return found


def _texts(value: Any) -> list[str]:
    """The answers of a record, however deep they are nested; a list that was written as text stays text."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence):
        return [text for each in value for text in _texts(each)]
    return []


def _answer_fields(text: str, counts: Any, limit: int | None) -> dict[str, Any]:
    """What the log says of an answer: its tokens, whether the limit cut it, whether generation failed.

    Where generation fails, models of lmms-eval write an empty text without a count of tokens.
    """
    if counts == [None] and not text.strip():
        return {"text": "", "error": f"{LMMS_EVAL}: an empty text without tokens, as it logs where generation failed"}
    found = _counts(counts)
    is_cut = limit is not None and found.get("output_tokens", 0) >= limit
    return {**found, "finish_reason": "length"} if is_cut else {**found}


def _counts(counts: Any) -> dict[str, int]:
    """Tokens of the first answer, where the log has them."""
    first = counts[0] if isinstance(counts, list) and counts else None
    if not isinstance(first, Mapping):
        return {}
    found = {name: first.get(name) for name in ("input_tokens", "output_tokens")}
    return {name: count for name, count in found.items() if type(count) is int and 0 <= count < MOST_TOKENS}


def _asked(doc: Any, prompt: Any) -> str | None:
    """The prompt, or the question of the record."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Sequence) and prompt and isinstance(prompt[0], str):
        return prompt[0]
    question = (doc.get("query") or doc.get("question")) if isinstance(doc, Mapping) else None
    return question if isinstance(question, str) else None


def _at(samples: Sequence[Sample], place: Any, asked: str | None, file: Path, index: int) -> Sample:
    """The sample at a position, if it was asked what the log says.

    Raises:
        DataError: It was asked something else, or the log does not say.
    """
    position = int(place) if isinstance(place, (int, str)) and str(place).isdecimal() and len(str(place)) < 10 else -1
    where = f"{file} record {index}: position {place!r}"
    remedy = "name the data set and split that the log was made from (--data, --split)"
    if not 0 <= position < len(samples):
        raise DataError(f"{where} is not one of the data set's {len(samples)} samples; {remedy}")
    if asked is None:
        raise DataError(
            f"{where} names a sample only by its place, without the question; the answers cannot be joined safely: "
            "save them as JSON Lines with `id` and `prediction`"
        )
    sample = samples[position]
    if " ".join(sample.query.split()) not in " ".join(asked.split()):
        raise DataError(f"{where} was asked another question than sample {sample.id!r} of the data set; {remedy}")
    return sample


def _settings(file: Path) -> tuple[dict[str, Any], int | None]:
    """Model and settings from the file of results beside the log, nothing without one; and the token limit.

    The limit is None where answers were generated in batches: their counts of tokens then hold the padding.
    """
    date, mark, task = file.name.partition("_samples_")
    place = file.with_name(f"{date}_results.json")
    if not mark or not place.is_file():
        return {}, None
    record = read_json(place, DataError, allow_nan=True, replace_surrogates=True)
    if not isinstance(record, Mapping):
        return {}, None
    settings: dict[str, Any] = {}
    if isinstance(record.get("model_name"), str) and record["model_name"]:
        settings["model"] = record["model_name"]
    version = record.get("lmms_eval_version")
    if isinstance(version, str) and "unknown" not in version:  # of a package installed from an index, "unknown@unknown"
        settings["version"] = version
    configs = record.get("configs")
    config = configs.get(task.removesuffix(".jsonl")) if isinstance(configs, Mapping) else None
    generation = config.get("generation_kwargs") if isinstance(config, Mapping) else None
    if isinstance(generation, Mapping):
        settings["generation"] = {str(name): value for name, value in generation.items()}
    run = record.get("config")
    is_single = isinstance(run, Mapping) and str(run.get("batch_size")) == "1"
    limit = settings.get("generation", {}).get("max_new_tokens")
    return settings, limit if is_single and type(limit) is int else None


def _vlmevalkit(raws: Sequence[Any], file: Path, samples: Sequence[Sample]) -> Foreign:
    found = Foreign(VLMEVALKIT)
    ids = {sample.id for sample in samples}
    key = next((key for key in ("id", "index") if any(_named(raw, key) in ids for raw in raws)), None)
    for index, raw in enumerate(raws):
        text = raw.get("prediction")
        text = "" if text is None else text if isinstance(text, str) else str(text)
        row = {"id": _named(raw, key or ""), "prediction": text}
        if key is None:
            row["id"] = _at(samples, raw.get("index"), _asked(raw, None), file, index).id
        elif raw.get("question"):
            row["query"] = raw["question"]
        found.rows.append(row)
        if row["id"] is not None:
            _note_answer(found, file, index, row["id"], text, is_formula=bool(raw.get(FORMULA)))
    return found


def _named(raw: Mapping[str, Any], key: str) -> str | None:
    return record_id({"id": raw.get(key)})


def _note_answer(found: Foreign, file: Path, index: int, name: str, text: str, *, is_formula: bool) -> None:
    """What a table did to an answer: cut it, or wrote a failure or a formula in its place."""
    notes = []
    if text.startswith(_FAILED):
        found.changes[name] = {"text": "", "error": f"{VLMEVALKIT}: {text[:200]}"}
    elif len(text) >= LONGEST_CELL:
        found.changes[name] = {"finish_reason": "length"}
        said = f"{len(text):,} characters, all that a cell of a spreadsheet holds"
        notes.append((said, "a shorter answer", "its end is lost; it is judged as it stands"))
    if is_formula:
        notes.append(("a formula", "a text", "the text of the formula is taken as the answer; nothing is computed"))
    found.notes += [_problem(file, index, name, "prediction", *note) for note in notes]


FORMULA = "\0formula"
"""Key of a row whose answer is stored as a formula, as writers store text that begins with =."""


def read_xlsx(file: Path) -> list[dict[str, Any]]:
    """The rows of the first sheet of a workbook; nothing in it is computed.

    Raises:
        DataError: It cannot be read.
        MissingDependencyError: openpyxl is not installed.
    """
    from holisafe._lazy import missing

    try:
        import openpyxl
    except ModuleNotFoundError as error:
        raise missing(error, f"reading {file.name}") or error from error
    _check_unpacked(file)
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=False)
    except OSError:
        raise
    except Exception as error:  # openpyxl raises many kinds for a file that is no workbook
        raise DataError(f"{file}: not a workbook that can be read ({type(error).__name__}); save it as xlsx") from error
    with contextlib.closing(book):
        try:
            return _sheet_rows(book.worksheets[0] if book.worksheets else None, file)
        except DataError:
            raise
        except Exception as error:  # the sheet is parsed while its rows are read
            raise DataError(
                f"{file}: its first sheet cannot be read ({type(error).__name__}); save it again"
            ) from error


def _check_unpacked(file: Path) -> None:
    """Refuse a workbook that unpacks to more than is read of any file of records."""
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # opening it as a workbook says what is wrong
    if size > MAX_JSON_BYTES:
        raise DataError(f"{file}: unpacks to {size:,} bytes, more than the {MAX_JSON_BYTES:,} allowed; save it as tsv")


def _sheet_rows(sheet: Any, file: Path) -> list[dict[str, Any]]:
    cells = iter(()) if sheet is None else sheet.iter_rows()
    head = [None if cell.value is None else str(cell.value).strip() for cell in next(cells, ())]
    if "prediction" not in head or not {"index", "id"} & set(head):
        named = ", ".join(name for name in head if name) or "none"
        raise DataError(
            f"{file}: the first row of the first sheet names the columns {named}; expected prediction and index (or id)"
        )
    if twice := next((name for name in head if name and head.count(name) > 1), None):
        raise DataError(f"{file}: two columns are named {twice!r}; rename or remove one")
    rows = []
    for row in cells:
        values = {name: _value(cell.value) for name, cell in zip(head, row, strict=False) if name}
        if all(value is None for value in values.values()):
            continue
        is_formula = any(name == "prediction" and cell.data_type == "f" for name, cell in zip(head, row, strict=False))
        values["prediction"] = "" if values.get("prediction") is None else str(values["prediction"])
        rows.append({**values, FORMULA: True} if is_formula else values)
    return rows


def _value(value: Any) -> Any:
    """A cell's value; of a formula that spans cells, its text."""
    text = getattr(value, "text", value)
    return text if text is None or isinstance(text, (str, int, bool)) else str(text)


def _problem(file: Path, index: int, name: str | None, part: str, found: str, expected: str, remedy: str) -> Problem:
    return Problem(str(file), index, name, part, found, expected, remedy, Level.NOTE)
