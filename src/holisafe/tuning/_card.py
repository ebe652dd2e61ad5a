"""The model card of a tuned model, written from its run: what it was told, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holisafe.guard.checkpoint import public_name
from holisafe.tuning.methods import METHODS

_PARTS = {
    "language": "language model (LoRA adapter)",
    "projector": "projector",
    "vision": "vision encoder",
    "guard": "guard",
}


def model_card(run: Mapping[str, Any]) -> str:
    """The text of README.md.

    Args:
        run: What `tuned.json` says.
    """
    base = public_name(run["base"]["name"])
    front = ["---", "library_name: holisafe", "tags: [safety, vision-language]"]
    if "/" in base:  # the Hub links it
        front.append(f"base_model: {base}")
    revision = f" at revision {run['base']['revision']}" if run["base"]["revision"] else ""
    own = "" if run["guard"] is None else ', guard="own"'
    lines = [
        *front,
        "---",
        "",
        f"# {base}, tuned for safety",
        "",
        f"{base}{revision}, tuned by holisafe {run['holisafe']} with method `{run['method']}`: it learned "
        f"{METHODS.get(run['method']).about}.",
        "",
        "```python",
        "from holisafe.models import load",
        "",
        f'model, processor = load("this folder"{own})',
        "```",
        "",
        "The base model is loaded, and these files are laid over it; `holisafe merge` makes one plain checkpoint.",
        "",
        *_learned(run),
        *_data(run["data"]),
        *_training(run),
        *_evaluations(run["evaluations"], run["training"]["steps"]),
        *_limits(run),
    ]
    return "\n".join(lines)


def _learned(run: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {_PARTS[part]} | {each['parameters']:,} | {each['learning_rate']:g} |"
        for part, each in run["learned"].items()
    ]
    own = ["The guard began as the one that came with the model.", ""] if run.get("guard_began") == "own" else []
    return [
        "## What learned",
        "",
        "| part | parameters | peak learning rate |",
        "| --- | ---: | ---: |",
        *rows,
        "",
        *own,
    ]


def _data(data: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{name} {count:,}" for name, count in data["by_combination"].items())
    named = f"`{public_name(data['name'])}`" if data["name"] else "samples given from Python"
    split = f", split {data['split']}" if data["split"] else ""
    lines = [
        "## Data",
        "",
        f"- safety data: {named}{split}, {data['samples']:,} samples ({counts})",
        f"- SHA-256 of its records and images: `{data['sha256']}`",
    ]
    if data["general"]:
        general = data["general"]
        lines.append(f"- general instruction data: {general['samples']:,} samples, SHA-256 `{general['sha256']}`")
    if data["licences"]:
        lines.append(f"- licences that the records give: {', '.join(data['licences'])}")
    skipped = [f"{count} {_REASONS[reason]}" for reason, count in data["skipped"].items() if count]
    lines += [f"- left out: {', '.join(skipped)}"] if skipped else []
    return [*lines, ""]


def _training(run: Mapping[str, Any]) -> list[str]:
    training, settings = run["training"], run["settings"]
    names = list(training["last"])
    rows = [f"| {name} | {_number(training['first'], name)} | {_number(training['last'], name)} |" for name in names]
    recipe = f"recipe `{run['recipe']}`; " if run["recipe"] else ""
    drawn = ", ".join(f"{name} {count:,}" for name, count in training["by_combination"].items())
    return [
        "## Training",
        "",
        f"{training['steps']:,} optimizer steps; {recipe}seed {settings['seed']}, {settings['precision']}. Drawn for "
        f"the whole run: {training['drawn']:,} samples ({drawn}).",
        *([f"Training was stopped early {training['stopped']}."] if training["stopped"] else []),
        "",
        f"| mean of logged steps | up to step {training['first']['step']} | up to step {training['last']['step']} |",
        "| --- | ---: | ---: |",
        *[row for row, name in zip(rows, names, strict=True) if name != "step"],
        "",
        "<details><summary>all settings</summary>",
        "",
        *(f"- `{name}`: {value}" for name, value in _public(settings).items()),
        "",
        "</details>",
        "",
    ]


def _public(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without places of files on this machine."""
    args = settings["method_args"].items()
    return {**settings, "method_args": {name: public_name(arg) if isinstance(arg, str) else arg for name, arg in args}}


def _evaluations(rows: Sequence[Mapping[str, Any]], kept: int) -> list[str]:
    """What was found before training and of the weights that were kept, which need not be the last."""
    rows = [row for row in rows if row["step"] <= kept]
    if not rows:
        return ["## Results", "", "Not evaluated while it trained. Measure it with `holisafe bench`.", ""]
    first, last = (_figures(rows[at]) for at in (0, -1))
    lines = [f"| {name} | {_number(first, name)} | {_number(last, name)} |" for name in last]
    return [
        "## Results",
        "",
        f"On a small slice of held-out samples, judged by `{next(iter(rows[-1]['judges']))}` (string match); no "
        "substitute for `holisafe bench`.",
        "",
        f"| | at step {rows[0]['step']} | at step {rows[-1]['step']} |",
        "| --- | ---: | ---: |",
        *lines,
        "",
    ]


def _figures(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of the first judge, and those that need none."""
    rates = next(iter(evaluation["judges"].values()))
    shown = {name: each["value"] for name, each in rates.items() if isinstance(each, Mapping) and "value" in each}
    return shown | {name: each for name, each in evaluation.items() if name not in ("step", "judges", "stopped")}


def _limits(run: Mapping[str, Any]) -> list[str]:
    missing = [name for name, count in run["data"]["by_combination"].items() if not count]
    lines = [
        "## Limits",
        "",
        "- A tuned model refuses what is like the data above; of what is not like them, nothing is known here. Measure "
        "it on your own before you rely on it.",
    ]
    if missing:
        lines.append(f"- The data hold no samples of {', '.join(missing)}.")
    if run["guard"] is not None:
        lines.append(
            "- Tuning leaves the guard uncalibrated: its scores are not probabilities until `holisafe calibrate` has "
            "checked them. The guard's own card says whether it has."
        )
    return [
        *lines,
        "",
        "## Licence",
        "",
        f"Not known here: check that of {public_name(run['base']['name'])}, and those of the data, before you pass the "
        "weights on.",
        "",
    ]


def _number(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:.4g}" if isinstance(row.get(name), int | float) else ""


_REASONS = {
    "broken": "broken records",
    "image": "with images that cannot be opened or taken in",
    "length": "longer than the limit",
}
