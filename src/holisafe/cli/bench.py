"""`holisafe bench`: measure a model on all five combinations."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from holisafe.cli._runs import print_figures, resumable, show_progress, tell_troubles, to_json


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("bench", context_settings={"help_option_names": ["-h", "--help"]})(bench)


def bench(
    model: Annotated[
        str,
        typer.Argument(
            help="pocket, a folder with a checkpoint, a Hub id, or any Inspect model (openai/gpt-4o, mockllm/model). "
            "holisafe/ORG/NAME is always a Hub id."
        ),
    ],
    data: Annotated[str, typer.Option(help="Name of a data set, a path, or a Hub id.")] = "open",
    split: Annotated[str, typer.Option(help="Split of the data.")] = "test",
    judge: Annotated[
        list[str] | None, typer.Option(help="Judge, holisafe if not given; may be given more than once.")
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="Inspect model that judges ask, e.g. openai/gpt-4o.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Number of samples, all if not given; each combination keeps its share.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Maximum number of new tokens per answer.")] = 512,
    system_prompt: Annotated[str | None, typer.Option(help="System message in front of every question.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/MODEL-DATA if not given.")] = None,
    max_retries: Annotated[int, typer.Option(min=0, help="Retries of a request that a server fails.")] = 5,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds that one attempt of a hosted model may take.")] = 300,
    model_args: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the model's provider, e.g. base_url=http://host/v1.")
    ] = None,
    chat_template_args: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for a local model's chat template.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device of a local model, e.g. cpu, cuda:1.")] = None,
    device_map: Annotated[str | None, typer.Option(help="Placement over several devices, e.g. auto.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    quantization: Annotated[str | None, typer.Option(help="Quantization of a local model.")] = None,
    attention: Annotated[str | None, typer.Option(help="Attention implementation, e.g. sdpa.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of prompts in a batch of a local model.")] = 16,
    revision: Annotated[str | None, typer.Option(help="Hub revision of a local model.")] = None,
    trust_remote_code: Annotated[bool, typer.Option(help="Run code that comes with a local checkpoint.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw and of the intervals.")] = 0,
    image_reuse: Annotated[bool, typer.Option(help="Compute what questions about one image share only once.")] = True,
    guard: Annotated[
        str | None,
        typer.Option(
            help="Guard whose verdicts are recorded with the answers of a local model: own (the one that comes with "
            "it), a folder, or a Hub id."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with the figures on standard output.")
    ] = False,
) -> None:
    """Ask MODEL every question of the data with its image, judge the answers, and print the rates.

    The same command resumes an interrupted run. On a finished run, another --judge judges the recorded answers.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from holisafe.bench import default_folder, measure

    folder = out or default_folder(model, data)
    typer.echo(
        f"measuring {model} on {data} ({split}); answers of up to {max_new_tokens} tokens; into {folder}", err=True
    )
    with resumable(folder), show_progress() as progress:
        measured = measure(
            model,
            data=data,
            split=split,
            judges=tuple(dict.fromkeys(judge or ["holisafe"])),
            judge_model=judge_model,
            limit=limit,
            out=folder,
            max_new_tokens=max_new_tokens,
            seed=seed,
            system_prompt=system_prompt,
            chat_template_args=_pairs(chat_template_args, "--chat-template-args"),
            max_retries=max_retries,
            timeout=timeout,
            model_args=_pairs(model_args, "--model-args"),
            device=device,
            device_map=device_map,
            dtype=dtype,
            quantization=quantization,
            attention=attention,
            revision=revision,
            batch_size=batch_size,
            image_reuse=image_reuse,
            trust_remote_code=trust_remote_code,
            guard=guard,
            progress=progress,
            on_request=progress.requests,
        )
    tell_troubles(measured, data)
    if as_json:
        typer.echo(json.dumps(to_json(measured, model, folder)))
        return
    print_figures(measured)
    typer.echo(f"\nfor a page with every answer: holisafe report {folder}", err=True)


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
