"""transformers' Trainer with the guarded loss: a rate for each part, small checkpoints, a stop at a lost loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.trainer import SCHEDULER_NAME

from holisafe.errors import TuningError
from holisafe.guard.attach import base_model, find_observer, language_model_of
from holisafe.guard.family import guardable_family
from holisafe.records import Sample
from holisafe.tuning._cache import FrozenFeatures
from holisafe.tuning._checkpoint import (
    check_settings,
    fill_optimizer,
    fill_weights,
    keep_settings,
    last_checkpoint,
    learned_weights,
    save_optimizer,
    save_weights,
    settings_of,
)
from holisafe.tuning._config import Precision, TuneConfig
from holisafe.tuning._loss import Loss, LossTerm
from holisafe.tuning._parts import configure_trainable_parts, parameter_groups
from holisafe.tuning._processes import lost_process, wants_shards
from holisafe.tuning._reference import Reference
from holisafe.tuning._shards import average_gradients, on_cpu, prepare_shards, saves_shards


class GuardedTrainer(Trainer):  # type: ignore[misc]
    """Goes once through the data, in their order, on one process or several (DDP, or FSDP of version 2).

    The loss of an optimizer step is Σ weight · sum / count over the method's terms, with sums and counts over all
    micro-batches and processes: the same samples give the same gradient, however they are split into batches, however
    many tokens or labelled images each batch holds. Batches are dealt to the processes by turns, so that each step has
    the same samples whatever the processes. Where samples do not fill the last round, processes take some from the
    beginning once more.

    With FSDP the guard, and what else learns beside the model and is not saved with it, is replicated: each process has
    all of it, and its gradient is averaged over them. All else is sharded.

    A checkpoint holds what learns, not the model: in shards where FSDP's state_dict_type is "SHARDED_STATE_DICT", else
    whole. Any number of processes resumes from any checkpoint, as long as `gradient_accumulation_steps` × processes is
    the same. `tune` resumes from the newest whole checkpoint of the folder; the
    weights are then those of an uninterrupted run. Frozen parts stay in evaluation mode. The log has, beside the loss,
    the mean of each term over its targets since the last line ("loss_answer", "loss_image", ...; absent where there
    was no target), and the share of its targets that the guard had right since then, each batch before it was learned:
    "accuracy_image" (of all its labels), "accuracy_image_safe" (safe or unsafe) and "accuracy_combination".

    Args:
        model: A plain transformers model, with a guard unless the method is "sft"; `configure_trainable_parts`
            is applied to it.
        processor: Its processor.
        config: The settings; how often the data come is for `mix` to decide, `num_train_epochs` and `max_steps` are
            not read.
        samples: What to learn from, in this order, for example from `mix`.
        folder: Where checkpoints go.
        save_steps: Optimizer steps between checkpoints.
        logging_steps: Optimizer steps between lines of the log.
        options: Further `TrainingArguments`, such as `use_cpu=True`.

    Raises:
        TuningError: There are no samples, the model does not fit the settings, or the folder holds checkpoints of
            other settings or data.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        config: TuneConfig,
        samples: Sequence[Sample],
        folder: str | Path,
        *,
        save_steps: int = 100,
        logging_steps: int = 10,
        **options: Any,
    ) -> None:
        if not samples:
            raise TuningError("there are no samples to learn from")
        is_sharded = wants_shards(options.get("fsdp"))
        folder = Path(folder)
        settings = settings_of(config, samples)
        check_settings(folder, settings)
        observer = find_observer(model)
        if is_sharded and observer is not None and observer.config.meta_token and observer.needs_lengths:
            raise TuningError(
                'method="meta-token": this model\'s images are encoded before it runs, which sharded weights (FSDP) '
                'cannot do; use DDP, or method="vgm"'
            )
        self.config = config
        self.method, self.method_config = config.method_part, config.method_config
        self._since_log: dict[str, Tensor] = {}  # sums and counts (2,) by name
        self._step_counts: dict[str, int] | None = None
        torch.manual_seed(config.seed)  # of the adapter's new weights
        super().__init__(
            model=configure_trainable_parts(model, config),
            args=TrainingArguments(
                output_dir=str(folder),
                num_train_epochs=1,
                per_device_train_batch_size=config.batch_size,
                gradient_accumulation_steps=config.gradient_accumulation_steps,
                lr_scheduler_type="cosine",
                warmup_steps=config.warmup_ratio,
                max_grad_norm=config.max_grad_norm,
                weight_decay=config.weight_decay,
                bf16=config.precision is Precision.BFLOAT16,
                seed=config.seed,
                save_steps=save_steps,
                save_total_limit=2,
                logging_steps=logging_steps,
                logging_nan_inf_filter=False,
                remove_unused_columns=False,
                train_sampling_strategy="sequential",
                **{"report_to": [], "disable_tqdm": True, **_checkpointing(config), **_reducing(is_sharded), **options},
            ),
            train_dataset=list(samples),
            data_collator=self.method.collator(
                processor,
                None if observer is None else observer.config,
                max_length=config.max_length,
                chat_template_args=config.chat_template_args,
            ),
        )
        self._reference = Reference(self.model) if self.method.has_reference else None
        if is_sharded and self._reference is not None and self._reference.first:
            raise TuningError(
                f'method="{config.method}" compares with the model as it was, which sharded weights (FSDP) allow where '
                "the language model alone learns; freeze the other parts, or use DDP"
            )
        self._replicated = prepare_shards(self, learned_weights(self.model).values()) if is_sharded else []
        if self.is_world_process_zero():
            keep_settings(folder, settings)
        self._frozen = frozen_modules(self.model)
        self._checkpointed = passed_through(self.model) if config.gradient_checkpointing else []
        self.add_callback(_Intervals())
        self.features = FrozenFeatures(self.model, why_not=self._why_not_cached())
        # the loss of a batch is its share of the step's, so that the trainer must not divide it again
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def tune(self) -> Any:
        """Train to the end, from the newest whole checkpoint of the folder if there is one.

        Returns:
            What `Trainer.train` gives.

        Raises:
            TuningError: The loss or a weight is no longer finite; the message says at which step, and which
                checkpoint is the last good one.
        """
        last = last_checkpoint(Path(self.args.output_dir))
        try:
            with self.features:
                return self.train(resume_from_checkpoint=None if last is None else str(last))
        except RuntimeError as error:
            if (why := lost_process(error)) is None:
                raise
            last = last_checkpoint(Path(self.args.output_dir))
            raise TuningError(
                f"step {self.state.global_step + 1}: another process has ended ({why}), and says why itself unless it "
                f"was killed; start the same command again, which resumes from "
                f"{'the beginning' if last is None else last}"
            ) from error

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """The micro-batches of an optimizer step; counts the targets of each loss term over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        found = [self.method.counts(batch) for batch in batches]
        if not found:
            return batches, None
        names = list(found[0])
        counts = torch.tensor([sum(each[name] for each in found) for name in names], device=device)
        counts = self.accelerator.reduce(counts, reduction="sum")  # (terms,), over all processes
        self._step_counts = dict(zip(names, counts.tolist(), strict=True))
        return batches, counts.sum()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """A micro-batch's share of the loss of its optimizer step; of a batch outside training, its loss.

        Raises:
            TuningError: It is not finite.
        """
        for module in self._frozen:
            module.eval()
        for layer in self._checkpointed:
            layer.training = True  # of it alone: what is inside, dropout too, stays in evaluation mode
        settings = self.method.settings_at(self.method_config, self._progress())
        if self._reference is not None:
            # of its own: autocast keeps weights that it has cast, and these are others
            with self.accelerator.autocast(), self._reference:
                inputs = {**inputs, **self.method.reference(self.model, inputs, settings)}
        with self.accelerator.autocast():  # the model's own forward is; what is computed before it has to be too
            loss = self.method.loss(model, inputs, settings)
        counts = self._step_counts if model.training else None
        total = loss.total(counts)
        if not bool(torch.isfinite(total.detach())):
            found = ", ".join(f"{name} {mean:g}" for name, mean in loss.means.items())
            raise TuningError(
                f"step {self.state.global_step + 1}: the loss is not finite ({found}); {self._what_next()}"
            )
        if counts is not None:
            total = total * self.accelerator.num_processes  # DDP and FSDP take the mean of the processes' gradients
        self._note(loss)
        return (total, loss.outputs) if return_outputs else total

    def _progress(self) -> float:
        """Share of the optimizer steps that are done; 0 outside training."""
        return self.state.global_step / self.state.max_steps if self.state.max_steps > 0 else 0.0

    def _note(self, loss: Loss) -> None:
        """Add a batch's sums and counts to those since the last line of the log."""
        found = {f"loss_{term.name}": torch.stack([term.sum.detach().double(), _count(term)]) for term in loss.terms}
        found |= {f"accuracy_{name}": hits.double() for name, hits in loss.hits.items()}
        for name, sums in found.items():
            sums = sums.to(self.args.device)
            self._since_log[name] = self._since_log[name] + sums if name in self._since_log else sums

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write a line of the log, with the loss's terms where it has the loss."""
        if "loss" in logs and self._since_log:
            sums = torch.stack([self._since_log[name] for name in sorted(self._since_log)])
            sums = self.accelerator.reduce(sums, reduction="sum")  # (names, sum and count), over all processes
            logs |= {
                name: total / count
                for name, (total, count) in zip(sorted(self._since_log), sums.tolist(), strict=True)
                if count
            }
            self._since_log.clear()
        super().log(logs, start_time)

    def create_optimizer(self, model: Any = None) -> Any:
        """An optimizer in which each part has its own learning rate."""
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        self.optimizer: Any = kind(parameter_groups(self.model, self.config), **options)
        return self.optimizer

    def create_accelerator_and_postprocess(self) -> None:
        """Shard on a CPU too, where accelerate by itself copies the whole model to each process (DDP)."""
        super().create_accelerator_and_postprocess()
        if wants_shards(self.args.fsdp) and not self.is_fsdp_enabled:
            self.is_fsdp_enabled: bool = on_cpu(self.accelerator.state, self.args.fsdp_plugin_args)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """A micro-batch's loss; after the last one of a step, all processes have the same gradient of the guard."""
        loss: Tensor = super().training_step(*args, **kwargs)
        if self._replicated and self.accelerator.sync_gradients:
            average_gradients(self._replicated)
        return loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write what learns; where weights are sharded, every process must call it."""
        if self.is_fsdp_enabled:  # the Trainer would put the whole model together, or save nothing
            self._save(output_dir)
        else:
            super().save_model(output_dir, _internal_call)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.is_deepspeed_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        folder = Path(output_dir)
        save_optimizer(self.optimizer, self.model, folder, saves_shards(self), writes=self.args.should_save)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), folder / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.is_deepspeed_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        fill_optimizer(self.optimizer, self.model, Path(checkpoint))
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not (self.args.should_save or self.is_fsdp_enabled):
            return
        folder = Path(output_dir or self.args.output_dir)
        broken = save_weights(self.model, folder, saves_shards(self), writes=self.args.should_save)
        if broken is not None:
            raise TuningError(f"step {self.state.global_step}: weights of {broken} are not finite; {self._what_next()}")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        fill_weights(self.model if model is None else model, Path(resume_from_checkpoint))

    def _why_not_cached(self) -> str:
        """Why features of images are not kept; empty where they may be."""
        if not self.config.cache_features:
            return "the settings turn it off"
        if self.config.rate("vision") is not None:
            return "the vision encoder learns"
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or self.args.n_gpu > 1:
            return "the weights are spread over several devices, which have to run the encoder together"
        return ""

    def _what_next(self) -> str:
        last = last_checkpoint(Path(self.args.output_dir))
        kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        return f"{kept}; lower the learning rates, or use a longer warm-up, in a new folder"


def _checkpointing(config: TuneConfig) -> dict[str, bool]:
    """The option for it under the name that this transformers has, where it is wanted."""
    names = {field.name for field in dataclasses.fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    return {name: True} if config.gradient_checkpointing else {}


def _reducing(is_sharded: bool) -> dict[str, Any]:
    """The option to reduce gradients after each micro-batch, since those that wait to be reduced are whole."""
    always = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
    return {"accelerator_config": always} if is_sharded else {}


class _Intervals(TrainerCallback):  # type: ignore[misc]
    """Lets a resumed run save and log as often as it is asked now; the trainer would take what it was asked."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        state.save_steps, state.logging_steps = args.save_steps, args.logging_steps


def _count(term: LossTerm) -> Tensor:
    return torch.tensor(term.count, dtype=torch.float64, device=term.sum.device)


def frozen_modules(module: nn.Module) -> list[nn.Module]:
    """The largest modules that have weights of which none learns."""
    weights = list(module.parameters())
    if not weights:
        return []
    if not any(weight.requires_grad for weight in weights):
        return [module]
    return [each for child in module.children() for each in frozen_modules(child)]


def passed_through(model: nn.Module) -> list[nn.Module]:
    """Frozen layers of the language model, while gradients go through them to what comes before.

    transformers recomputes the activations of layers that train, and these would keep theirs.
    """
    base = base_model(model)
    layers = language_model_of(base, guardable_family(base)).modules()
    return [
        each
        for each in layers
        if isinstance(each, GradientCheckpointingLayer)
        and not any(weight.requires_grad for weight in each.parameters())
        and not _drops_by_itself(each)
    ]


def _drops_by_itself(layer: nn.Module) -> bool:
    """Whether a layer has a rate of dropout of its own, as OPT's have, which would come with its training mode."""
    return any("dropout" in name and isinstance(value, float) and value > 0 for name, value in vars(layer).items())
