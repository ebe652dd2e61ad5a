"""`holisafe defence`: list defences, and fit those that learn something of a model first."""

from __future__ import annotations

import dataclasses
import json
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe._printable import printable
from holisafe.cli._options import AsJson, Attention, Device, Dtype, Revision, TrustRemoteCode
from holisafe.cli._progress import progress_line

if TYPE_CHECKING:
    from holisafe.defences import FittedDefence
    from holisafe.records import Sample

TRAIN = "train"

SHORT = 24  # characters of a setting's default that the list shows

_defence = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List defences, and fit those that learn.")


def register(app: typer.Typer) -> None:
    """Add `defence` and its commands."""
    app.add_typer(_defence, name="defence")


@_defence.command("list")
def list_defences(as_json: AsJson = False) -> None:
    """List defences: what each does, what it costs, its settings, and where it was published."""
    from holisafe.defences import defence_names

    described = [_describe(name) for name in defence_names()]
    if as_json:
        typer.echo(json.dumps({"defences": described}, ensure_ascii=False))
        return
    for each in described:
        typer.echo(_line(each["name"]) + (" (fit it first)" if each["fitted"] else ""))
        given = [(name, json.dumps(setting["default"])) for name, setting in each["settings"].items()]
        settings = ", ".join(name if len(value) > SHORT else f"{name}={value}" for name, value in given)
        for what in (each["about"], f"cost: {each['cost']}", f"settings: {settings or 'none'}", each["source"]):
            typer.echo(textwrap.indent(textwrap.fill(_line(what), 76, break_on_hyphens=False), "  "))


@_defence.command(no_args_is_help=True)
def fit(
    name: Annotated[
        str, typer.Argument(metavar="NAME[:KEY=VALUE,...]", help="Defence (`holisafe defence list` names them).")
    ],
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="pocket, pocket-safe, a folder with a checkpoint, or a Hub id.")
    ],
    data: Annotated[str, typer.Option(help="Name of a data set, a path, or a Hub id.")],
    out: Annotated[Path, typer.Option(help="New folder for what it learns.")],
    split: Annotated[
        str | None, typer.Option(help="Split of the data.", show_default="train; everything in data without splits")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Number of samples; each combination keeps its share.", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of --limit.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of prompts in a batch.")] = 16,
    device: Device = None,
    dtype: Dtype = None,
    attention: Attention = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    r"""Let a defence learn what it needs of a model.

    The model reads requests that are to be answered and requests that are to be refused; its weights stay as they are.
    What is learned is for this model alone: the folder is refused on any other.

    \b
    Example:
      holisafe defence fit shiftdc pocket-safe --data open --out fitted/shiftdc
    """
    from holisafe import defences
    from holisafe.datasets import fingerprint
    from holisafe.models import load

    defence = _fitted(name)
    samples, data_split = _samples(data, split, limit, seed)
    _check_new(out)
    about = {"name": data, "split": data_split, "samples": len(samples), "sha256": fingerprint(samples)}
    with progress_line("loading the model", "prompt") as line, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", defences.FewSamplesWarning)
        loaded = load(
            model, device=device, dtype=dtype, attention=attention, revision=revision,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip

        def progress(stage: str, done: int, total: int) -> None:
            line.stage(stage, done, total)
            if done == 0:
                line.tell(f"{stage}: {total:,}")

        settings = defence.settings.to_json()
        fitted = defences.fit(
            defence.name, loaded, samples, out, settings=settings, data=about, progress=progress, batch_size=batch_size
        )
    for message in dict.fromkeys(str(each.message) for each in caught):
        typer.echo(f"note: {message}", err=True)
    if as_json:
        typer.echo(json.dumps({"defence": defence.name, "model": model, "data": about, **fitted.to_json()}))
    else:
        typer.echo(f"{defence.name} of {model}, fitted on {len(samples)} samples of {data}")
        for part, shape in fitted.parts.items():
            typer.echo(f"  {part}: {fitted.numbers[part]:.4g}" if not shape else f"  {part}: {list(shape)}")
    typer.echo(f"it is in {out}: --defence {defence.name}:{out}", err=True)


def _describe(name: str) -> dict[str, Any]:
    from holisafe.defences import DEFENCES, FittedDefence

    kind = DEFENCES.get(name)
    settings = {
        field.name: {"default": field.default, "help": field.metadata.get("help", "")}
        for field in dataclasses.fields(kind.config)
    }
    return {
        "name": name, "about": kind.about, "cost": kind.cost, "source": kind.source,
        "fitted": issubclass(kind, FittedDefence), "settings": settings,
    }  # fmt: skip


def _line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def _fitted(name: str) -> FittedDefence:
    """The defence to fit, with its settings.

    Raises:
        DefenceError: It learns nothing, or a folder was named.
    """
    from holisafe.defences import FittedDefence, fitted_kind, parse
    from holisafe.errors import DefenceError

    fitted_kind(name.partition(":")[0])
    defence = parse(name)
    assert isinstance(defence, FittedDefence)
    if defence.settings.fitted:
        raise DefenceError(f"{name}: a folder is named, and --out names the folder to write; leave it out of the name")
    return defence


def _samples(data: str, split: str | None, limit: int | None, seed: int) -> tuple[list[Sample], str | None]:
    """The samples to learn from, and their split.

    Raises:
        DataError: It is not known which split to take, or there is no sample.
    """
    from holisafe.datasets import read, split_names, stratified
    from holisafe.errors import DataError

    names = split_names(data)
    if split is None and names and TRAIN not in names:
        raise DataError(f"{data} has no split {TRAIN}, only {', '.join(names)}; choose one with --split")
    chosen = split if split is not None or not names else TRAIN
    found = read(data, chosen)
    if not found.samples:
        first = f"; the first: {found.broken[0]}" if found.broken else ""
        raise DataError(f"{data} holds no sample that can be used{first}")
    if found.broken:
        typer.echo(f"note: {found.broken_records} broken records of {data} were left out", err=True)
    return (list(found.samples) if limit is None else stratified(found.samples, limit, seed)), chosen


def _check_new(out: Path) -> None:
    """A folder that may be written, known before any time is spent.

    Raises:
        DefenceError: Something is there.
    """
    from holisafe.errors import DefenceError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DefenceError(f"{out} is there already; choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
