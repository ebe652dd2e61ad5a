"""`holisafe bench`: measure a model on a data set, a benchmark, or a suite of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from holisafe.cli import _anchors
from holisafe.cli._options import AsJson, Attention, Device, Dtype, Judges, Revision, TrustRemoteCode
from holisafe.cli._plan import (
    Budget,
    GuardPriceIn,
    GuardPriceOut,
    JudgePriceIn,
    JudgePriceOut,
    PlanOnly,
    PriceIn,
    PriceOut,
    print_plan,
    tell_retirements,
    tell_spent,
)
from holisafe.cli._runs import (
    print_figures,
    resumable,
    show_progress,
    tell_cost,
    tell_requests,
    tell_troubles,
    tell_verdicts,
    to_json,
)
from holisafe.cli._suite import bench_suite
from holisafe.cli._unjudged import FallbackJudge, JudgeModel, MaxUnjudged
from holisafe.records import MAX_UNJUDGED


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("bench")(bench)


def bench(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="pocket, a folder with a checkpoint or a tuned model, a Hub id, or any Inspect model (openai/gpt-4o, "
            "mockllm/model). holisafe/ORG/NAME is always a Hub id.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(help="Name of a data set, a path, a Hub id, or a benchmark with its data, such as mssbench:PATH."),
    ] = "open",
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
            metavar="NAME[:KEY=VALUE,...]",
            help="Defence of a local model, such as ecso or guard:refuse; `holisafe defence list` lists them. May be "
            "given more than once: the first asks what the next answers.",
            show_default="none",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="runs/MODEL[-DEFENCE]-DATA")
    ] = None,
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
    max_retries: Annotated[int, typer.Option(min=0, help="Hosted model: retries of a failed request.")] = 5,
    timeout: Annotated[int, typer.Option(min=1, help="Hosted model: seconds that one attempt may take.")] = 300,
    model_args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Hosted model: argument of Inspect's provider, such as base_url=http://host/v1; may be given more "
            "than once.",
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

    The same command resumes an interrupted run. On a complete run, another --judge judges the recorded answers. --plan
    says what is left to ask and what it costs.
    """
    from holisafe.bench import Prices, default_folder, measure, plan_run

    _check_suite(suite, root, setting, budget, anchors)
    own_guard, guard_models = _guards(guard)
    options: dict[str, Any] = {
        "judges": tuple(dict.fromkeys(judge)) if judge else None,
        "judge_model": judge_model,
        "fallback_judge": fallback_judge,
        "limit": limit,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
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
        "prices": Prices(price_in, price_out, judge_price_in, judge_price_out, guard_price_in, guard_price_out),
        "budget": budget,
        "max_unjudged": max_unjudged,
    }
    tell_retirements(model, judge_model)
    if suite is not None:
        folder = out or default_folder(model, suite)
        bench_suite(model, suite, root, folder, options, plan=plan, as_json=as_json)
        return
    defended = "-".join([model, *(defence or ())])
    folder = out or default_folder(defended, data if setting is None else f"{data}-{setting}")
    options |= {"data": data, "split": split, "setting": setting, "out": folder}
    if plan:
        print_plan(plan_run(model, **options), as_json)
        return
    typer.echo(
        f"measuring {model} on {data} ({split}); answers of up to {max_new_tokens} tokens; into {folder}", err=True
    )
    drift = _anchors.check(anchors, judge or [], judge_model, fallback_judge)
    with resumable(folder), show_progress() as line:
        measured = measure(
            model,
            progress=line.advance,
            on_request=tell_requests(line),
            on_verdict=tell_verdicts(line),
            **options,
        )
    tell_spent(measured.provenance.get("spending"))
    tell_cost(measured.provenance.get("cost"))
    tell_troubles(measured, data)
    if as_json:
        typer.echo(json.dumps(to_json(measured, model, folder, max_unjudged)))
    else:
        print_figures(measured, max_unjudged)
        typer.echo(f"\nfor a page with every answer: holisafe report {folder}", err=True)
    _anchors.conclude(drift, folder)


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


def _check_suite(
    suite: str | None, root: Path | None, setting: str | None, budget: float | None, anchors: Path | None
) -> None:
    """Refuse options that say nothing together."""
    if suite is None:
        if root is not None:
            raise typer.BadParameter("goes with --suite; expected --suite safety beside it", param_hint="--root")
        return
    if setting is not None:
        raise typer.BadParameter("a suite runs each benchmark in its first setting", param_hint="--setting")
    for option, value in (("--budget", budget), ("--anchors", anchors)):
        if value is not None:
            raise typer.BadParameter("goes with one data set; run the suite's benchmarks singly", param_hint=option)


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
