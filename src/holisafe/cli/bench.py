"""`holisafe bench`: measure a model on all five combinations."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("bench")(bench)


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
    judge: Annotated[list[str] | None, typer.Option(help="Judge; may be given more than once.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Samples; each combination keeps its share.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most new tokens per answer.")] = 512,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/MODEL-DATA if not given.")] = None,
    device: Annotated[str | None, typer.Option(help="Device of a local model, e.g. cpu, cuda:1.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    attention: Annotated[str | None, typer.Option(help="Attention backend, e.g. sdpa.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most prompts a local model answers at once.")] = 16,
    revision: Annotated[str | None, typer.Option(help="Hub revision of a local model.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw and of the intervals.")] = 0,
    image_reuse: Annotated[bool, typer.Option(help="Compute what questions about one image share only once.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with the figures on standard output.")
    ] = False,
) -> None:
    """Ask MODEL every question of the data with its image, judge the answers, and print the rates.

    Interrupted and started again with the same command, it goes on where it was.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from holisafe.bench import run

    folder = out or Path("runs") / _folder_name(model, data)
    typer.echo(f"measuring {model} on {data} ({split}); answers of up to {max_tokens} tokens; into {folder}", err=True)
    with _goes_on(folder), _progress() as progress:
        measured = run(
            model,
            data=data,
            split=split,
            judges=tuple(dict.fromkeys(judge or ["holisafe"])),
            limit=limit,
            out=folder,
            max_tokens=max_tokens,
            seed=seed,
            device=device,
            dtype=dtype,
            attention=attention,
            revision=revision,
            batch_size=batch_size,
            image_reuse=image_reuse,
            progress=progress,
        )
    left_out = measured.provenance["data"]["left_out_as_broken"]
    if left_out:
        typer.echo(f"{left_out} broken records were left out; `holisafe data validate {data}` lists them", err=True)
    summaries = measured.provenance["summaries"]
    failed = [response for response in measured.responses if response.error is not None]
    if failed:
        typer.echo(
            f"{len(failed)} of {len(measured.samples)} samples ended in an error, e.g. {failed[0].error}", err=True
        )
    if as_json:
        versions = measured.provenance["judges"]
        judged = {name: {**summary, "judge_version": versions[name]} for name, summary in summaries.items()}
        counts = {"samples": len(measured.samples), "broken": left_out, "errors": len(failed)}
        first = next(iter(judged.values()))
        typer.echo(json.dumps({"model": model, "out": str(folder), **counts, **first, "judges": judged}))
    else:
        from holisafe.cli._tables import print_summaries
        from holisafe.metrics import Summary

        print_summaries([Summary.from_json(summary) for summary in summaries.values()])
        typer.echo(f"\nholisafe report {folder} shows it all", err=True)


def _folder_name(model: str, data: str) -> str:
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", name).strip("_.") or "model" for name in (model, data))


@contextlib.contextmanager
def _goes_on(folder: Path) -> Iterator[None]:
    """Say, when interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"the answers so far are kept in {folder}; the same command goes on from there", err=True)
        raise


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error with samples per second; a line per tenth where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("asking"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("asking", total=None, rate="loading the model")
        told = 0

        def advance(done: int, total: int) -> None:
            nonlocal told
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:.1f} samples/s" if speed else "")
            if not console.is_terminal and (done - told >= total / 10 or done == total):
                told = done
                console.print(f"{done} of {total} samples")

        yield advance
