"""Safe Pocket, after tuning: the guard's image head learns from many more renderings than tuning shows it.

Tuning shows each picture about once, and the head is new. It reads the projector alone, so what it learns from can be
computed once, without the language model: cutouts on other grounds each time, and pictures a little moved. Tower,
projector, language model and joint head stay as they are, and so does every answer. `holisafe calibrate` comes next.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holisafe.checkpoints.tuned import GUARD, TUNED
from holisafe.guard import guard_of, save_guard
from holisafe.guard.attach import base_model
from holisafe.guard.head import Guard
from holisafe.models import load
from holisafe.models.pocket._vision import EfficientNetLiteModel
from research.pocket.harm import Seen, first_half, read_all, renderings, resting_half, second_half

BATCH = 256
OTHER = 500_000
"""Number of the first view: they are others than those that the projector learned from."""

LABEL_SMOOTHING = 0.05


def main() -> None:
    """Train, and write the guard where it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="tuned model whose guard reads the projector")
    parser.add_argument("--data", type=Path, required=True, help="as the first stage")
    parser.add_argument("--general", type=Path, required=True, help="as the first stage")
    parser.add_argument("--cutouts", type=Path, required=True, help="as the first stage")
    parser.add_argument("--views", type=int, default=24_000, help="renderings to learn from")
    parser.add_argument("--epochs", type=int, default=16, help="times that each is seen")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = load(str(args.run), device="cpu", dtype="float32", guard="own").model
    base = base_model(model).model
    side = base.vision_tower.config.image_size
    seen = read_all(args.data, args.general, args.cutouts, side, torch.device("cpu"))
    views = look(seen, base.vision_tower, base.multi_modal_projector, args.views, args.seed)
    history = learn(guard_of(model), views, args.epochs, args.rate, args.seed)
    save_guard(model, args.run / TUNED / GUARD)
    told = {"views": args.views, "epochs": args.epochs, "rate": args.rate, "seed": args.seed, "losses": history}
    (args.run / "verdicts.json").write_text(json.dumps(told))


@dataclass(frozen=True, slots=True)
class LabelledTokens:
    """What the projector says of renderings, (views, tokens, width) in half precision, and their labels, (views,)."""

    tokens: Tensor
    labels: Tensor


@torch.no_grad()
def look(seen: Seen, tower: EfficientNetLiteModel, projector: nn.Module, count: int, seed: int) -> LabelledTokens:
    """Render so many views, and run tower and projector over them."""
    resting, found = resting_half(tower), []
    for pixels, labels, _ in renderings(seen, count, seed, first=OTHER):
        found.append((projector(second_half(tower, first_half(resting, pixels))).half(), labels))
    return LabelledTokens(*(torch.cat(each) for each in zip(*found, strict=True)))


def learn(guard: Guard, views: LabelledTokens, epochs: int, rate: float, seed: int) -> list[float]:
    """Train the image head and its attention pooling in place; mean loss of each epoch.

    Args:
        guard: With an image head and attention pooling.
        views: What it learns from.
        epochs: Times each view is seen.
        rate: Peak learning rate.
        seed: Of the order, and of dropout.
    """
    assert guard.image_head is not None and guard.query is not None
    learning = [*guard.image_head.parameters(), guard.query]
    was_learning = [each.requires_grad for each in learning]
    for each in learning:
        each.requires_grad_(True)
    optimiser = torch.optim.AdamW(learning, lr=rate, weight_decay=0.05)
    size = min(BATCH, len(views.labels))
    per_epoch = len(views.labels) // size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * per_epoch + 1)
    generator, history = torch.Generator().manual_seed(seed), []
    torch.manual_seed(seed)
    guard.train()
    for epoch in range(epochs):
        order, total = torch.randperm(len(views.labels), generator=generator), 0.0
        for step in range(per_epoch):
            rows = order[step * size : (step + 1) * size]
            states = views.tokens[rows].float()
            weights = (states @ (guard.query / states.shape[-1] ** 0.5)).softmax(-1)  # (batch, tokens)
            logits = guard.image_head((weights[..., None] * states).sum(1))  # (batch, labels)
            loss = F.cross_entropy(logits, views.labels[rows], label_smoothing=LABEL_SMOOTHING)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
        history.append(total / per_epoch)
        print(f"verdicts, epoch {epoch + 1}/{epochs}: loss {history[-1]:.3f}", flush=True)
    guard.eval()
    for each, learned in zip(learning, was_learning, strict=True):
        each.requires_grad_(learned)
    return history


if __name__ == "__main__":
    main()
