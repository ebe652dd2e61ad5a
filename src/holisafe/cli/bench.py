"""`holisafe bench`: measure models on data sets, benchmarks, or a suite of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli import _anchors
from holisafe.cli._one_run import bench_one, check_repeats
from holisafe.cli._options import (
    AsJson,
    Attention,
    Device,
    Dtype,
    Judges,
    MaxRetries,
    Revision,
    Timeout,
    TrustRemoteCode,
)
from holisafe.cli._plan import (
    Budget,
    GuardPriceIn,
    GuardPriceOut,
    JudgePriceIn,
    JudgePriceOut,
    PlanOnly,
    PriceIn,
    PriceOut,
    tell_retirements,
)
from holisafe.cli._several import bench_several
from holisafe.cli._suite import bench_suite
from holisafe.cli._unjudged import FallbackJudge, JudgeModel, MaxUnjudged
from holisafe.records import MAX_UNJUDGED

if TYPE_CHECKING:
    from holisafe.bench import VllmOptions


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("bench")(bench)


def bench(
    model: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="pocket, a folder with a checkpoint or a tuned model, a Hub id, or any Inspect model (openai/gpt-4o, "
            "mockllm/model). holisafe/ORG/NAME is always a Hub id. Several are measured one after the other.",
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a data set, a path, a Hub id, or a benchmark with its data, such as mssbench:PATH; may be "
            "given more than once.",
            show_default="open",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data; a benchmark is measured whole.")] = "test",
    setting: Annotated[
        str | None, typer.Option(help="Variant of a benchmark's prompt.", show_default="the benchmark's first")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="Run every benchmark of a suite that is present, such as safety.", show_default="none"),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="With --suite: folder with a folder or zip per benchmark, by name.", show_default="none"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Number of samples; each combination keeps its share.", show_default="all"),
    ] = None,
    judge: Judges = None,
    judge_model: JudgeModel = None,
    fallback_judge: FallbackJudge = None,
    max_unjudged: MaxUnjudged = MAX_UNJUDGED,
    plan: PlanOnly = False,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    judge_price_in: JudgePriceIn = None,
    judge_price_out: JudgePriceOut = None,
    guard_price_in: GuardPriceIn = None,
    guard_price_out: GuardPriceOut = None,
    budget: Budget = None,
    anchors: _anchors.Anchors = None,
    guard: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GUARD",
            help="Guard of a local model, whose verdicts are recorded with the answers: own (the model's guard), a "
            "folder, or a Hub id. Or a guard model, NAME:SOURCE, such as shieldgemma2:FOLDER or "
            "llama-guard-4:vllm/ORG/NAME, which is shown the same requests; may be given more than once.",
            show_default="none",
        ),
    ] = None,
    defence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:SETTINGS]",
            help="Defence of a local model, such as ecso or coca:alpha=2; `holisafe defence list` lists them. May be "
            "given more than once: the first asks what the next answers.",
            show_default="none",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; of several runs, the folder around theirs.",
            show_default="runs/MODEL[-DEFENCE]-DATA",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often each sample is asked; a run folder each.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="Temperature of sampling; 0 decodes greedily.")] = 0.0,
    repeat_check: Annotated[
        bool,
        typer.Option(
            "--repeat-check",
            help="Local model: count answers that change with batch size, dtype and image reuse.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of --limit and of the intervals.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Maximum number of new tokens per answer.")] = 512,
    system_prompt: Annotated[str | None, typer.Option(help="System message of every request.")] = None,
    chat_template_args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Argument of a local model's chat template, such as enable_thinking=false; may be given more than "
            "once.",
        ),
    ] = None,
    max_retries: MaxRetries = 5,
    timeout: Timeout = 300,
    model_args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Hosted model: argument of Inspect's provider, such as base_url=http://host/v1; may be given more "
            "than once.",
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What generates the answers of a local model: transformers or vllm.")
    ] = "transformers",
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="With --engine vllm: a server that runs already, such as http://127.0.0.1:8000/v1.",
            show_default="one is started and stopped",
        ),
    ] = None,
    vllm_python: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="With --engine vllm: the interpreter that has vLLM.",
            show_default="$HOLISAFE_VLLM_PYTHON, else this one",
        ),
    ] = None,
    vllm_args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="With --engine vllm: option of its server, such as max-model-len=4096, or enforce-eager=true; may be "
            "given more than once.",
        ),
    ] = None,
    device: Device = None,
    device_map: Annotated[
        str | None, typer.Option(help="Placement over several devices instead of --device, such as auto.")
    ] = None,
    dtype: Dtype = None,
    quantization: Annotated[str | None, typer.Option(help="4bit or 8bit.", show_default="none")] = None,
    attention: Attention = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of prompts in a batch.")] = 16,
    image_reuse: Annotated[bool, typer.Option(help="Compute once what questions about the same image share.")] = True,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Ask MODEL the questions of a data set and judge its answers.

    Each question is asked together with its image. The attack success rates on unsafe requests and the refusal rate on
    safe ones are printed with 95 % intervals.

    On a benchmark (--data NAME:PATH; `holisafe benchmarks` lists them) its own figures are printed too; --suite runs
    all that are present.

    Several models, data sets (--data A --data B) or --epochs are a run folder each below --out, and one table.

    The same command resumes an interrupted run, and does of several what is missing. On a complete run, another --judge
    judges the recorded answers. --plan says what is left to ask and what it costs.
    """
    from holisafe.bench import Prices

    several = len(model) > 1 or len(data or []) > 1 or epochs > 1
    _check_together(suite, root, data, setting, anchors, epochs, repeat_check, plan, several=several)
    if repeat_check and engine != "transformers":
        raise typer.BadParameter(
            "goes with the engine transformers, whose settings it varies", param_hint="--repeat-check"
        )
    own_guard, guard_models = _guards(guard)
    options: dict[str, Any] = {
        "judges": tuple(dict.fromkeys(judge)) if judge else None,
        "judge_model": judge_model,
        "fallback_judge": fallback_judge,
        "limit": limit,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
        "temperature": temperature,
        "system_prompt": system_prompt,
        "chat_template_args": _pairs(chat_template_args, "--chat-template-args"),
        "max_retries": max_retries,
        "timeout": timeout,
        "model_args": _pairs(model_args, "--model-args"),
        "device": device,
        "device_map": device_map,
        "dtype": dtype,
        "quantization": quantization,
        "attention": attention,
        "revision": revision,
        "batch_size": batch_size,
        "image_reuse": image_reuse,
        "trust_remote_code": trust_remote_code,
        "guard": own_guard,
        "guard_models": guard_models,
        "defence": tuple(defence or ()),
        "engine": engine,
        "vllm": _vllm(base_url, vllm_python, _pairs(vllm_args, "--vllm-args")),
        "prices": Prices(price_in, price_out, judge_price_in, judge_price_out, guard_price_in, guard_price_out),
        "budget": budget,
        "max_unjudged": max_unjudged,
    }
    for each in model:
        tell_retirements(each, judge_model if each == model[0] else None)
    chosen = data or ["open"]
    options["split"] = split
    if suite is not None:
        del options["split"]  # a benchmark is measured whole
        bench_suite(model, suite, root, out, options, plan=plan, as_json=as_json)
    elif repeat_check:
        check_repeats(model[0], chosen[0], setting, out, options, as_json=as_json)
    elif several:
        bench_several(model, chosen, setting, epochs, out or Path("runs"), options, plan=plan, as_json=as_json)
    else:
        bench_one(model[0], chosen[0], setting, out, options, anchors, plan=plan, as_json=as_json)


def _guards(given: list[str] | None) -> tuple[str | None, list[str]]:
    """The guard of the model, and the guard models beside it."""
    from holisafe.judges.guard_models import is_guard_model

    models = [name for name in given or [] if is_guard_model(name)]
    own = [name for name in given or [] if not is_guard_model(name)]
    if len(own) > 1:
        raise typer.BadParameter(
            f"found {own}; a model has one guard, and only guard models may be more", param_hint="--guard"
        )
    return next(iter(own), None), models


def _vllm(base_url: str | None, python: str | None, args: dict[str, Any]) -> VllmOptions | None:
    """How vLLM is reached; None where nothing is said of it."""
    from holisafe.bench import VllmOptions

    if base_url is None and python is None and not args:
        return None
    return VllmOptions(base_url=base_url, python=python, args=args)


def _check_together(
    suite: str | None,
    root: Path | None,
    data: list[str] | None,
    setting: str | None,
    anchors: Path | None,
    epochs: int,
    repeat_check: bool,
    plan: bool,
    *,
    several: bool,
) -> None:
    """Refuse options that say nothing together."""
    if suite is None and root is not None:
        raise typer.BadParameter("goes with --suite; expected --suite safety beside it", param_hint="--root")
    if suite is not None and data:
        raise typer.BadParameter("goes without --suite, which has its own data below --root", param_hint="--data")
    if suite is not None and setting is not None:
        raise typer.BadParameter("a suite runs each benchmark in its first setting", param_hint="--setting")
    if suite is not None and epochs > 1:
        raise typer.BadParameter("goes with --data; a suite asks each sample once", param_hint="--epochs")
    if anchors is not None and (suite is not None or several or repeat_check):
        raise typer.BadParameter("goes with one run; use `holisafe judge anchors`", param_hint="--anchors")
    if repeat_check and (suite is not None or several or plan):
        raise typer.BadParameter("goes with one model and data set, without --plan", param_hint="--repeat-check")


def _pairs(given: list[str] | None, option: str) -> dict[str, Any]:
    """`KEY=VALUE` options as a dictionary; a value is JSON where it is, else text."""
    pairs: dict[str, Any] = {}
    for each in given or []:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"found {each!r}, expected KEY=VALUE", param_hint=option)
        try:
            pairs[key] = json.loads(value)
        except (ValueError, RecursionError):
            pairs[key] = value
    return pairs
