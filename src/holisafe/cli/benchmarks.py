"""`holisafe benchmarks`: what there is to measure on, and what each can and cannot tell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._options import AsJson

if TYPE_CHECKING:
    from holisafe.benchmarks import Benchmark


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("benchmarks")(benchmarks)


def benchmarks(
    name: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Benchmarks to show; all if none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the benchmarks: size, licence, settings, judge, limits.

    Of those that are named, and with --json, published numbers are listed too. Measure on one with
    `holisafe bench MODEL --data NAME:PATH`.
    """
    from holisafe import benchmarks as room
    from holisafe.cli._benchmark_tables import print_benchmarks, print_published

    found = [room.get(each) for each in name or room.names()]
    if as_json:
        typer.echo(json.dumps({"benchmarks": [_to_json(made) for made in found]}))
        return
    print_benchmarks(found)
    for made in found if name else ():
        print_published(made)


def _to_json(made: Benchmark) -> dict[str, Any]:
    texts = ("name", "title", "paper", "size", "licence", "how_to_get", "judge", "protocol", "tells", "cannot_tell")
    return {
        **{key: getattr(made, key) for key in texts},
        "settings": {setting: made.judge_for(setting) for setting in made.settings},
        "suites": list(made.suites),
        "needs_data": made.needs_data,
        "figures": [
            {
                "name": kind.name,
                "label": kind.label,
                "lower_is_better": kind.lower_is_better,
                "description": kind.description,
            }
            for kind in made.kinds
        ],
        "identities": {answerer: dict(values) for answerer, values in made.identities.items()},
        "published": [row.to_json() for row in made.published],
    }
