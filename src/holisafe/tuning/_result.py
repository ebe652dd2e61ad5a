"""What a run came to: which of its weights are kept, and what is said of them."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from holisafe import datasets
from holisafe._version import __version__
from holisafe.checkpoints.tuned import FORMAT, is_comparable
from holisafe.errors import TuningError
from holisafe.guard.attach import base_model, find_observer
from holisafe.models.loading import looks_local
from holisafe.taxonomy import Combination
from holisafe.tuning._checkpoint import last_checkpoint, learned_weights, read_weights
from holisafe.tuning._config import TuneConfig
from holisafe.tuning._parts import TRAINING_ONLY, parameter_groups
from holisafe.tuning._processes import process
from holisafe.tuning._ready import Ready
from holisafe.tuning._trainer import GuardedTrainer

if TYPE_CHECKING:
    from holisafe.tuning._bounds import Bounds, Stop

LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "accelerate", "pillow")


def choose_checkpoint(trainer: GuardedTrainer, bounds: Bounds | None, stop: Stop | None) -> Path:
    """The checkpoint whose weights are kept: the last, or the last that is within all bounds.

    Raises:
        TuningError: None is within all bounds.
    """
    folder = Path(trainer.args.output_dir)
    last = last_checkpoint(folder)
    if not bounds:
        assert last is not None, folder  # the trainer writes one after the last step
        return last
    best = trainer.state.best_model_checkpoint
    if best is None:
        why = str(stop) if stop else f"no checkpoint is within all bounds, the last being {last}"
        raise TuningError(f"{why}. {folder / 'log.jsonl'} has the evaluations")
    return folder / Path(best).name


def fill_from(model: Any, checkpoint: Path) -> Any:
    """Give a model that `configure_trainable_parts` made ready, on one process, what a checkpoint holds."""
    kept = read_weights(checkpoint)
    with torch.no_grad():
        for name, tensor in learned_weights(model).items():
            tensor.copy_(kept[name])
    return model


def learned_parts(model: Any, config: TuneConfig) -> dict[str, dict[str, Any]]:
    """Parameters and peak learning rate of each part that learns."""
    parts: dict[str, dict[str, Any]] = {}
    for group in parameter_groups(model, config):
        if group["part"] == TRAINING_ONLY:  # no part of the model
            continue
        part = parts.setdefault(group["part"], {"parameters": 0, "learning_rate": group["lr"]})
        part["parameters"] += sum(weight.numel() for weight in group["params"])
    return parts


def describe(
    trainer: GuardedTrainer, ready: Ready, config: TuneConfig, recipe: str | None, checkpoint: Path, stop: Stop | None
) -> dict[str, Any]:
    """What `tuned.json` says."""
    loaded, training, state = ready.loaded, ready.training, trainer.state
    observer = find_observer(trainer.model)
    step = int(checkpoint.name.rpartition("-")[2])
    losses = [row for row in state.log_history if "loss" in row and row["step"] <= step]
    reasons = Counter(each.reason for each in ready.skipped)
    return {
        "format": FORMAT,
        "holisafe": __version__,
        "base": {
            "name": str(Path(loaded.name).expanduser().resolve()) if looks_local(loaded.name) else loaded.name,
            "revision": loaded.revision,
            "model_type": str(base_model(trainer.model).config.model_type),
            "weights_sha256": ready.weights if is_comparable(base_model(trainer.model)) else None,
        },
        "method": config.method,
        "recipe": recipe,
        "settings": config.to_json(),
        "guard": None if observer is None else observer.config.to_json(),
        "guard_began": ready.guard_began,
        "learned": learned_parts(trainer.model, config),
        "data": {
            "name": training.name,
            "split": training.split,
            "samples": len(training.samples),
            "by_combination": {
                each.value: sum(sample.combination is each for sample in training.samples) for each in Combination
            },
            "sha256": datasets.fingerprint(training.samples),
            "general": {"samples": len(training.general), "sha256": datasets.fingerprint(training.general)}
            if training.general
            else None,
            "licences": sorted({each.licence for each in (*training.samples, *training.general) if each.licence}),
            "skipped": {"broken": training.broken, "image": reasons["image"], "length": reasons["length"]},
            "skipped_samples": [asdict(each) for each in ready.skipped],
        },
        "training": {
            "steps": step,
            "drawn": len(ready.drawn),
            "by_combination": ready.counts(ready.drawn),
            "processes": process()[1],
            "first": _shown_losses(losses[0]),
            "last": _shown_losses(losses[-1]),
            "stopped": None if stop is None else f"at step {stop.step}: {', and '.join(stop.reasons)}",
        },
        "evaluations": [row["evaluation"] for row in state.log_history if "evaluation" in row],
        "versions": {"python": platform.python_version()}
        | {library: importlib.metadata.version(library) for library in LIBRARIES},
    }


def _shown_losses(row: Mapping[str, Any]) -> dict[str, Any]:
    """Step, losses and accuracies, in an order that does not tell whether the run was interrupted."""
    return {name: row[name] for start in ("step", "loss", "accuracy") for name in sorted(row) if name.startswith(start)}
