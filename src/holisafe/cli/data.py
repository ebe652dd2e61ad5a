"""`holisafe data`: look at data sets, check them, write them in other formats, rebuild our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._terminal import plain

if TYPE_CHECKING:
    from rich.table import Table

    from holisafe.datasets import Loaded
    from holisafe.records import Sample

BROKEN_RECORDS = 1
"""Exit code of `validate` where records are broken; 2 is for files that cannot be read at all."""

_NAME = typer.Argument(help="A registered name (open), a file or folder in the released format, or a Hub id.")
_SPLIT = typer.Option(help="Which split; all of them where not given.")
_JSON = typer.Option("--json", help="One JSON object on standard output.")

_data = typer.Typer(no_args_is_help=True, help="Look at data sets, check them, export them, rebuild our own.")


def register(app: typer.Typer) -> None:
    """Add `data` and its commands."""
    app.add_typer(_data, name="data")


@_data.command("list")
def list_datasets(as_json: Annotated[bool, _JSON] = False) -> None:
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
    _print("Also: a file or folder in the released HoliSafe-Bench format, or a Hub id (owner/name).")


@_data.command()
def show(
    name: Annotated[str, _NAME],
    id: Annotated[str | None, typer.Option(help="Show the sample with this id.")] = None,
    n: Annotated[int, typer.Option(min=1, help="How many samples to show.")] = 5,
    split: Annotated[str | None, _SPLIT] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Show samples as text: what is asked, about which image, and what would be right."""
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
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Count samples by combination and category, images, queries, twins and licences."""
    from holisafe.datasets import load

    samples = load(name, split)
    counts = _counts(samples)
    if as_json:
        _print_json({"name": name, "split": split, **counts})
        return
    _print(_count_table(counts["by_category"]))
    for key in ("samples", "images", "queries", "clusters", "twin_pairs"):
        _print(f"{key.replace('_', ' ')}: {counts[key]}")
    for licence, count in counts["licences"].items():
        _print(f"licence {plain(licence) or 'not given'}: {count} samples")


@_data.command()
def validate(
    path: Annotated[Path, typer.Argument(help="A file or folder in the released format.")],
    split: Annotated[str | None, _SPLIT] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Check every record and decode every image; exit 1 if a record is broken."""
    from rich.console import Console

    from holisafe.datasets.holisafe_bench import validate_path

    with Console(stderr=True).status("decoding every image"):
        loaded = validate_path(path, split)
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
    out: Annotated[Path, typer.Option(help="Folder to write to; created where missing.")],
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


def _describe(name: str) -> dict[str, Any]:
    """Name, splits, description; a package that cannot be imported is listed with the reason."""
    from holisafe.datasets import find

    try:
        found = find(name)
    except Exception as error:  # another package's import can fail in any way
        return {"name": name, "splits": [], "description": f"cannot be imported: {error}"}
    assert found is not None, name
    return {"name": name, "splits": list(found.splits), "description": found.description}


def _sample_json(sample: Sample) -> dict[str, Any]:
    from dataclasses import asdict

    images = [{"key": ref.key, "path": ref.path and str(ref.path)} for ref in sample.images]
    return {**asdict(sample), "images": images}


def _sample_table(sample: Sample) -> Table:
    from rich.table import Table

    table = Table(show_header=False, title=f"sample {plain(sample.id)}", title_justify="left")
    expected = "a helpful answer" if sample.is_safe else "a refusal"
    rows = {
        "query": sample.query,
        "type": f"{sample.required_combination} ({sample.required_combination.notation}): {expected} is right",
        "topic": " / ".join(topic for topic in (sample.category, sample.subcategory) if topic),
        "image": ", ".join(ref.key for ref in sample.images),
        "image label": ", ".join(sample.image_labels),
        "right answer": sample.reference,
        "twin": sample.twin,
        "source": sample.source,
        "licence": sample.licence,
    }
    for field, value in rows.items():
        if value:
            table.add_row(field, plain(value))
    return table


def _counts(samples: list[Sample]) -> dict[str, Any]:
    from collections import Counter

    from holisafe.metrics import twin_pairs
    from holisafe.taxonomy import Category, Combination

    pairs = Counter((sample.category, sample.combination) for sample in samples)
    topics = [topic for topic in (*Category, None) if any(pairs[topic, c] for c in Combination)]
    return {
        "samples": len(samples),
        "images": len({ref.key for sample in samples for ref in sample.images}),
        "queries": len({sample.query for sample in samples}),
        "clusters": len({sample.cluster for sample in samples}),
        "twin_pairs": len(twin_pairs(samples)),
        "by_category": {
            topic.value if topic else "not given": {c.value: pairs[topic, c] for c in Combination} for topic in topics
        },
        "licences": dict(sorted(Counter(sample.licence for sample in samples).items())),
    }


def _count_table(by_category: dict[str, dict[str, int]]) -> Table:
    from rich.table import Table

    from holisafe.taxonomy import Combination

    table = Table("category", *Combination, "all")
    for topic, counts in by_category.items():
        table.add_row(topic, *(str(counts[c]) for c in Combination), str(sum(counts.values())))
    sums = [sum(counts[c] for counts in by_category.values()) for c in Combination]
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
