"""The model card of an edited model, written from its record: what was done, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def card(record: Mapping[str, Any], about: str, config: Mapping[str, Any]) -> str:
    """The text of README.md.

    Args:
        record: What `edit.json` says.
        about: The method's own sentence.
        config: The model's `config.json`.
    """
    base = record["model"]
    front = ["---", "library_name: transformers", "tags: [safety, holisafe]"]
    if "/" in base:  # the Hub links it
        front.append(f"base_model: {base}")
    (kind,) = (config.get("architectures") or ["AutoModel"])[:1]
    settings = [f"| {name} | {_shown(value)} |" for name, value in record["settings"].items()]
    found = [f"| {name.replace('_', ' ')} | {_shown(value)} |" for name, value in record["found"].items()]
    lines = [
        *front,
        "---",
        "",
        f"# {base}, edited by `{record['method']}`",
        "",
        f"{about} Made from {base} by holisafe {record['holisafe']}, without training. "
        f"{record['tensors_changed']} of {record['tensors']} tensors changed; the others are {base}'s, bit for bit.",
        "",
        "```python",
        f"from transformers import {kind}",
        "",
        f'model = {kind}.from_pretrained("this folder")',
        "```",
        "",
        "| setting | value |",
        "|---|---|",
        *settings,
        *found,
        "",
        "Editing changes more than what it aims at. Measure refusals of harmless requests beside attack success "
        "(`holisafe bench`) before using the model; a guard that was attached to the base does not belong to it.",
        "",
    ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|")
