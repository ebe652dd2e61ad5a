"""Safe Pocket, last step: put what it learned where the package ships it, with the recipe that made it."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from holisafe.checkpoints.adapter import ADAPTER_FILE
from holisafe.checkpoints.tuned import ADAPTER, GUARD, PARTS_FILE, TUNED_FILE
from holisafe.guard import load_guard
from holisafe.guard._card import model_card_of
from holisafe.guard.checkpoint import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, public_name, read_guard
from holisafe.models.pocket._load import VISION_FILE, build_safe, safe_checkpoint_name, safe_weights
from research.pocket.facts import tuned_from
from research.pocket.ship import LIMIT

ADAPTER_CONFIG = "adapter_config.json"
CALIBRATION_CARD = "calibration.md"


def main() -> None:
    """Copy, refuse what does not fit or is too large, and write the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=Path, required=True, help="folder of the finished second stage")
    parser.add_argument("--facts", type=Path, required=True, help="folder of the finished third stage")
    parser.add_argument("--tuned", type=Path, required=True, help="folder of the `holisafe tune` run on its model")
    parser.add_argument("--rank", type=int, default=22, help="most of the adapter that ships")
    parser.add_argument("--to", type=Path, default=safe_weights())
    args = parser.parse_args()
    size = ship(args.names, args.facts, args.tuned, args.to, args.rank)
    print(f"{size / 2**20:.1f} MiB in {args.to}")


def ship(names: Path, facts: Path, run: Path, to: Path, rank: int = 22) -> int:
    """Write Safe Pocket's weights, guard and recipe, and put them together once to see that they fit.

    Args:
        names: The second stage's folder: `vision.safetensors`, `names.json`.
        facts: The third stage's folder: `adapter/`, `facts.json`, `model/`.
        run: The folder of the run that tuned `facts/model`, or the tuned model in it.
        to: The folder that the package ships; what is there is replaced once all is written.
        rank: Largest rank of the adapter; of two that have more together, the most telling part is kept.

    Returns:
        Bytes in the folder.

    Raises:
        SystemExit: The run tuned another model, lacks a part, or is too large.
        ModelError: The parts do not fit Pocket.
        GuardError: The guard is damaged or does not fit.
    """
    tuned = tuned_from(facts, run)
    needed = [ADAPTER, GUARD] if (tuned.folder / PARTS_FILE).is_file() else [ADAPTER, GUARD, PARTS_FILE]
    if lacking := [name for name in needed if not (tuned.folder / name).exists()]:
        raise SystemExit(f"{tuned.folder} holds no {lacking[0]}; Safe Pocket learns with all three")
    unfinished = to.with_name(f"{to.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / ADAPTER).mkdir(parents=True)
    vision = laid_over(load_file(names / VISION_FILE), load_file(tuned.folder / PARTS_FILE))
    (unfinished / VISION_FILE).write_bytes(save(halved(vision)))
    both, config = added(facts / ADAPTER, tuned.folder / ADAPTER, rank)
    (unfinished / ADAPTER / ADAPTER_FILE).write_bytes(save(halved(both)))
    (unfinished / ADAPTER / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    write_recipe(names, facts, tuned.folder, unfinished)
    copy_guard(tuned.folder / GUARD, unfinished / GUARD, safe_checkpoint_name(unfinished))
    load_guard(build_safe(unfinished), unfinished / GUARD, any_base=True)  # not from the cache, so without its name
    size = sum(path.stat().st_size for path in unfinished.rglob("*") if path.is_file())
    if size > LIMIT:
        raise SystemExit(f"{size} bytes are more than {LIMIT}; {unfinished} has them")
    shutil.rmtree(to, ignore_errors=True)
    unfinished.rename(to)
    return size


def laid_over(vision: Mapping[str, Tensor], learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tower and projector of the second stage with what tuning made of them; counts that only training reads are left.

    Raises:
        SystemExit: Something else learned, which would be lost.
    """
    kept = {name: tensor for name, tensor in learned.items() if tensor.is_floating_point()}
    if unknown := sorted(kept.keys() - vision.keys()):
        raise SystemExit(f"{unknown[0]} learned too, which is neither of the tower nor of the projector")
    return {**vision, **kept}


def added(first: Path, second: Path, most: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Two adapters as one that does what both do, of scale 1.

    Args:
        first: Folder of an adapter of PEFT's.
        second: Folder of another, for the same layers.
        most: Largest rank; where both have more together, of their sum the best part of that rank is kept.

    Returns:
        Weights by name, and the configuration.

    Raises:
        SystemExit: They are for different layers.
    """
    configs = [json.loads((folder / ADAPTER_CONFIG).read_text("utf-8")) for folder in (first, second)]
    weights = [load_file(folder / ADAPTER_FILE) for folder in (first, second)]
    if different := sorted(weights[0].keys() ^ weights[1].keys()):
        raise SystemExit(f"{different[0]} is in only one of {first} and {second}; expected the same layers")
    scales = [config["lora_alpha"] / config["r"] for config in configs]
    found = {
        name: torch.cat([a, b], 0) if ".lora_A." in name else torch.cat([scales[0] * a, scales[1] * b], 1)
        for name, a, b in ((name, weights[0][name], weights[1][name]) for name in weights[0])
    }
    rank = sum(config["r"] for config in configs)
    if rank > most:
        found, rank = reduced(found, most), most
    return found, configs[1] | {"r": rank, "lora_alpha": float(rank)}


def reduced(adapter: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """An adapter of lower rank that is nearest to this one, layer by layer (singular values)."""
    found: dict[str, Tensor] = {}
    for name, down in adapter.items():
        if ".lora_A." not in name:
            continue
        other = name.replace(".lora_A.", ".lora_B.")
        left, right = torch.linalg.qr(adapter[other].double()), torch.linalg.qr(down.double().T)
        u, values, v = torch.linalg.svd(left.R @ right.R.T)
        root = values[:rank].sqrt()
        found[other] = (left.Q @ u[:, :rank] * root).float()
        found[name] = (root[:, None] * v[:rank] @ right.Q.T).float()
    return found


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in half precision.

    Raises:
        SystemExit: A value is too large for it, or is none.
    """
    found = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    if lost := [name for name, tensor in found.items() if not torch.isfinite(tensor).all()]:
        raise SystemExit(f"{lost[0]}: not every value is a number below {torch.finfo(torch.float16).max:g}")
    return found


def write_recipe(names: Path, facts: Path, tuned: Path, to: Path) -> None:
    """How the weights came about, with no folder of the machine that made them."""
    told: dict[str, Any] = json.loads((tuned / TUNED_FILE).read_text("utf-8"))
    told["base"]["name"] = public_name(told["base"]["name"])
    told["data"]["name"] = public_name(told["data"]["name"])
    if told["recipe"] is not None:
        told["recipe"] = public_name(told["recipe"])
    verdicts = tuned.parent / "verdicts.json"  # the image head may have learned on (training.verdicts)
    recipe = {
        **json.loads((names / "names.json").read_text("utf-8")),
        "facts": json.loads((facts / "facts.json").read_text("utf-8")),
        "tuned": told,
        **({"verdicts": json.loads(verdicts.read_text("utf-8"))} if verdicts.is_file() else {}),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }
    (to / "recipe.json").write_text(json.dumps(recipe, indent=2, ensure_ascii=False) + "\n", "utf-8")


def copy_guard(source: Path, to: Path, base: str) -> None:
    """The guard, made for the shipped model by name: while it learned, the model was in another folder."""
    saved = read_guard(source)
    site = replace(saved.site, base_model=base)
    to.mkdir()
    for name in (WEIGHTS_FILE, CALIBRATION_CARD):
        if (source / name).is_file():
            shutil.copyfile(source / name, to / name)
    values = json.loads((source / CONFIG_FILE).read_text("utf-8"))
    (to / CONFIG_FILE).write_text(json.dumps({**values, "site": site.to_json()}, indent=2) + "\n", "utf-8")
    (to / CARD_FILE).write_text(model_card_of(saved.config, site, saved.calibration), "utf-8")


if __name__ == "__main__":
    main()
