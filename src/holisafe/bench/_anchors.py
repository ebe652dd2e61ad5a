"""Anchors put to a judge and its model, and the outcome kept with the run that the judge judges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from holisafe._files import read_json, write_atomically
from holisafe.bench._folder import RUN_FILE
from holisafe.bench._judging import judge_with_model
from holisafe.bench._request import chosen_judges
from holisafe.bench._text import encodable_values
from holisafe.errors import RunError
from holisafe.judges import Judge
from holisafe.judges.anchors import NOISE, AnchorCheck, anchors, compare_or_record

ANCHORS = "anchors"
"""Key of `run.json` with the checks of the judges that judged the run."""


def check_anchors(
    judges: Sequence[str | Judge],
    file: str | Path,
    *,
    judge_model: str | None = None,
    fallback_judge: str | Judge | None = None,
    noise: float = NOISE,
    max_retries: int = 5,
    timeout: int = 300,
) -> list[AnchorCheck]:
    """Judge the anchors, and compare with the record in `file`; what is not there yet is recorded.

    Args:
        judges: The judges, or their names.
        file: The record.
        judge_model: Inspect's name of the model that judges ask.
        fallback_judge: As for `measure`.
        noise: Share of verdicts that may change by chance, in [0, 1).
        max_retries: Retries of a failed request.
        timeout: Seconds that one attempt may take.

    Raises:
        JudgeError: An anchor could not be judged, or the record is damaged or of other anchors.
        ModelError: The judges' model cannot be loaded.
        UnknownNameError: There is no such judge.
    """
    by = chosen_judges(judges, judge_model, fallback_judge)
    shipped = anchors()
    found = judge_with_model(
        by, shipped.samples, shipped.responses, judge_model, max_retries=max_retries, timeout=timeout
    )
    return compare_or_record(file, list(found.values()), noise=noise)


def note_anchors(folder: str | Path, checks: Sequence[AnchorCheck]) -> None:
    """Keep checks in the `run.json` of a run that these judges judged, where the report finds them.

    Raises:
        RunError: There is no such file, or it cannot be written.
    """
    path = Path(folder) / RUN_FILE
    record = read_json(path, RunError, allow_nan=True, follow_links=False)
    if not isinstance(record, dict):
        raise RunError(f"{path} is no record of a run; restore the file")
    others = record.get(ANCHORS)
    noted = {**(others if isinstance(others, dict) else {}), **{each.judge.name: each.to_json() for each in checks}}
    text = json.dumps(encodable_values({**record, ANCHORS: noted}), indent=2, ensure_ascii=False)
    try:
        write_atomically(path, text + "\n")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; make room and start again") from error
