"""`holisafe tune`: make a model safer on all five combinations."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holisafe.tuning import Plan, TuneConfig, Tuned

IMAGES_LEFT_OUT = 1
"""Exit code where images could not be opened or records are broken; 2 is for what cannot be done at all."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("tune")(tune)


def tune(
    model: Annotated[
        str,
        typer.Argument(help="pocket, a folder with a checkpoint or a tuned model, or a Hub id.", show_default=False),
    ],
    data: Annotated[str, typer.Option(help="Safety data: name of a data set, a path, or a Hub id.")] = "open",
    split: Annotated[
        str | None, typer.Option(help="Split to learn from; train if not given, where the data have splits.")
    ] = None,
    general: Annotated[
        str | None,
        typer.Option(help="General instruction data, which need no refusal: name, path or Hub id.", show_default=False),
    ] = None,
    general_share: Annotated[float | None, typer.Option(help="Their share of the samples, in [0, 1).")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Name of a shipped recipe, or a JSON file; options given here override it."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="vgm (default): with a guard that reads the images. meta-token: with one that reads a learned token "
            "per image. sft: answers alone. Or a method of another package.",
            show_default=False,
        ),
    ] = None,
    method_args: Annotated[
        list[str] | None,
        typer.Option(
            help="Setting of the method, such as image_weight=0.5. May be given more than once.", show_default=False
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/MODEL-METHOD if not given.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Optimizer steps, in place of --num-train-epochs.")] = None,
    num_train_epochs: Annotated[
        float | None, typer.Option(help="Passes over the safety data (5).", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples of one forward pass of one process (8).", show_default=False)
    ] = None,
    gradient_accumulation_steps: Annotated[
        int | None, typer.Option(help="Forward passes of one optimizer step (16).", show_default=False)
    ] = None,
    learning_rate: Annotated[
        list[str] | None,
        typer.Option(
            help="Peak learning rate of all parts that learn (5e-5), or of one: language=2e-4, projector=..., "
            "vision=..., guard=...; PART=off freezes it. May be given more than once.",
            show_default=False,
        ),
    ] = None,
    warmup_ratio: Annotated[
        float | None, typer.Option(help="Share of the steps with a rising learning rate (0.03).", show_default=False)
    ] = None,
    lora_r: Annotated[
        int | None, typer.Option(help="Rank of the language model's adapter (64).", show_default=False)
    ] = None,
    lora_alpha: Annotated[
        float | None, typer.Option(help="The adapter is scaled by alpha / rank (64).", show_default=False)
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(help="Longest sample in tokens, visual tokens included; longer ones are skipped."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Dtype of forward and backward passes: bfloat16 (default) or float32.", show_default=False),
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option(help="Compute activations twice, to save memory (off).", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the draw of samples, new weights and dropout (0).", show_default=False)
    ] = None,
    chat_template_args: Annotated[
        list[str] | None,
        typer.Option(
            help="Argument of the chat template, such as enable_thinking=false. May be given more than once.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; choose among GPUs with CUDA_VISIBLE_DEVICES.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Load weights as auto, float32, bfloat16 or float16.")] = None,
    attention: Annotated[str | None, typer.Option(help="Attention backend, e.g. sdpa.")] = None,
    revision: Annotated[str | None, typer.Option(help="Hub revision of the model.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the checkpoint.")
    ] = False,
    save_steps: Annotated[int, typer.Option(min=1, help="Optimizer steps between checkpoints.")] = 100,
    logging_steps: Annotated[int, typer.Option(min=1, help="Optimizer steps between lines of log.jsonl.")] = 10,
    eval_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Optimizer steps between evaluations (ASR, RR, utility) on 60 samples of the split calibration.",
            show_default=False,
        ),
    ] = None,
    max_refusal_rate: Annotated[
        float | None, typer.Option(help="Stop when RR on SSS rises above it, in [0, 1].", show_default=False)
    ] = None,
    max_utility_drop: Annotated[
        float | None,
        typer.Option(
            help="Stop when reference answers to safe samples become less likely by more, in nats per token.",
            show_default=False,
        ),
    ] = None,
    max_attack_success_rate: Annotated[
        float | None, typer.Option(help="Keep no checkpoint with a mean ASR above it, in [0, 1].", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained; train and write nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output: tuned.json, or the plan.")
    ] = False,
) -> None:
    """Tune MODEL so that it refuses what is unsafe, answers what is safe, and says why.

    The settings are those of --recipe, else the published ones, each overridden by its option. OUT/tuned is the result:
    adapter, projector, guard and a model card; `holisafe bench OUT --guard own` measures it, `holisafe merge OUT`
    makes one plain checkpoint of it. OUT/log.jsonl has the losses.

    Interrupted at any moment, the same command resumes from the newest checkpoint and gives the same weights. On
    several GPUs: accelerate launch -m holisafe tune MODEL ...

    With bounds, training stops where one is violated, and the result is the last checkpoint within all of them.

    Samples that are longer than the model's context or --max-length are skipped and named in the log. So are those
    whose image cannot be opened.

    Exit code 0: done; 1: done, but records are broken or images could not be opened; 2: not done.

    Example: holisafe tune pocket --max-steps 300 --batch-size 4 --gradient-accumulation-steps 4 --learning-rate 2e-4
    --precision float32 --out runs/safe
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # PEFT asks transformers by a name that transformers is about to drop
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    given = {
        "method": method,
        "max_steps": max_steps,
        "num_train_epochs": num_train_epochs,
        "batch_size": batch_size,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "warmup_ratio": warmup_ratio,
        "lora_r": lora_r,
        "lora_alpha": lora_alpha,
        "max_length": max_length,
        "precision": precision,
        "gradient_checkpointing": gradient_checkpointing,
        "seed": seed,
        "general_share": general_share,
    }
    named = {"method_args": method_args or [], "chat_template_args": chat_template_args or []}
    from transformers.utils import logging as transformers_logging

    from holisafe import tuning
    from holisafe.models import ModelSpec
    from holisafe.tuning import Bounds, read_recipe

    transformers_logging.disable_progress_bar()
    kept = None if recipe is None else read_recipe(recipe)
    bounds = Bounds(
        refusal_rate=max_refusal_rate,
        utility_drop=max_utility_drop,
        attack_success_rate=max_attack_success_rate,
    )
    config = _overridden(None if kept is None else kept.config, given, named, learning_rate or [])
    spec = ModelSpec.parse(
        model,
        device=device,
        dtype=dtype,
        attention=attention,
        revision=revision,
        trust_remote_code=trust_remote_code,
    )
    arguments: dict[str, Any] = {
        "split": split,
        "general": general,
        "guard": None if kept is None else kept.guard,
    }
    while_it_trains: dict[str, Any] = {
        "save_steps": save_steps,
        "logging_steps": logging_steps,
        "eval_steps": eval_steps,
        "bounds": bounds,
    }
    if dry_run:
        planned = tuning.plan(spec, data, config, **arguments)
        typer.echo(json.dumps(_plan_json(planned, config))) if as_json else _print_plan(planned, config)
        _end(_counts(planned.skipped, planned.broken))
        return
    folder = out or Path("runs") / _folder_name(model, config.method)
    if os.environ.get("RANK", "0") != "0":  # of several processes, the first speaks
        tuning.tune(spec, data, folder, config, recipe=recipe, **arguments, **while_it_trains)
        return
    typer.echo(f"tuning {model} on {data} with method {config.method}; into {folder}", err=True)
    with resumable_tuning(folder), show_steps() as progress:
        tuned = tuning.tune(
            spec,
            data,
            folder,
            config,
            recipe=recipe,
            **while_it_trains,
            progress=progress,
            **arguments,
        )
    if as_json:
        typer.echo(json.dumps({"out": str(folder), "was_there": tuned.was_there, **tuned.description}))
    if tuned.was_there:
        typer.echo(f"it was tuned already: {tuned.folder}", err=True)
        return
    if not as_json:
        _print_losses(tuned)
    training = tuned.description["training"]
    if training["stopped"]:
        typer.echo(f"stopped early {training['stopped']}; kept is what it was at step {training['steps']}", err=True)
    typer.echo(f"the tuned model is in {tuned.folder}; `holisafe bench {folder} --guard own` measures it", err=True)
    _end(tuned.description["data"]["skipped"])


def _overridden(
    config: TuneConfig | None, given: Mapping[str, Any], named: Mapping[str, list[str]], rates: list[str]
) -> TuneConfig:
    """The settings with those that were given; --num-train-epochs takes the place of a recipe's max_steps."""
    from dataclasses import replace

    from holisafe.tuning import TuneConfig

    config = config or TuneConfig()
    changes = {name: value for name, value in given.items() if value is not None}
    if "num_train_epochs" in changes and "max_steps" not in changes:
        changes["max_steps"] = None
    kept = {} if changes.get("method", config.method) != config.method else config.method_args
    args = _named_values("--method-args", named["method_args"])
    changes["method_args"] = {**kept, **args}
    template = _named_values("--chat-template-args", named["chat_template_args"])
    changes["chat_template_args"] = {**config.chat_template_args, **template}
    for text in rates:
        part, equals, value = text.rpartition("=")
        changes |= _rate_of_part(config, changes, part, value) if equals else _rate_of_all(config, value)
    return replace(config, **changes)


def _named_values(option: str, texts: list[str]) -> dict[str, Any]:
    """NAME=VALUE each; a value is JSON where it can be read as such, else a text."""
    from holisafe.errors import TuningError

    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise TuningError(f"{option}: expected NAME=VALUE, found {text!r}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _rate_of_all(config: TuneConfig, value: str) -> dict[str, Any]:
    """One learning rate for all parts that the recipe does not freeze."""
    frozen = {part: rate for part, rate in config.learning_rates.items() if rate is None}
    return {"learning_rate": _number(value), "learning_rates": frozen}


def _rate_of_part(config: TuneConfig, changes: Mapping[str, Any], part: str, value: str) -> dict[str, Any]:
    rates = changes.get("learning_rates", config.learning_rates)
    return {"learning_rates": {**rates, part: None if value == "off" else _number(value)}}


def _number(value: str) -> float:
    from holisafe.errors import TuningError

    try:
        return float(value)
    except ValueError:
        raise TuningError(f"--learning-rate: expected a number such as 5e-5, or PART=off, found {value!r}") from None


def _folder_name(model: str, method: str) -> str:
    import re

    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", name).strip("_.") or "model" for name in (model, method))


@contextlib.contextmanager
def resumable_tuning(folder: Path) -> Iterator[None]:
    """Say, when interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"checkpoints are kept in {folder}; the same command resumes from the newest", err=True)
        raise


@contextlib.contextmanager
def show_steps() -> Iterator[Callable[[int, int, Mapping[str, Any]], None]]:
    """Progress on standard error: step, rate, time left, then losses; evaluations are printed when they happen.

    A line that fits 80 columns on a terminal; elsewhere a line per tenth of the run.
    """
    from rich.console import Console
    from rich.progress import Progress, TextColumn
    from rich.table import Column

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), TextColumn("{task.fields[losses]}", table_column=_one_line(Column)))
    with Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=False) as bar:
        task = bar.add_task("reading model and samples", total=None, losses="")
        clock = _Clock()
        told = 0

        def advance(step: int, steps: int, row: Mapping[str, Any]) -> None:
            nonlocal told
            if "evaluation" in row:
                console.print(_evaluation(row["evaluation"]), soft_wrap=True)
                return
            losses = _losses(row)
            where = f"step {step}/{steps}{clock.shown(step, steps)}"
            bar.update(task, description=where, completed=step, total=steps, losses=losses)
            is_new = row.get("step") == step and step > told
            if not console.is_terminal and is_new and (step - told >= steps / 10 or step in (1, steps)):
                told = step
                console.print(f"{where}, {losses}", soft_wrap=True)

        yield advance


def _one_line(column: Any) -> Any:
    """A column that is cut where the terminal ends, rather than wrapped."""
    return column(no_wrap=True, overflow="ellipsis", ratio=1)


class _Clock:
    """Rate and time left, from the steps of this process alone: a resumed run begins at a later step."""

    def __init__(self) -> None:
        self._began: tuple[int, float] | None = None

    def shown(self, step: int, steps: int) -> str:
        """Such as ", 1.2 s/step, 3:05 left"; empty before the first step is done."""
        now = time.monotonic()
        if self._began is None:
            self._began = (step, now)
        first, began = self._began
        if step == first:
            return ""
        pace = (now - began) / (step - first)
        left = round(pace * (steps - step))
        clock = (
            f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}" if left >= 3600 else f"{left // 60}:{left % 60:02}"
        )
        return f", {pace:.2g} s/step, {clock} left"


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


def _print_losses(tuned: Tuned) -> None:
    """On standard output: losses and accuracies at the beginning and at the end."""
    from rich.console import Console
    from rich.table import Table

    training = tuned.description["training"]
    first, last = training["first"], training["last"]
    table = Table("", f"step {first['step']}", f"step {last['step']}")
    for name in last:
        if name != "step":
            table.add_row(name, *(f"{row[name]:.4f}" if name in row else "" for row in (first, last)))
    Console(highlight=False).print(table)


def _plan_json(planned: Plan, config: TuneConfig) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(planned), "settings": config.to_json()}


def _print_plan(planned: Plan, config: TuneConfig) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    parts = Table("part", "parameters that learn", "peak learning rate")
    for name, part in planned.learned.items():
        parts.add_row(name, f"{part['parameters']:,}", f"{part['learning_rate']:g}")
    learning = sum(part["parameters"] for part in planned.learned.values())
    parts.add_row("of all", f"{planned.parameters:,}", f"{learning / planned.parameters:.2%} learn")
    console.print(parts)
    samples = Table(*planned.by_combination, "all")
    samples.add_row(
        *(f"{count:,}" for count in (*planned.by_combination.values(), sum(planned.by_combination.values())))
    )
    console.print(samples)
    longest = "any length" if planned.longest is None else f"at most {planned.longest:,} tokens"
    console.print(
        f"{planned.steps:,} optimizer steps of {config.batch_size} × {config.gradient_accumulation_steps} samples "
        f"per process, {longest}; "
        f"method {config.method}, {config.precision}, seed {config.seed}"
    )


def _counts(skipped: Any, broken: int) -> dict[str, int]:
    reasons = [each.reason for each in skipped]
    return {"broken": broken, "image": reasons.count("image"), "length": reasons.count("length")}


def _end(skipped: Mapping[str, int]) -> None:
    """Say on standard error what was left out; records that are broken and images that cannot be opened cost a 1."""
    if skipped["length"]:
        typer.echo(f"{skipped['length']} samples are too long and were skipped; log.jsonl names them", err=True)
    if skipped["image"]:
        typer.echo(f"{skipped['image']} samples have an image that cannot be opened; log.jsonl names them", err=True)
    if skipped["broken"]:
        typer.echo(f"{skipped['broken']} broken records were skipped; `holisafe data validate` lists them", err=True)
    if skipped["image"] or skipped["broken"]:
        raise typer.Exit(IMAGES_LEFT_OUT)
