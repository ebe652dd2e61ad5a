"""`holisafe build`: five-combination training data from a user's own pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holisafe.cli._options import AsJson, Device
from holisafe.cli._plan import Budget, JudgePriceIn, JudgePriceOut, PriceIn, PriceOut, print_plan

if TYPE_CHECKING:
    from holisafe.building import Built

LEFT_TO_TRY = 1
"""Exit code where a model could not be reached for some rows; the same command tries them again."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("build")(build)


def build(
    pictures: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of pictures; folders in it are read too.")],
    out: Annotated[Path, typer.Option(help="Folder of the data.")],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|folders",
            help="CSV or JSON Lines with image, label and perhaps shows; or the word folders, for a folder per label.",
            show_default="none",
        ),
    ] = None,
    guard: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Guarded model that labels pictures without a label.", show_default="none"),
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="Inspect's name of the model that writes requests and answers.", show_default="templates"),
    ] = "",
    check_model: Annotated[
        list[str] | None,
        typer.Option(help="Model that votes on each sample; may be given more than once.", show_default="--model"),
    ] = None,
    judge: Annotated[str, typer.Option(help="Judge of the answers, or a panel such as panel:a+b+c.")] = "refusal",
    per_picture: Annotated[int, typer.Option(min=1, help="Requests per picture and combination.")] = 1,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="Leave out pictures of this data set; may be given more than once."),
    ] = None,
    near_bits: Annotated[
        int, typer.Option(min=0, max=256, help="Bits in which near-duplicates' hashes differ at most.")
    ] = 12,
    held_out: Annotated[float, typer.Option(min=0, max=0.99, help="Share of picture groups in the split test.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    licence: Annotated[str, typer.Option(metavar="SPDX", help="Licence of the pictures.")] = "NOASSERTION",
    check_labels: Annotated[
        bool, typer.Option("--check-labels", help="List given labels that the guard's probabilities speak against.")
    ] = False,
    edit_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Endpoint (images/edits of OpenAI, up to /v1) that makes harmless twins. Pictures are sent there.",
            show_default="nearest harmless picture",
        ),
    ] = None,
    edit_model: Annotated[str, typer.Option(help="Image-editing model of --edit-url.")] = "gpt-image-1",
    edit_price: Annotated[
        float | None, typer.Option(min=0, metavar="MONEY", help="Price of an edited picture.", show_default="unknown")
    ] = None,
    blind: Annotated[
        bool, typer.Option(help="Measure what classifiers reach that are blind to picture or request.")
    ] = True,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be asked and, with prices, what it would cost.")
    ] = False,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    judge_price_in: JudgePriceIn = None,
    judge_price_out: JudgePriceOut = None,
    budget: Budget = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Build five-combination training data from a folder of pictures.

    Without --model requests and answers come from a few templates. Every step is a file in DATA/steps, and the same
    command resumes. Exit code 1: a model could not be reached for some rows; the same command tries them again.
    """
    from holisafe.bench import Prices
    from holisafe.building import BuildSettings, Editor, plan_build
    from holisafe.building import build as build_data

    settings = BuildSettings(
        pictures,
        out,
        labels=labels,
        guard=guard,
        model=model,
        check_models=tuple(check_model or ()),
        judge=judge,
        per_picture=per_picture,
        against=tuple(against or ()),
        near_bits=near_bits,
        held_out=held_out,
        seed=seed,
        licence=licence,
        device=device,
        prices=Prices(price_in, price_out, judge_price_in, judge_price_out),
        budget=budget,
        check_labels=check_labels,
        editor=None if edit_url is None else Editor(edit_url, edit_model, edit_price),
        blind=blind,
    )
    if plan:
        print_plan(plan_build(settings), as_json)
        return
    built = build_data(settings)
    if as_json:
        typer.echo(json.dumps(built.to_json()))
    else:
        _show(built)
    if built.errors:
        raise typer.Exit(LEFT_TO_TRY)


def _show(built: Built) -> None:
    from rich.console import Console
    from rich.table import Table

    from holisafe.cli._blind_table import print_blind
    from holisafe.cli._terminal import plain_line

    table = Table("step", "of", "in", "out", "left out")
    for each in built.counts:
        why = ", ".join(f"{kind} {count}" for kind, count in each.reasons.items())
        table.add_row(each.step, each.unit, str(each.given), str(each.kept), plain_line(why))
    console = Console(highlight=False)
    console.print(table)
    for split, samples in built.samples.items():
        console.print(f"{split}: {len(samples)} samples")
    if built.blind is None:
        console.print(plain_line(f"blind baselines left out: {built.blind_note}"))
    else:
        for result in built.blind.results:
            print_blind(result, built.blind.training, console=console)
    for what in built.not_checked:
        console.print(f"not checked: {what}")
    console.print(f"written: {built.out}, with datasheet.md and croissant.json", soft_wrap=True)
