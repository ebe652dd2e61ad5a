"""`holisafe edit`: a model with edited weights, and the curve of its figures over the strength of the edit."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from holisafe.cli._help import lay_out
from holisafe.cli._options import AsJson

if TYPE_CHECKING:
    from holisafe.editing import EditingMethod
    from holisafe.metrics import Figure


class EditingMethods(TyperGroup):
    """One command for each editing method, with its settings as options; a method is imported when asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all methods."""
        from holisafe.editing import method_names

        return method_names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a method; None where there is none."""
        from holisafe.editing import EDITING_METHODS

        if cmd_name not in EDITING_METHODS:
            return None
        alone = typer.Typer(rich_markup_mode=None, add_completion=False)
        alone.command(cmd_name)(_command(EDITING_METHODS.get(cmd_name)))
        return lay_out(typer.main.get_command(alone))


_edit = typer.Typer(
    cls=EditingMethods,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Edit a model's weights without training.",
)


@_edit.callback()
def _methods() -> None:
    pass


def register(app: typer.Typer) -> None:
    """Add `edit` and a command for each method."""
    app.add_typer(_edit, name="edit")


def _command(method: EditingMethod) -> Callable[..., None]:
    """The function behind a method's command: common options, then the method's settings."""

    def run(
        model: Annotated[
            str, typer.Argument(metavar="MODEL", help="Model to edit: a folder, a Hub id, or a registered name.")
        ],
        out: Annotated[Path, typer.Option(help="New folder for the edited model, or for the sweep.")],
        safeground: Annotated[
            Path | None,
            typer.Option(
                metavar="FILE", help="JSON Lines of quadruples: print SafeGround's scores of a CLIP-like model."
            ),
        ] = None,
        as_json: AsJson = False,
        **settings: Any,
    ) -> None:
        sweep = {name: settings.pop(name) for name in _SWEEP if name in settings}
        given = {name: value for name, value in settings.items() if value is not None}
        if sweep.get("sweep") is not None:
            from holisafe.cli._sweep import print_curve, run_sweep

            curve = run_sweep(method, model, out, given, **sweep)
            typer.echo(json.dumps(curve)) if as_json else print_curve(curve)
            return
        _edit_once(method, model, out, given, safeground, as_json)

    own = inspect.signature(run, eval_str=True).parameters
    common = [each for name, each in own.items() if name != "settings"]
    swept = [_parameter(name, *each) for name, each in _SWEEP.items()] if method.strength else []
    fields = [_of_field(name, each) for name, each in method.config.model_fields.items()]
    parameters = [*common[:2], *fields, *swept, *common[2:]]
    run.__doc__ = method.about
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    )
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


_SWEEP: Mapping[str, tuple[Any, Any]] = {
    "sweep": (
        Annotated[
            str | None,
            typer.Option(metavar="VALUES", help="Values of the strength, such as 0,.5,1: edit and measure with each."),
        ],
        None,
    ),
    "data": (Annotated[str, typer.Option(help="With --sweep: data set to measure on.")], "open"),
    "limit_samples": (
        Annotated[
            int | None, typer.Option("--limit", min=5, help="With --sweep: maximum number of samples, stratified.")
        ],
        None,
    ),
    "max_new_tokens": (Annotated[int, typer.Option(min=1, help="With --sweep: as for holisafe bench.")], 512),
    "judge": (Annotated[str, typer.Option(metavar="NAME", help="With --sweep: the judge.")], "holisafe"),
    "keep": (Annotated[bool, typer.Option("--keep", help="With --sweep: keep the edited models.")], False),
}
"""Options of a sweep with their types and defaults."""


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _of_field(name: str, field: Any) -> inspect.Parameter:
    """A setting as an option; its own check refuses values out of range."""
    kind = field.annotation if isinstance(field.annotation, type) else _plain(field.annotation)
    flag = f"--{name.replace('_', '-')}"
    # `limit` of a method that reads data beside that of a sweep
    option = typer.Option("--max-pairs" if name == "limit" else flag, help=field.description)
    default = inspect.Parameter.empty if field.is_required() else field.default
    return _parameter(name, Annotated[kind, option], default)


def _plain(annotation: Any) -> Any:
    """The type of an option: names to choose from are texts."""
    from typing import Literal, get_origin

    return str if get_origin(annotation) is Literal else annotation


def _edit_once(
    method: EditingMethod, model: str, out: Path, settings: Mapping[str, Any], safeground: Path | None, as_json: bool
) -> None:
    from holisafe.editing import Sources, check_new, edit, measure_safeground

    method.config.from_mapping(settings)
    check_new(out)
    scores = {}
    with Sources() as sources:
        if safeground is not None:
            scores["before"] = measure_safeground(model, safeground, sources=sources)
        edited = edit(method.name, model, out, sources=sources, **settings)
    if safeground is not None:
        scores["after"] = measure_safeground(out, safeground)
    if as_json:
        told = {when: {name: figure.to_json() for name, figure in each.items()} for when, each in scores.items()}
        typer.echo(json.dumps({"out": str(edited.folder), **edited.description, "safeground": told or None}))
        return
    record = edited.description
    typer.echo(f"{record['tensors_changed']} of {record['tensors']} tensors changed")
    for name, value in record["found"].items():
        typer.echo(f"{name.replace('_', ' ')}: {value if isinstance(value, str) else json.dumps(value)}")
    typer.echo(f"the edited model is in {edited.folder}")
    if scores:
        _print_scores(scores)


def _print_scores(scores: Mapping[str, Mapping[str, Figure]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from holisafe.benchmarks.safeground import KINDS

    table = Table(title="SafeGround: % (95 % interval)", title_justify="left")
    table.add_column("score", no_wrap=True)
    for when in scores:
        table.add_column(when, justify="right", no_wrap=True)
    table.add_column("n", justify="right")
    for kind in KINDS:
        found = [each[kind.name] for each in scores.values()]
        cells = [f"{100 * one.value:.1f} ({100 * one.low:.0f}–{100 * one.high:.0f})" for one in found]
        table.add_row(kind.label, *cells, str(found[0].n))
    Console(highlight=False).print(table)
