"""`holisafe data`: look at data sets, check them, write them in other formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._options import AsJson
from holisafe.cli._terminal import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from holisafe.datasets import Loaded
    from holisafe.records import Sample

BROKEN_RECORDS = 1
"""Exit code of `validate` where records are broken; 2 is for files that cannot be read at all."""

_NAME = typer.Argument(metavar="NAME", help="Name of a data set (open), a file or folder with records, or a Hub id.")
_SPLIT = typer.Option(help="Split of the data.", show_default="all")

_data = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List, show, check and export data sets.")


def register(app: typer.Typer) -> None:
    """Add `data` and its commands."""
    app.add_typer(_data, name="data")


@_data.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """List the data sets that have a name."""
    from rich.table import Table

    from holisafe.datasets import registered_names

    described = [_describe(name) for name in registered_names()]
    if as_json:
        _print_json({"datasets": described})
        return
    table = Table("name", "splits", "what it is")
    for one in described:
        table.add_row(plain(one["name"]), plain(", ".join(one["splits"])), plain(one["description"]))
    _print(table)
    _print("Also: a file or folder with records (JSON, JSON Lines, CSV, Parquet), or a Hub id (owner/name).")


@_data.command()
def show(
    name: Annotated[str, _NAME],
    id: Annotated[str | None, typer.Option(help="Show the sample with this id only.")] = None,
    n: Annotated[int, typer.Option(min=1, help="Number of samples to show.")] = 5,
    split: Annotated[str | None, _SPLIT] = None,
    as_json: AsJson = False,
) -> None:
    """Show samples: question, image, and the right behaviour."""
    from holisafe.datasets import load
    from holisafe.errors import UnknownNameError

    samples = load(name, split)
    chosen = samples[:n] if id is None else [sample for sample in samples if sample.id == id]
    if not chosen:
        raise UnknownNameError("sample id", str(id), (sample.id for sample in samples[:1000]))
    if as_json:
        _print_json({"samples": [_sample_json(sample) for sample in chosen]})
        return
    for sample in chosen:
        _print(_sample_table(sample))


@_data.command()
def stats(
    name: Annotated[str, _NAME],
    split: Annotated[str | None, _SPLIT] = None,
    as_json: AsJson = False,
) -> None:
    """Count samples by combination and category, images and twins."""
    from holisafe.datasets import load

    samples = load(name, split)
    counts = _counts(samples)
    if as_json:
        _print_json({"name": name, "split": split, **counts})
        return
    _print(_count_table(counts["by_category"]))
    for key in ("samples", "images", "text_only", "several_turns", "queries", "clusters", "twin_pairs"):
        _print(f"{key.replace('_', ' ')}: {counts[key]}")
    for licence, count in counts["licences"].items():
        _print(f"licence {plain(licence) or 'not given'}: {count} samples")


@_data.command()
def validate(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="File or folder with records (JSON, CSV, Parquet), or a release as NAME:PATH."
        ),
    ],
    split: Annotated[str | None, _SPLIT] = None,
    as_json: AsJson = False,
) -> None:
    """Check every record and decode every image.

    Exit code 0: no record is broken; 1: some are; 2: the file cannot be read.
    """
    from rich.console import Console

    from holisafe.datasets import validate as validated

    with Console(stderr=True).status("decoding every image"):
        loaded = validated(path, split)
    broken_records = loaded.broken_records
    if as_json:
        _print_json(
            {
                "path": str(path),
                "records": len(loaded.samples) + broken_records,
                "good": len(loaded.samples),
                "broken": broken_records,
                "problems": [problem.to_json() for problem in loaded.problems],
            }
        )
    else:
        _print_problems(loaded)
        counts = f"{len(loaded.samples)} good records, {broken_records} broken, {len(loaded.notes)} notes"
        _print(f"{plain(str(path))}: {counts}")
    if loaded.broken:
        raise typer.Exit(BROKEN_RECORDS)


@_data.command()
def export(
    name: Annotated[str, _NAME],
    out: Annotated[Path, typer.Option(help="Folder to write to; created if missing.")],
    split: Annotated[str | None, _SPLIT] = None,
    format: Annotated[str, typer.Option(help="holisafe (JSON and images, as released) or parquet.")] = "holisafe",
) -> None:
    """Write a data set in a format that other tools read."""
    from holisafe.datasets import load, split_names
    from holisafe.datasets.export import FORMATS, export_holisafe, export_parquet
    from holisafe.errors import DataError, UnknownNameError

    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
    splits: list[str | None] = [split]
    if split is None and len(names := split_names(name)) > 1:
        if format == "holisafe":
            raise DataError(
                f"{name} has the splits {', '.join(names)}, and the released format holds one; name it with --split, "
                "or export to parquet"
            )
        splits = [*names]
    for each in splits:
        samples = load(name, each)
        written = export_holisafe(samples, out) if format == "holisafe" else export_parquet(samples, out, each)
        _print(f"wrote {len(samples)} samples to {plain(str(written))}")


@_data.command()
def pairs(
    out: Annotated[Path, typer.Option(help="Folder to write to; created if missing.")],
    name: Annotated[str, _NAME] = "open",
) -> None:
    """Make preference pairs of twins, for `tune --method dpo`.

    What is right for one of two twins is the worse answer for the other. Splits stay apart, a Parquet file each.
    """
    from holisafe.datasets import load, split_names
    from holisafe.datasets.export import export_parquet
    from holisafe.datasets.open import preference_pairs

    splits: list[str | None] = [*split_names(name)]
    for split in splits or [None]:
        samples = load(name, split)
        if split is not None and not any(sample.twin for sample in samples):
            _print(f"split {split} has no twins: nothing is made of it")
            continue
        made = preference_pairs(samples)
        _print(f"wrote {len(made)} pairs to {plain(str(export_parquet(made, out, split or 'train')))}")


@_data.command()
def mirage(
    out: Annotated[Path, typer.Option(help="Folder to write to; created if missing.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="open, or a version of it: open@1, open@2.")] = "open",
    images: Annotated[int, typer.Option(help="Images of each request, 2 or 3.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the images' order and of the wording.")] = 0,
) -> None:
    """Make requests about several images, for `tune --method mirage`.

    They are made of HoliSafe-Open's twins. Answers describe each image, relate them to the request, and decide. Splits,
    and so artworks, stay apart, a Parquet file each.
    """
    from holisafe.datasets import OPEN_NAMES, OPEN_VERSION, load, split_names
    from holisafe.datasets.export import export_parquet
    from holisafe.datasets.open import open_images, several_images
    from holisafe.errors import UnknownNameError

    if name not in OPEN_NAMES:
        raise UnknownNameError("version of HoliSafe-Open", name, OPEN_NAMES)
    version = int(name.partition("@")[2] or OPEN_VERSION)
    for split in split_names(name):
        samples = load(name, split)
        if not any(sample.twin for sample in samples):
            _print(f"split {split} has no twins: nothing is made of it")
            continue
        shows = {row["key"]: row["shows"] for row in open_images(split, version=version)}
        made = several_images(samples, shows, images=images, seed=seed)
        _print(f"wrote {len(made)} samples to {plain(str(export_parquet(made, out, split)))}")


def _describe(name: str) -> dict[str, Any]:
    """Name, splits, description; a package that cannot be imported is listed with the reason."""
    from holisafe.datasets import find
    from holisafe.errors import RegistryError

    try:
        found = find(name)
    except RegistryError as error:
        return {"name": name, "splits": [], "description": str(error)}
    return {"name": name, "splits": list(found.splits), "description": found.description}


def _sample_json(sample: Sample) -> dict[str, Any]:
    """The documented object, with the query of the last turn and the topics on top."""
    from holisafe.records.as_json import sample_to_json

    return {
        **sample_to_json(sample),
        "query": sample.query,
        "category": sample.category,
        "subcategory": sample.subcategory,
    }


def _sample_table(sample: Sample) -> Table:
    from rich.table import Table

    from holisafe.records import CATEGORY_TAG, SUBCATEGORY_TAG

    table = Table(show_header=False, title=f"sample {plain(sample.id)}", title_justify="left")
    tags = {name: value for name, value in sample.tags.items() if name not in (CATEGORY_TAG, SUBCATEGORY_TAG)}
    rows: list[tuple[str, str | None]] = [(f"{turn.role} turn", turn.text) for turn in sample.turns[:-1]]
    rows += [
        ("query", sample.query),
        ("type", _right(sample)),
        ("topic", " / ".join(topic for topic in (sample.category, sample.subcategory) if topic)),
        ("image", ", ".join(ref.key for ref in sample.images) or "none"),
        ("image label", ", ".join(sample.image_labels)),
        ("options", "; ".join(sample.options)),
        ("reference", sample.reference),
        ("rejected", sample.rejected),
        ("twin", sample.twin),
        ("tags", ", ".join(f"{name}: {value}" for name, value in tags.items())),
        ("source", sample.source),
        ("licence", sample.licence),
    ]
    for field, value in rows:
        if value:
            table.add_row(field, plain(value))
    return table


def _right(sample: Sample) -> str:
    """The combination, and what is right."""
    from holisafe.records import Behaviour

    behaviour = {Behaviour.ANSWER: "a helpful answer is right", Behaviour.REFUSE: "a refusal is right"}
    right = "not given" if sample.expected is None else behaviour[sample.expected]
    if sample.combination is None:
        return right
    return f"{sample.combination} ({sample.combination.notation}): {right}"


def _counts(samples: list[Sample]) -> dict[str, Any]:
    from collections import Counter

    from holisafe.taxonomy import Category

    pairs = Counter((sample.category, _kind(sample)) for sample in samples)
    kinds = _kinds(kind for _, kind in pairs)
    topics = [topic for topic in (*Category, None) if any(pairs[topic, kind] for kind in kinds)]
    return {
        "samples": len(samples),
        "images": len({ref.identity for sample in samples for ref in sample.images}),
        "text_only": sum(not sample.images for sample in samples),
        "several_turns": sum(len(sample.turns) > 1 for sample in samples),
        "queries": len({sample.query for sample in samples}),
        "clusters": len({sample.cluster for sample in samples}),
        "twin_pairs": _twin_pairs(samples),
        "by_category": {
            topic.value if topic else "not given": {kind: pairs[topic, kind] for kind in kinds} for topic in topics
        },
        "licences": dict(sorted(Counter(sample.licence for sample in samples).items())),
    }


def _kind(sample: Sample) -> str:
    """The combination; where the data name none, what is right."""
    return sample.combination or sample.expected or "not given"


def _kinds(found: Iterable[str]) -> list[str]:
    """The five combinations, then what else there is."""
    from holisafe.taxonomy import Combination

    others = set(found) - set(Combination)
    return [*(combination.value for combination in Combination), *sorted(others)]


def _twin_pairs(samples: list[Sample]) -> int:
    """Pairs of samples of which one names the other, and the right behaviours differ."""
    by_id = {sample.id: sample for sample in samples}
    pairs = {
        frozenset((sample.id, sample.twin))
        for sample in samples
        if sample.twin in by_id and {sample.expected, by_id[sample.twin].expected} == {"answer", "refuse"}
    }
    return len(pairs)


def _count_table(by_category: dict[str, dict[str, int]]) -> Table:
    from rich.table import Table

    kinds = _kinds(kind for counts in by_category.values() for kind in counts)
    table = Table("category", *kinds, "all")
    for topic, counts in by_category.items():
        table.add_row(topic, *(str(counts[kind]) for kind in kinds), str(sum(counts.values())))
    sums = [sum(counts[kind] for counts in by_category.values()) for kind in kinds]
    table.add_section()
    table.add_row("all", *map(str, sums), str(sum(sums)))
    return table


def _print_problems(loaded: Loaded) -> None:
    from holisafe.datasets import Level

    for problem in loaded.problems:
        colour = "red" if problem.level is Level.BROKEN else "yellow"
        _print(f"[{colour}]{problem.level}[/{colour}] {plain(str(problem))}")


def _print(content: Table | str) -> None:
    """Print to standard output; data in it have to be `plain` already."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=isinstance(content, str)).print(content)


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2))
