"""One call from a model and data to a tuned model on the disk, safe to interrupt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from safetensors import SafetensorError
from transformers import PrinterCallback, TrainerCallback

from holisafe import datasets
from holisafe._checks import check_type
from holisafe._files import hold
from holisafe.checkpoints.tuned import TUNED, TUNED_FILE, image_digests
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.models import ModelSpec
from holisafe.models.loading import looks_local
from holisafe.records import Sample
from holisafe.tuning._bounds import Bounds
from holisafe.tuning._checkpoint import last_checkpoint
from holisafe.tuning._config import TuneConfig
from holisafe.tuning._evaluate import LOG_ROW, SliceEvaluation
from holisafe.tuning._folder import RunLog, check_same, keep_request, read_request, settings_without_accumulation
from holisafe.tuning._parts import configure_trainable_parts
from holisafe.tuning._processes import fsdp_options, process, process_count, wants_shards
from holisafe.tuning._progress import OnStage, Progress, untold
from holisafe.tuning._ready import Ready, guard_for, make_ready, tunable
from holisafe.tuning._result import choose_checkpoint, describe, fill_from
from holisafe.tuning._samples import SkippedSample, TrainingData, read_training
from holisafe.tuning._save import save_tuned
from holisafe.tuning._slice import calibration_slice
from holisafe.tuning._trackers import trackers
from holisafe.tuning._trainer import GuardedTrainer


@dataclass(frozen=True, slots=True)
class Tuned:
    """A tuned model on the disk; `holisafe.models.load(tuned.folder)` loads it.

    Attributes:
        folder: Its folder.
        description: What its `tuned.json` says: base, settings, data, losses, what was left out.
        was_there: Whether an earlier call had made it.
    """

    folder: Path
    description: Mapping[str, Any]
    was_there: bool = False


def tune(
    model: str | Path | ModelSpec,
    data: str | Path | Sequence[Sample],
    out: str | Path,
    config: TuneConfig | None = None,
    *,
    split: str | None = None,
    general: str | Path | Sequence[Sample] | None = None,
    guard: GuardConfig | bool | None = None,
    recipe: str | None = None,
    fsdp: bool = False,
    fsdp_config: Mapping[str, Any] | None = None,
    save_steps: int = 100,
    logging_steps: int = 10,
    eval_steps: int | None = None,
    evaluate_on: Sequence[Sample] | None = None,
    bounds: Bounds | None = None,
    progress: Progress | None = None,
    on_stage: OnStage | None = None,
) -> Tuned:
    """Tune a model on all combinations that the data hold, and keep everything in `out`.

    A run that was interrupted, also by a kill at any moment, resumes when called again with the same
    arguments, to the same weights (bit for bit on one process of a CPU); one that is complete is read back. Under
    `accelerate launch` or `torchrun` all processes call it. Their number may change between calls, as long as
    `gradient_accumulation_steps` × processes is the same; dropout is then drawn anew.

    Args:
        model: "pocket", a folder with a checkpoint or a tuned model, or a Hub id; or a `ModelSpec` with one of these
            and its device ("cpu" or "cuda"), dtype, attention, revision or trust_remote_code.
        data: Name of a data set, a path, a Hub id, or samples: each with a reference answer and, where a guard learns,
            a label per image.
        out: Folder of the run; made if missing. The tuned model is in its subfolder `tuned`, the log in `log.jsonl`.
        config: The settings; `TuneConfig()` when None.
        split: The split to learn from; "train" when None, where the data have splits.
        general: General instruction data, of which `config.general_share` is mixed in.
        guard: The guard's parts. True for those of a tuned model's guard, else `GuardConfig()`, with a meta token
            where the method asks for it; False for no guard; None for what the method does by default. A tuned
            model's guard learns on where it has these parts; any other is new.
        recipe: Name of the recipe that the settings come from, to be written down.
        fsdp: Whether weights, gradients and the optimizer's state are sharded over the processes (FSDP2); also without
            it where `accelerate launch` asks for it.
        fsdp_config: Settings of it with the names of `TrainingArguments.fsdp_config`, such as reshard_after_forward
            and state_dict_type ("SHARDED_STATE_DICT" when not given).
        save_steps: Optimizer steps between checkpoints.
        logging_steps: Optimizer steps between lines of the log.
        eval_steps: Optimizer steps between evaluations on a calibration slice; none are made when None, unless
            there are bounds, which are then looked at before and after training.
        evaluate_on: The calibration slice; when None, 60 samples of the data's split "calibration".
        bounds: When training ends early, and which checkpoint is kept: the last within all bounds.
        progress: Called after every step.
        on_stage: Called with what is being done between the calls of `progress`.

    Raises:
        DataError: The data cannot be read.
        ModelError: The model cannot be loaded.
        GuardError: The model cannot be guarded.
        TuningError: The data cannot be learned from or share images with the set's other splits, the folder is of
            another run or cannot be written, the loss is lost, or no checkpoint is within bounds. The last good
            checkpoint is kept.
        UnknownNameError: There is no such model, data set or split.
    """
    check_type(config, (TuneConfig, NoneType), "config")
    config, folder, spec, on_stage = config or TuneConfig(), Path(out), tunable(model), on_stage or untold
    options = fsdp_options(fsdp, fsdp_config)
    wants_shards(fsdp)
    on_stage("reading data", 0, 0)
    parts = guard_for(config, guard, spec.source)
    training = read_training(data, split, general, parts, config)
    slice_ = _slice(data, training, eval_steps, evaluate_on, bounds)
    asked = _asked(spec.source, training, config, parts)
    if bounds:  # they decide when training ends
        asked["bounds"] = {**asdict(bounds), "eval_steps": eval_steps, "slice_sha256": datasets.fingerprint(slice_)}
    with hold(folder, TuningError, alone=process()[0] == 0):  # of several, the first
        before = read_request(folder)
        check_same(folder, before, asked)
        if before is not None and (folder / TUNED / TUNED_FILE).is_file():
            return Tuned(folder / TUNED, json.loads((folder / TUNED / TUNED_FILE).read_text("utf-8")), True)
        known = None if before is None else [SkippedSample(**each) for each in before["skipped"]]
        ready = make_ready(spec, training, config, parts, known, on_stage)
        began = {"weights_sha256": ready.weights, "guard_sha256": ready.own_guard}
        _check_weights(folder, before, began)
        if process()[0] == 0:
            skipped = [asdict(each) for each in ready.skipped]
            keep_request(folder, {"asked": asked, **began, "skipped": skipped})
        log = RunLog(folder, _first_line(ready))
        on_stage("preparing the trainer", 0, 0)
        trainer = _Trainer(
            ready.loaded.model,
            ready.loaded.processor,
            config,
            ready.drawn,
            folder,
            save_steps=save_steps,
            logging_steps=logging_steps,
            use_cpu=ready.on_cpu,
            report_to=trackers(),
            **options,
        )
        trainer.remove_callback(PrinterCallback)  # standard output is not the trainer's
        for callback in [log, *([] if progress is None else [_Steps(progress, on_stage)])]:
            trainer.add_callback(callback)
        evaluation = None
        if slice_:
            evaluation = SliceEvaluation(
                trainer, slice_, eval_steps=eval_steps, bounds=bounds or Bounds(), on_stage=on_stage
            )
            trainer.add_callback(evaluation)
        trainer.tune()
        stop = None if evaluation is None else evaluation.stop
        checkpoint = choose_checkpoint(trainer, bounds, stop)
        description = describe(trainer, ready, config, recipe, checkpoint, stop)
        if trainer.is_world_process_zero():
            whole = trainer.model
            if trainer.is_fsdp_enabled:  # this process has but a part of the weights
                again = make_ready(spec, training, config, parts, ready.skipped)
                whole = configure_trainable_parts(again.loaded.model, config)
            images = image_digests((*ready.training.samples, *ready.training.general))
            save_tuned(fill_from(whole, checkpoint), folder / TUNED, description, images)
        trainer.accelerator.wait_for_everyone()
        return Tuned(folder / TUNED, description)


def _asked(model: str, training: TrainingData, config: TuneConfig, guard: GuardConfig | None) -> dict[str, Any]:
    """What makes a run the same run."""
    name = str(Path(model).expanduser().resolve()) if looks_local(model) else model
    return {
        "model": name,
        "data_sha256": datasets.fingerprint(training.samples),
        "general_sha256": datasets.fingerprint(training.general) if training.general else None,
        "guard": None if guard is None else guard.to_json(),
        "settings": settings_without_accumulation(config),
        "batches_per_step": config.gradient_accumulation_steps * process_count(),
    }


def _slice(
    data: str | Path | Sequence[Sample],
    training: TrainingData,
    every: int | None,
    given: Sequence[Sample] | None,
    bounds: Bounds | None,
) -> list[Sample]:
    """Samples that the model is tried on while it trains; none where that is not asked for.

    Raises:
        TuningError: The data have no samples for it.
    """
    if every is None and given is None and not bounds:
        return []
    if given is not None:
        return list(given)
    if training.split is None or not isinstance(data, str | Path):
        raise TuningError(
            "evaluating while training needs a calibration slice, and the data have no split 'calibration'; give "
            "samples as evaluate_on, or data with splits"
        )
    return calibration_slice(datasets.read(data, "calibration").samples)


def _check_weights(folder: Path, before: Mapping[str, Any] | None, began: Mapping[str, Any]) -> None:
    for name, whose in (("weights_sha256", "the base model's"), ("guard_sha256", "the base model's guard's")):
        if before is not None and before[name] != began[name]:
            raise TuningError(f"{whose} weights were changed since the run in {folder} began; use another --out")


def _first_line(ready: Ready) -> dict[str, Any]:
    return {
        "samples": ready.counts(ready.drawn),
        "guard": ready.guard_began,
        "broken": ready.training.broken,
        "skipped": [asdict(each) for each in ready.skipped],
    }


class _Trainer(GuardedTrainer):
    """Says what to do where the disk does not take a checkpoint."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, SafetensorError, RuntimeError) as error:  # RuntimeError: how torch.save says it
            folder = Path(self.args.output_dir)
            last = last_checkpoint(folder)
            kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TuningError(
                f"step {self.state.global_step}: the checkpoint cannot be written to {folder} ({first}); {kept}: make "
                "room and start the same command again, which resumes from there"
            ) from error


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Reports how far a run is, and each evaluation when it happens."""

    def __init__(self, progress: Progress, on_stage: OnStage) -> None:
        self.progress = progress
        self.on_stage = on_stage
        self._batches = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._tell(state)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._batches = 0
        self._tell(state)

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._batches += 1
        if state.is_world_process_zero:
            self.on_stage("batch", self._batches, args.gradient_accumulation_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._tell(state)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero and state.log_history and LOG_ROW in state.log_history[-1]:
            self.progress(state.global_step, state.max_steps, state.log_history[-1])
        else:
            self._tell(state)

    def _tell(self, state: Any) -> None:
        if state.is_world_process_zero:
            rows = [row for row in state.log_history if "loss" in row]
            self.progress(state.global_step, state.max_steps, rows[-1] if rows else {})
