"""A run's work under Inspect: ask what has no answer yet, and judge it."""

from __future__ import annotations

import ast
import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import inspect_ai
from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.platform import platform_init
from inspect_ai.log import EvalLog
from inspect_ai.model import Model, get_model
from inspect_ai.util._display import init_display_type
from rich.text import Text

from holisafe.bench._hosted import in_loop
from holisafe.bench._journal import Journal
from holisafe.bench._scorers import JUDGE_ROLE
from holisafe.errors import ModelError, RunError

LOGS = "logs"
"""Folder of Inspect's logs below a run folder."""

_KEPT = "answers so far are kept; start the same command again to resume"


def open_model(name: str, options: Mapping[str, Any]) -> Model:
    """The model behind Inspect's interface.

    Raises:
        ModelError: It cannot be loaded, for example because its key or its client library is missing.
    """
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return get_model(name, memoize=False, **given)
    except (PrerequisiteError, ValueError, TypeError) as error:
        raise ModelError(f"{name}: {' '.join(Text.from_markup(str(error)).plain.split())}") from error


def evaluate(model: Model, task: inspect_ai.Task, folder: Path, journal: Journal, judge_model: Model | None) -> EvalLog:
    """Let Inspect ask and judge.

    Raises:
        RunError: It could not; the journal keeps what was answered.
    """
    logs_folder = folder / LOGS
    if logs_folder.is_symlink() or (logs_folder.exists() and not logs_folder.is_dir()):
        raise RunError(f"{logs_folder} is a link or a file; remove it, or choose another --out")
    platform_init()
    init_display_type("none")
    roles: dict[str, Any] = {} if judge_model is None else {JUDGE_ROLE: judge_model}
    try:
        logs = in_loop(lambda: _evaluate(model, task, logs_folder, roles))
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}; make room. The {_KEPT}") from error
    if not logs or logs[0].status == "cancelled":  # Ctrl-C, which Inspect keeps to itself
        raise KeyboardInterrupt
    (log,) = logs
    if log.status != "success":
        raise _stopped(folder, log.error.message if log.error else log.status, len(journal))
    return log


def _stopped(folder: Path, why: str, answers: int) -> RunError:
    """What ended a run, by the message of Inspect's log, which names an exception as Python writes it."""
    kept = f"The {answers} {_KEPT}"
    if found := re.match(r"OSError\((\d+), ", why):  # a full disk, a quota or a disk that fails: no subclass is one
        return RunError(f"cannot write to {folder}: {os.strerror(int(found[1]))}; make room. {kept}")
    if found := re.fullmatch(r"RunError\((['\"].*['\"])\)", why):
        return RunError(str(ast.literal_eval(found[1])))
    return RunError(f"the run in {folder} stopped: {why}. {kept}")


async def _evaluate(model: Model, task: inspect_ai.Task, logs_folder: Path, roles: dict[str, Any]) -> list[EvalLog]:
    async with contextlib.AsyncExitStack() as open_models:
        for each in (model, *roles.values()):
            await open_models.enter_async_context(each)
        return await inspect_ai.eval_async(
            task,
            model=model,
            model_roles=roles or None,
            log_dir=str(logs_folder),
            log_format="eval",
            log_images=False,
            log_realtime=False,
            log_model_api=False,
            score_display=False,
            fail_on_error=True,
            max_samples=model.config.max_connections or model.api.max_connections(),
            acp_server=False,
            ctl_server=False,
        )
