"""A run's folder: one run's alone, with what it was asked and what it said while it learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from holisafe.checkpoints.tuned import TUNED, UNFINISHED_FILE
from holisafe.errors import TuningError
from holisafe.tuning._checkpoint import RECIPE_FILE, check_batches
from holisafe.tuning._config import TuneConfig

LOG_FILE = "log.jsonl"
"""One JSON object a line: what is learned from, then each logged step and each evaluation."""


def read_request(folder: Path) -> dict[str, Any] | None:
    """What the folder's run was asked; None where there is none yet.

    Raises:
        TuningError: It cannot be read, or what is in the folder is not from `tune`.
    """
    path = folder / UNFINISHED_FILE
    if not path.is_file():
        if other := [name for name in (RECIPE_FILE, TUNED, "config.json") if (folder / name).exists()]:
            raise TuningError(f"{folder} holds {other[0]} but no {UNFINISHED_FILE}; use another --out")
        return None
    try:
        request = json.loads(path.read_text("utf-8"))
        return {
            "asked": {"batches_per_step": request["asked"]["batches_per_step"], **request["asked"]},
            "weights_sha256": request["weights_sha256"],
            "guard_sha256": request.get("guard_sha256"),
            "skipped": list(request["skipped"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TuningError(f"{path}: cannot be read ({type(error).__name__}: {error}); use another --out") from error


def check_same(folder: Path, before: Mapping[str, Any] | None, asked: Mapping[str, Any]) -> None:
    """Refuse to resume a run that was asked something else.

    Raises:
        TuningError: Names each thing that differs.
    """
    if before is None:
        return
    there = dict(before["asked"])
    check_batches(folder, there["batches_per_step"], asked["batches_per_step"])
    there["settings"] = settings_without_accumulation(
        TuneConfig.from_json(there["settings"], str(folder / UNFINISHED_FILE))
    )
    one, other = _flat(there), _flat(asked)
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    if keys:
        differences = "; ".join(f"{key} is {_shown(one.get(key))} there, {_shown(other.get(key))} now" for key in keys)
        raise TuningError(f"{folder} holds another run: {differences}. Use the same, or another --out")


def settings_without_accumulation(config: TuneConfig) -> dict[str, Any]:
    """The settings that a resumed run must have again, whatever its number of processes."""
    return {name: value for name, value in config.to_json().items() if name != "gradient_accumulation_steps"}


def keep_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Write down what is asked, whole or not at all.

    Raises:
        TuningError: The disk does not take it.
    """
    path = folder / UNFINISHED_FILE
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        unfinished.write_text(json.dumps(request, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise TuningError(f"cannot write {path}: {error.strerror or error}; make room and start again") from error


class RunLog(TrainerCallback):  # type: ignore[misc]
    """Writes the log as it comes about; a resumed run continues at its checkpoint.

    Args:
        folder: The run's folder.
        first: The first line.
    """

    def __init__(self, folder: Path, first: Mapping[str, Any]) -> None:
        self.path = folder / LOG_FILE
        self.first = first

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write anew what had been said when the checkpoint was made."""
        if state.is_world_process_zero:
            self._write([self.first, *(row for row in state.log_history if _is_lasting(row))], "w")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log the first and the last step, whatever the interval."""
        if state.global_step in (1, state.max_steps):
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Add a line."""
        if state.is_world_process_zero and _is_lasting(state.log_history[-1]):
            self._write([state.log_history[-1]], "a")

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a line of another kind."""
        self._write([row], "a")

    def _write(self, rows: list[Any], mode: str) -> None:
        try:
            with self.path.open(mode, encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        except OSError as error:
            raise TuningError(
                f"cannot write {self.path}: {error.strerror or error}; make room and start the same command again"
            ) from error


def _is_lasting(row: Mapping[str, Any]) -> bool:
    """Whether it is about what was learned, and not about how long it took."""
    return "train_runtime" not in row


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{above}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
