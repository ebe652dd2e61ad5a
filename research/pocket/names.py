"""Safe Pocket, second stage: the projector writes the names of things and of harms, from what the tower now says.

The tower's tokens moved while it learned, and the projector did not. Here it learns to write in the language
model's own word embeddings, which does not need that model to be run: of one everyday thing its name, of a sight of
harm the name of the harm. Of every picture it is to say much what it said of the tower as it was, so that what the
language model knows to read stays there.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from holisafe.models import load
from holisafe.models.pocket._assemble import parts
from holisafe.models.pocket._load import VISION_FILE, load_pocket
from holisafe.models.pocket._vision import EfficientNetLiteModel
from holisafe.taxonomy import HEAD_ORDER
from research.pocket.harm import (
    IGNORED,
    KINDS,
    TOWER_FILE,
    Seen,
    first_half,
    read_all,
    renderings,
    resting_half,
    second_half,
)
from research.pocket.project import Words

NAMES = [*KINDS, *(label.value.replace("_", " ") for label in HEAD_ORDER)]
"""What there is to write: kinds of everyday things, then the guard's labels, in their orders."""

BATCH = 256
KEPT = 0.5
"""Weight of what the projector said before, beside that of the name."""


def main() -> None:
    """Train, and write Pocket with its new tower and projector."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harm", type=Path, required=True, help="folder of the finished first stage")
    parser.add_argument("--data", type=Path, required=True, help="as the first stage")
    parser.add_argument("--general", type=Path, required=True, help="as the first stage")
    parser.add_argument("--cutouts", type=Path, required=True, help="as the first stage")
    parser.add_argument("--out", type=Path, required=True, help="gets the model, as a plain checkpoint")
    parser.add_argument("--views", type=int, default=24_000, help="renderings to learn from")
    parser.add_argument("--epochs", type=int, default=12, help="times that each is seen")
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    before_that = json.loads((args.harm / "harm.json").read_text())
    start = load(before_that["start"], device=args.device, dtype="float32").model.model
    vlm, processor = load_pocket()
    tower, projector = vlm.model.vision_tower, vlm.model.multi_modal_projector
    tower.load_state_dict(load_file(args.harm / TOWER_FILE))
    projector.load_state_dict(start.multi_modal_projector.state_dict())
    side, device = tower.config.image_size, torch.device(args.device)
    seen = read_all(args.data, args.general, args.cutouts, side, device)
    views = shown(seen, start.vision_tower, tower.to(device), projector.to(device), args.views, args.seed)
    history = write_names(projector, views, args.epochs, args.rate, args.seed)
    vlm.cpu().save_pretrained(args.out / "model")
    processor.save_pretrained(args.out / "model")
    save_file({k: v.half().contiguous() for k, v in parts(vlm).items() if v.is_floating_point()},
              args.out / VISION_FILE)  # fmt: skip
    told = {"views": args.views, "epochs": args.epochs, "rate": args.rate, "seed": args.seed, "losses": history}
    (args.out / "names.json").write_text(json.dumps({"harm": before_that, "names": told}))


@dataclass(frozen=True, slots=True)
class Views:
    """Renderings as the language model's side meets them, in half precision.

    Attributes:
        tokens: (views, tokens, hidden) What the tower now says.
        kept: (views, tokens, width) What the projector said of the tower as it was.
        names: (views,) Index into `NAMES`; below 0 where it is neither one thing nor a harm.
    """

    tokens: Tensor
    kept: Tensor
    names: Tensor


@torch.no_grad()
def shown(
    seen: Seen, before: EfficientNetLiteModel, tower: EfficientNetLiteModel, projector: nn.Module, count: int, seed: int
) -> Views:
    """Render so many views, and run both towers over them; their first halves are the same."""
    resting, found = resting_half(before), []
    for pixels, labels, kinds in renderings(seen, count, seed):
        maps = first_half(resting, pixels)
        kept = projector(second_half(before, maps))
        harm = torch.where(labels > 0, len(KINDS) + labels, IGNORED)
        found.append((second_half(tower, maps).half(), kept.half(), torch.where(kinds >= 0, kinds, harm)))
    return Views(*(torch.cat(each) for each in zip(*found, strict=True)))


def write_names(projector: nn.Module, views: Views, epochs: int, rate: float, seed: int) -> list[dict[str, float]]:
    """Train the projector in place; mean losses of each epoch.

    Args:
        projector: From a tower's tokens to embeddings of words.
        views: What it learns from.
        epochs: Times each view is seen.
        rate: Peak learning rate.
        seed: Of the order.
    """
    device = views.tokens.device
    words = Words(NAMES).to(device)
    spread = views.kept.float().var()
    projector.requires_grad_(True)
    scale = nn.Parameter(torch.tensor(2.5, device=device))
    optimiser = torch.optim.AdamW([*projector.parameters(), scale], lr=rate, weight_decay=0.01)
    size = min(BATCH, len(views.names))
    per_epoch = len(views.names) // size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * per_epoch + 1)
    generator, started, history = torch.Generator().manual_seed(seed), time.monotonic(), []
    for epoch in range(epochs):
        order, sums = torch.randperm(len(views.names), generator=generator).to(device), torch.zeros(2, device=device)
        for step in range(per_epoch):
            rows = order[step * size : (step + 1) * size]
            said = projector(views.tokens[rows].float())
            names = views.names[rows]
            loss = words.loss(said[names >= 0], [NAMES[i] for i in names[names >= 0].tolist()], scale)
            change = (said - views.kept[rows].float()).square().mean() / spread
            optimiser.zero_grad()
            (loss + KEPT * change).backward()
            optimiser.step()
            schedule.step()
            sums += torch.stack([loss, change]).detach()
        history.append(dict(zip(("name", "change"), (sums / per_epoch).tolist(), strict=True)))
        print(f"names, epoch {epoch + 1}/{epochs}: {history[-1]}, {time.monotonic() - started:.0f} s", flush=True)
    projector.requires_grad_(False)
    return history


if __name__ == "__main__":
    main()
