"""Whether a folder's run may be resumed or given back: same settings, same model, same judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holisafe.bench._evaluate import open_model
from holisafe.bench._folder import RUN_FILE
from holisafe.bench._journal import RESPONSES, Journal, Judgements
from holisafe.bench._read import judge_ids
from holisafe.bench._vllm import read_checkpoint
from holisafe.bench._vllm_server import VllmOptions
from holisafe.errors import GuardError, MissingDependencyError, ModelError, RunError
from holisafe.judges import Judge
from holisafe.models.loading import OWN_GUARD
from holisafe.records import JudgeId, Sample


def check_same(folder: Path, before: dict[str, Any] | None, settings: dict[str, Any]) -> None:
    """Refuse to mix two runs.

    Raises:
        RunError: Names each setting that differs.
    """
    journal = folder / RESPONSES
    answered = journal.exists() and journal.stat().st_size > 0
    if before is None and answered:
        raise RunError(f"{folder} holds answers but no {RUN_FILE}; use another --out")
    if before is None or (before["state"] != "complete" and not answered):
        return
    there = before["settings"]
    keys = [key for key in {**there, **settings} if there.get(key) != settings.get(key)]
    if keys:
        differences = "; ".join(f"{key} is {there.get(key)!r} there, {settings.get(key)!r} now" for key in keys)
        raise RunError(f"{folder} holds a run with other settings: {differences}. Use the same, or another --out")


def check_complete(folder: Path, before: dict[str, Any], name: str, options: dict[str, Any] | None) -> None:
    """Refuse to give a finished run for one of a local model that has other weights by now.

    A model or guard that is there no longer, or a hosted one (without options), is not compared.

    Raises:
        RunError: Names what changed.
    """
    if options is None:
        return
    try:
        api = open_model(name, options).api
        try:
            model = api.describe()  # type: ignore[attr-defined]
        finally:
            api.close()
    except (ModelError, MissingDependencyError):
        return
    except GuardError:
        if options["guard"] == OWN_GUARD or Path(options["guard"]).expanduser().exists():
            raise
        return
    check_same_model(folder, before, model)


def check_complete_vllm(
    folder: Path, before: dict[str, Any], name: str, options: dict[str, Any], vllm: VllmOptions
) -> None:
    """The same for a run that vLLM has answered.

    Raises:
        RunError: Names what changed.
    """
    try:
        described = read_checkpoint(name, options, vllm).described
    except (ModelError, MissingDependencyError):
        return
    check_same_model(folder, before, described)


def check_same_model(folder: Path, before: dict[str, Any] | None, model: dict[str, Any]) -> None:
    """Refuse to resume with a checkpoint that was changed under its name.

    Raises:
        RunError: Names what changed.
    """
    there = (before or {}).get("model", model) if (folder / RESPONSES).stat().st_size else model
    keys = (
        "revision",
        "weights_sha256",
        "processor",
        "chat_template_sha256",
        "dtype",
        "attention",
        "guard",
        "defences",
    )
    changed = [key for key in keys if _compared(key, there) != _compared(key, model)]
    if changed:
        raise RunError(
            f"the model was changed since the run in {folder} began ({', '.join(changed)}); use another --out, or "
            "remove the folder"
        )


def _compared(key: str, model: dict[str, Any]) -> Any:
    """A field of a model's description without what changes no answer: the size of a crop that is not made."""
    found = model.get(key)
    if key != "processor" or not isinstance(found, dict):
        return found
    images = found.get("image_processor")
    if not isinstance(images, dict) or images.get("do_center_crop"):
        return found
    return {**found, "image_processor": {name: value for name, value in images.items() if name != "crop_size"}}


def is_judged(
    before: dict[str, Any],
    identities: Sequence[JudgeId],
    judges: Sequence[Judge],
    judgements: Judgements,
    journal: Journal,
    samples: Sequence[Sample],
) -> bool:
    """Whether a finished run has the figures and judgements of judges of these very identities, in this order."""
    if judge_ids(before) != list(identities) or list(before["summaries"]) != [each.name for each in identities]:
        return False
    responses = [journal.get(sample.id) for sample in samples]
    return all(
        response is not None and judgements.get(response, judge.id) is not None
        for response in responses
        for judge in judges
    )
