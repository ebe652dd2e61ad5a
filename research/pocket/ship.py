"""Last step: put the trained parts where the package ships them, with the recipe that made them."""

from __future__ import annotations

import argparse
import json
import shutil
from importlib.metadata import version
from pathlib import Path

from holisafe.models.pocket._load import pocket_weights

LIMIT = 25 * 2**20
"""Bytes that all of Pocket's own weights may take together."""


def main() -> None:
    """Copy, refuse what is too large, and write the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished stages")
    parser.add_argument("--to", type=Path, default=pocket_weights())
    args = parser.parse_args()
    parts = [
        args.out / "vision.safetensors",
        args.out / "adapter" / "adapter_config.json",
        args.out / "adapter" / "adapter_model.safetensors",
    ]
    size = sum(path.stat().st_size for path in parts)
    if size > LIMIT:
        raise SystemExit(f"{size} bytes are more than {LIMIT}")
    for path in parts:
        target = args.to / path.relative_to(args.out)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    recipe = {stage: json.loads((args.out / f"{stage}.json").read_text()) for stage in ("align", "project", "instruct")}
    recipe["versions"] = {name: version(name) for name in ("torch", "transformers", "peft", "resvg_py")}
    (args.to / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")
    print(f"{size / 2**20:.1f} MiB in {args.to}")


if __name__ == "__main__":
    main()
