"""A run as a folder of its own: what `holisafe score --out` writes and `holisafe report` reads.

- `run.json`: name, state, settings, provenance and figures; written last.
- `samples.jsonl`, `responses.jsonl`, `judgements.jsonl`: one record a line, as `as_json` describes them.
- `images/`: every image that could be read, named by its digest.

Nothing outside the folder is read back: pictures come from `images/` alone, and links are not followed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from holisafe._files import MAX_JSON_BYTES, parse_json, read_bounded, read_json, write_atomically
from holisafe._printable import encodable
from holisafe.errors import RunError
from holisafe.records._run import Judgement, Run
from holisafe.records._sample import ImageRef, Sample
from holisafe.records.as_json import (
    image_file,
    judgement_from_json,
    judgement_to_json,
    response_from_json,
    response_to_json,
    sample_from_json,
    sample_to_json,
)

RUN_FILE = "run.json"
IMAGES = "images"
KIND = "score"
"""What `run.json` says in `kind`."""

_SAMPLES, _RESPONSES, _JUDGEMENTS = "samples.jsonl", "responses.jsonl", "judgements.jsonl"


def write_run(run: Run, folder: str | Path, images: Mapping[str, bytes]) -> Path:
    """Write a run, which is complete once `run.json` is there.

    Args:
        run: The run; its provenance becomes `run.json`.
        folder: The folder; made if missing. A run that `write_run` wrote there before is replaced.
        images: The bytes of its images by digest; an image without bytes keeps its name alone.

    Returns:
        The folder.

    Raises:
        RunError: It cannot be written, or holds another kind of run.
    """
    place = Path(folder)
    try:
        (place / IMAGES).mkdir(parents=True, exist_ok=True)
        if (place / RUN_FILE).exists() or (place / RUN_FILE).is_symlink():
            if not is_written_run(place):
                raise RunError(f"{place} holds a run of holisafe bench; choose another --out")
            (place / RUN_FILE).unlink()
        for digest, data in images.items():
            target = place / IMAGES / image_file(digest, data)
            if not target.is_file() or target.is_symlink():
                write_atomically(target, data)
        samples = (sample_to_json(_stored(sample, images)) for sample in run.samples)
        _write_lines(place / _SAMPLES, samples)
        _write_lines(place / _RESPONSES, map(response_to_json, run.responses))
        _write_judged(run, place)
    except OSError as error:
        raise RunError(f"cannot write to {place}: {error.strerror or error}; choose another --out") from error
    return place


def write_judgements(run: Run, folder: str | Path) -> None:
    """Replace judgements and `run.json` of a run that `write_run` wrote, each at once: it stays readable throughout.

    Args:
        run: The run, with the samples and responses that the folder holds.
        folder: Its folder.

    Raises:
        RunError: It cannot be written.
    """
    try:
        _write_judged(run, Path(folder))
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}; make room and start again") from error


def _write_judged(run: Run, place: Path) -> None:
    judged = (each for judgements in run.judgements.values() for each in judgements)
    _write_lines(place / _JUDGEMENTS, map(judgement_to_json, judged))
    record = {**run.provenance, "name": run.name, "kind": KIND, "state": "complete"}
    write_atomically(place / RUN_FILE, encodable(json.dumps(record, indent=2, ensure_ascii=False)) + "\n")


def is_run(path: str | Path) -> bool:
    """Whether a run lies there, complete or not: a folder with its files, or an Inspect log (`.eval`)."""
    place = Path(path)
    return place.suffix == ".eval" or any((place / name).exists() for name in (RUN_FILE, _SAMPLES))


def is_written_run(folder: str | Path) -> bool:
    """Whether a folder holds a run that `write_run` wrote."""
    try:
        record = read_json(Path(folder) / RUN_FILE, RunError, allow_nan=True, follow_links=False)
    except RunError:
        return False
    return isinstance(record, dict) and record.get("kind") == KIND


def read_written_run(folder: str | Path) -> Run:
    """Read what `write_run` wrote.

    Raises:
        RunError: It is not there, damaged, or not complete.
    """
    place = Path(folder)
    record = read_json(place / RUN_FILE, RunError, allow_nan=True, follow_links=False)
    if not isinstance(record, dict) or record.get("kind") != KIND or not isinstance(record.get("name"), str):
        raise RunError(f"{place / RUN_FILE} was not written by holisafe score; name the --out folder of one")
    images = place / IMAGES
    samples = tuple(from_folder(sample_from_json(each, images), images) for each in _read_lines(place / _SAMPLES))
    responses = tuple(map(response_from_json, _read_lines(place / _RESPONSES)))
    by_judge: dict[str, list[Judgement]] = {}
    for each in _read_lines(place / _JUDGEMENTS):
        judgement = judgement_from_json(each)
        by_judge.setdefault(judgement.judge.name, []).append(judgement)
    ids = [sample.id for sample in samples]
    parts = {_RESPONSES: [response.sample_id for response in responses]}
    parts |= {f"{_JUDGEMENTS} ({name})": [each.sample_id for each in found] for name, found in by_judge.items()}
    for name, found in parts.items():
        if found != ids:
            raise RunError(
                f"{place}: {name} holds {len(found)} records, not those of the {len(ids)} samples in {_SAMPLES}; the "
                "folder is damaged: score the predictions again"
            )
    return Run(record["name"], samples, responses, {name: tuple(found) for name, found in by_judge.items()}, record)


def from_folder(sample: Sample, images: Path) -> Sample:
    """The sample with pictures of that folder alone; of others, the name and the digest are left.

    A run may come from a stranger, and name any file of this machine.
    """
    kept = tuple(
        ref if ref.root == images and ref.path is not None else ImageRef(ref.key, digest=ref.digest)
        for ref in sample.images
    )
    return sample.with_images(kept)


def _stored(sample: Sample, images: Mapping[str, bytes]) -> Sample:
    """The sample with its images as the folder holds them."""
    refs = tuple(
        ImageRef(ref.key, data=images.get(ref.digest) if ref.digest else None, digest=ref.digest)
        for ref in sample.images
    )
    return sample.with_images(refs)


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    lines = (encodable(json.dumps(record, ensure_ascii=False)) for record in records)
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def _read_lines(path: Path) -> list[Any]:
    content = read_bounded(path, RunError, max_bytes=MAX_JSON_BYTES, follow_links=False)
    lines = enumerate(content.split(b"\n"), start=1)
    return [parse_json(line, RunError, source=f"{path}:{at}", allow_nan=True) for at, line in lines if line.strip()]
