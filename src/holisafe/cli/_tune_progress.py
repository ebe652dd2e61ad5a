"""What `holisafe tune` shows on standard error while it trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holisafe.cli._progress import progress_line

if TYPE_CHECKING:
    from holisafe.tuning import OnStage, Progress


@contextlib.contextmanager
def resumable_tuning(folder: Path) -> Iterator[None]:
    """Say, when interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"checkpoints are kept in {folder}; the same command resumes from the newest", err=True)
        raise


@contextlib.contextmanager
def show_steps() -> Iterator[tuple[Progress, OnStage]]:
    """A line of step, rate, time left and losses, and what is being done; evaluations are printed when they happen.

    Yields:
        The arguments `progress` and `on_stage` of `holisafe.tuning.tune`.
    """
    with progress_line("loading torch", "step") as line:

        def progress(step: int, steps: int, row: Mapping[str, Any]) -> None:
            if "evaluation" in row:
                line.tell(_evaluation(row["evaluation"]))
                return
            line.note(_losses(row))
            line.advance(step, steps, quiet=row.get("step") != step)  # its own losses come a call later

        yield progress, line.stage


def _evaluation(found: Mapping[str, Any]) -> str:
    """One line about an evaluation on the calibration slice."""
    rates = next(iter(found["judges"].values()))
    shown = [("refusal rate on SSS", rates["rr"]), ("mean ASR", rates["masr_macro"])]
    parts = [f"{name} {figure['value']:.3f}" for name, figure in shown if figure is not None]
    if found["utility"] is not None:
        parts.append(f"utility {found['utility']:+.3f}")
    if found["guard_accuracy"] is not None:
        parts.append(f"guard accuracy {found['guard_accuracy']:.3f}")
    return f"evaluation at step {found['step']}: {', '.join(parts)}"


def _losses(row: Mapping[str, Any]) -> str:
    """Loss, its terms and the guard's accuracy, of the newest line of the log."""
    shown = [
        f"{name.replace('loss_', '').replace('accuracy_', 'acc. ')} {value:.3f}"
        for name, value in sorted(row.items(), key=lambda each: (each[0].startswith("accuracy_"), each[0]))
        if name == "loss" or name.startswith(("loss_", "accuracy_"))
    ]
    return ", ".join(shown)
