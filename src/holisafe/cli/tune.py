"""`holisafe tune`: make a model safer on all five combinations."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._options import Attention, Dtype, Revision, TrustRemoteCode
from holisafe.cli._tune_launch import print_launch
from holisafe.cli._tune_progress import resumable_tuning, show_steps
from holisafe.cli._tune_settings import named_values, overridden
from holisafe.cli._tune_tables import print_losses, print_plan

if TYPE_CHECKING:
    from holisafe.tuning import Plan, Speed, TuneConfig

IMAGES_LEFT_OUT = 1
"""Exit code where images could not be opened or records are broken; 2 is for what cannot be done at all."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("tune")(tune)


def tune(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="pocket, a folder with a checkpoint or a tuned model, or a Hub id. With --dry-run it may be left out: "
            "memory and time are then those of the recipe's model, whose architecture is shipped.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[str, typer.Option(help="Safety data: name of a data set, a path, or a Hub id.")] = "open",
    split: Annotated[
        str | None, typer.Option(help="Split to train on.", show_default="train; everything in data without splits")
    ] = None,
    general: Annotated[
        str | None,
        typer.Option(help="General instruction data, all to be answered: name, path or Hub id.", show_default="none"),
    ] = None,
    general_share: Annotated[
        float | None, typer.Option(help="Share of general data among all samples, in [0, 1).", show_default="0")
    ] = None,
    safe_weight: Annotated[
        float | None,
        typer.Option(
            help="Harmless samples for one of each unsafe combination; more if the model refuses too much.",
            show_default="1",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Name of a shipped recipe, or a JSON file. Options override it.", show_default="none"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="vgm: answers and a guard that reads the images. meta-token: answers and a guard that reads a learned "
            "token per image. sft: answers only. dpo: the better of two answers. vlguard: every answer of "
            "conversations about an image. mirage: answers about several images. star-dss: answers as far as a guard "
            "found them safe (--scores). safekey: answers of thinking models. Or a method of another package.",
            show_default="vgm",
        ),
    ] = None,
    method_args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Setting of the method, such as image_weight=0.5; may be given more than once.",
        ),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Scores for star-dss, from `holisafe tune-scores`.", show_default="none"),
    ] = None,
    guard_head: Annotated[
        bool | None,
        typer.Option(
            "--guard-head/--no-guard-head",
            help="Whether a guard learns too, where the method does with and without.",
            show_default="what the method does; the recipe's guard",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default="runs/MODEL-METHOD")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Optimizer steps, instead of --num-train-epochs.")] = None,
    num_train_epochs: Annotated[
        float | None, typer.Option(help="Passes over the safety data.", show_default="5")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples per forward pass of each process.", show_default="8")
    ] = None,
    gradient_accumulation_steps: Annotated[
        int | None, typer.Option(help="Forward passes per optimizer step.", show_default="16")
    ] = None,
    learning_rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PART=]RATE",
            help="Peak learning rate of all trained parts, or of one: language=2e-4, projector=…, vision=…, guard=…. "
            "PART=off freezes the part. May be given more than once.",
            show_default="5e-5",
        ),
    ] = None,
    warmup_ratio: Annotated[
        float | None, typer.Option(help="Share of the steps in which the learning rate rises.", show_default="0.03")
    ] = None,
    lora_r: Annotated[
        int | None, typer.Option(help="Rank of the language model's LoRA adapter.", show_default="64")
    ] = None,
    lora_alpha: Annotated[
        float | None, typer.Option(help="The adapter is scaled by alpha / rank.", show_default="64")
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Maximum length of a sample in tokens, visual tokens included; longer ones are skipped.",
            show_default="the model's context",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Dtype of forward and backward passes: bfloat16 or float32.", show_default="bfloat16"),
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option(help="Compute activations twice, which saves memory.", show_default="off")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of sampling, new weights and dropout.", show_default="0")
    ] = None,
    chat_template_args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Argument of the chat template, such as enable_thinking=false; may be given more than once.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu or cuda; choose among GPUs with CUDA_VISIBLE_DEVICES.", show_default="cuda if present"),
    ] = None,
    fsdp: Annotated[
        bool,
        typer.Option(
            "--fsdp",
            help="Shard weights, gradients and optimizer state over the processes of torchrun or accelerate launch "
            "(FSDP2).",
        ),
    ] = False,
    fsdp_config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Setting of FSDP with transformers' name, such as reshard_after_forward=false, cpu_offload=true, "
            "state_dict_type=FULL_STATE_DICT; may be given more than once.",
        ),
    ] = None,
    dtype: Dtype = None,
    attention: Attention = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    save_steps: Annotated[int, typer.Option(min=1, help="Optimizer steps between checkpoints.")] = 100,
    logging_steps: Annotated[int, typer.Option(min=1, help="Optimizer steps between lines of log.jsonl.")] = 10,
    eval_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Optimizer steps between evaluations (ASR, RR, utility) on 60 samples of the split calibration.",
            show_default="no evaluations",
        ),
    ] = None,
    max_refusal_rate: Annotated[
        float | None, typer.Option(help="Stop when RR on SSS exceeds this, in [0, 1].", show_default="none")
    ] = None,
    max_utility_drop: Annotated[
        float | None,
        typer.Option(
            help="Stop when the log-likelihood of reference answers to safe samples has fallen by more than this, in "
            "nats per token.",
            show_default="none",
        ),
    ] = None,
    max_attack_success_rate: Annotated[
        float | None,
        typer.Option(help="Keep no checkpoint with a mean ASR above this, in [0, 1].", show_default="none"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained, with memory and time; train nothing.")
    ] = False,
    tflops: Annotated[float, typer.Option(help="With --dry-run: peak of a GPU in TFLOP/s, for the time.")] = 312.0,
    mfu: Annotated[
        float, typer.Option(help="With --dry-run: share of that peak that training reaches, in (0, 1].")
    ] = 0.35,
    num_samples: Annotated[
        int | None,
        typer.Option(
            help="With --dry-run and no MODEL: samples of safety data.", min=1, show_default="HoliSafe's 10215"
        ),
    ] = None,
    text_tokens: Annotated[
        int, typer.Option(help="With --dry-run and no MODEL: tokens of a sample that are text.", min=2)
    ] = 256,
    launcher: Annotated[
        int | None,
        typer.Option(
            metavar="GPUS",
            help="Write accelerate's configuration for so many GPUs into OUT, and print the command that trains on "
            "them; train nothing.",
            show_default="none",
            min=1,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output: tuned.json, or the plan.")
    ] = False,
) -> None:
    r"""Tune a model to refuse unsafe requests and answer safe ones.

    The default settings are the published ones; --recipe and options change them. The result is in OUT/tuned: adapter,
    projector, guard and a model card. OUT/log.jsonl has the losses. `holisafe bench OUT --guard own` measures the
    result, and `holisafe merge OUT` writes it as one plain checkpoint.

    After an interruption, the same command resumes from the newest checkpoint and gives the same weights. With bounds
    (--max-refusal-rate, --max-utility-drop), training stops when one is exceeded, and the result is the last checkpoint
    within all of them.

    Exit code 0: done; 1: done, but records are broken or images could not be opened; 2: not done.

    \b
    Examples:
      holisafe tune pocket --dry-run
      holisafe tune org/model --recipe qwen2.5-vl-7b --data path --out runs/safe
      holisafe tune --recipe qwen2.5-vl-7b --dry-run
      holisafe tune org/model --recipe NAME --data path --fsdp --launcher 8
    """
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
        "safe_weight": safe_weight,
    }
    if scores is not None:
        method_args = [*(method_args or []), f"scores={json.dumps(scores)}"]
    named = {"method_args": method_args or [], "chat_template_args": chat_template_args or []}
    from holisafe import tuning
    from holisafe.errors import TuningError
    from holisafe.models import ModelSpec
    from holisafe.tuning import Bounds, read_recipe

    kept = None if recipe is None else read_recipe(recipe)
    bounds = Bounds(
        refusal_rate=max_refusal_rate,
        utility_drop=max_utility_drop,
        attack_success_rate=max_attack_success_rate,
    )
    config = overridden(None if kept is None else kept.config, given, named, learning_rate or [])
    speed = tuning.Speed(tflops=tflops, mfu=mfu)
    if model is None:
        if not dry_run or kept is None:
            raise TuningError("MODEL: found none; give a model, or --dry-run with a --recipe")
        asked = {} if num_samples is None else {"num_samples": num_samples}
        _show_plan(
            tuning.plan_recipe(kept, config, text_tokens=text_tokens, speed=speed, **asked), config, speed, as_json
        )
        return
    folder = out or Path("runs") / _folder_name(model, config.method)
    sharding = named_values("--fsdp-config", fsdp_config or [])
    tuning.fsdp_options(fsdp, sharding)  # refuses what nothing can be trained with
    if launcher is not None and sharding:
        raise TuningError("--launcher writes FSDP's settings to a file: leave out --fsdp-config, and change them there")
    if launcher is not None and dry_run:
        raise TuningError("--launcher writes a configuration, and --dry-run writes nothing; give one of them")
    if launcher is not None:
        print_launch(folder, launcher, config.gradient_accumulation_steps, fsdp=fsdp, on_cpu=device == "cpu")
        return
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
        "guard": guard_head if kept is None or kept.guard is None or guard_head is False else kept.guard,
    }
    while_it_trains: dict[str, Any] = {
        "fsdp": fsdp,
        "fsdp_config": sharding,
        "save_steps": save_steps,
        "logging_steps": logging_steps,
        "eval_steps": eval_steps,
        "bounds": bounds,
    }
    if dry_run:
        if fsdp_config:
            typer.echo("note: --fsdp-config is not part of the estimate, which is of FSDP's defaults", err=True)
        _show_plan(tuning.plan(spec, data, config, speed=speed, **arguments), config, speed, as_json)
        return
    if os.environ.get("RANK", "0") != "0":  # of several processes, the first speaks
        tuning.tune(spec, data, folder, config, recipe=recipe, **arguments, **while_it_trains)
        return
    typer.echo(f"tuning {model} on {data} with method {config.method}; into {folder}", err=True)
    with resumable_tuning(folder), show_steps() as (progress, on_stage):
        tuned = tuning.tune(
            spec,
            data,
            folder,
            config,
            recipe=recipe,
            **while_it_trains,
            progress=progress,
            on_stage=on_stage,
            **arguments,
        )
    if as_json:
        typer.echo(json.dumps({"out": str(folder), "was_there": tuned.was_there, **tuned.description}))
    if tuned.was_there:
        typer.echo(f"it was tuned already: {tuned.folder}", err=True)
        return
    if not as_json:
        print_losses(tuned)
    training = tuned.description["training"]
    if training["stopped"]:
        typer.echo(f"stopped early {training['stopped']}; kept is what it was at step {training['steps']}", err=True)
    typer.echo(f"the tuned model is in {tuned.folder}; `holisafe bench {folder} --guard own` measures it", err=True)
    _end(tuned.description["data"]["skipped"])


def _show_plan(planned: Plan, config: TuneConfig, speed: Speed, as_json: bool) -> None:
    if as_json:
        found = {"estimate": None if planned.estimate is None else planned.estimate.to_json()}
        told = {**asdict(planned), **found, "settings": config.to_json(), "speed": asdict(speed)}
        typer.echo(json.dumps(told))
    else:
        print_plan(planned, config, speed)
    _end(_counts(planned.skipped, planned.broken))


def _folder_name(model: str, method: str) -> str:
    import re

    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", name).strip("_.") or "model" for name in (model, method))


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
