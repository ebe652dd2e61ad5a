"""Stage 1: align the tower with language, by telling each drawing's name from every other name.

The tower's global token, projected, is compared with MiniLM embeddings of all names (a softmax over all of them, names
closer than 0.95 counting as the same). Only the upper half of the tower learns (blocks 8 to 15 and the head).
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from holisafe.models.pocket._vision import EfficientNetLiteConfig, EfficientNetLiteModel
from holisafe.models.pocket._wheels import minilm_folder, tower_state
from research.pocket.drawings import TRAINING_COLLECTIONS, Drawing, Painter, load_drawings

FIRST_TRAINED_BLOCK = 8
TRAINED_SIDE = 160
"""Pixels a side in training; a tower sees better somewhat larger than it was trained (FixRes, arXiv 1906.06423)."""

SAME_NAME = 0.95
NEARNESS = 14.0
"""How sharply near names count: at cosine 0.8, exp(14 × 0.2) = 16 times less than the name itself."""


def main() -> None:
    """Train, checkpointing every epoch; the same command resumes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the art collections")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the result")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=5e-4, help="peak learning rate of the tower (head: twice)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    drawings = load_drawings(args.art, {"train"}, TRAINING_COLLECTIONS)
    names = sorted({d.name for d in drawings})
    held_out = {
        "unseen art": load_drawings(args.art, {"test"}, ("openclipart", "game-icons", "healthicons")),
        "unseen collection": load_drawings(args.art, {"transfer"}, ("noto",)),
    }
    print(f"{len(drawings)} drawings, {len(names)} names", {k: len(v) for k, v in held_out.items()}, flush=True)
    targets = embed(names)  # (names, 384)

    model = AlignmentModel()
    step = restore(model, args.out / "align.safetensors")
    model.tower.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in model.tower.parameters() if p.requires_grad], "lr": args.rate},
            {"params": [*model.head.parameters(), model.log_scale], "lr": 2 * args.rate},
        ],
        weight_decay=0.02,
    )
    if step:
        optimiser.load_state_dict(torch.load(args.out / "align.optimiser.pt", weights_only=True))
    per_epoch = len(drawings) // args.batch
    schedule = cosine_schedule(optimiser, done=step, steps=args.epochs * per_epoch)
    index = {name: i for i, name in enumerate(names)}
    likeness = targets @ targets.T  # (names, names)
    same = likeness > SAME_NAME
    alike = torch.softmax(NEARNESS * likeness, -1)
    for epoch in range(step // per_epoch, args.epochs):
        loader = DataLoader(
            Pictures(drawings, index, epoch),
            batch_size=args.batch, shuffle=True, drop_last=True, num_workers=1,
            generator=torch.Generator().manual_seed(epoch),
        )  # fmt: skip
        model.train()
        started, losses = time.monotonic(), []
        for pixels, labels in loader:
            with torch.autocast("cpu", torch.bfloat16):
                embeddings = model(pixels)
            logits = model.log_scale.exp() * embeddings.float() @ targets.T  # (batch, names)
            scores = torch.log_softmax(logits, -1)  # (batch, names)
            # names that mean the same as the right one count as right; half of the loss asks for near ones to be near
            right = -scores.masked_fill(~same[labels], -torch.inf).logsumexp(-1).mean()
            near = -(alike[labels] * scores).sum(-1).mean()
            loss = (right + near) / 2
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            step += 1
            losses.append(loss.item())
            if step % 20 == 0:
                print(
                    f"step {step} loss {np.mean(losses[-20:]):.3f} {time.monotonic() - started:.0f} s",
                    flush=True,
                )
        is_last = epoch + 1 == args.epochs
        figures = {k: four_way(model, v) for k, v in held_out.items()} if is_last or epoch % 4 == 3 else {}
        print(
            f"epoch {epoch + 1}: loss {np.mean(losses):.3f} {time.monotonic() - started:.0f} s {json.dumps(figures)}",
            flush=True,
        )
        save_file(
            {**{k: v.contiguous() for k, v in model.state_dict().items()}, "step": torch.tensor(step)},
            args.out / "align.safetensors",
        )
        torch.save(optimiser.state_dict(), args.out / "align.optimiser.pt")
    (args.out / "align.json").write_text(json.dumps({"epochs": args.epochs, "batch": args.batch, "four_way": figures}))


class AlignmentModel(nn.Module):
    """The tower and a linear map from its global token to the text encoder's space."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = EfficientNetLiteModel(EfficientNetLiteConfig())
        self.tower.load_state_dict(tower_state())
        # the resting half in bfloat16, which is several times as fast; batch norm keeps its float32 statistics
        # (in a list, so as not to be a part that is saved)
        self._resting = [copy.deepcopy(self.tower).to(torch.bfloat16).to(memory_format=torch.channels_last)]
        for module in self._resting[0].modules():
            if isinstance(module, nn.BatchNorm2d):
                module.float()
        self.head = nn.Linear(self.tower.config.hidden_size, 384)
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.tower.requires_grad_(False)
        for block in self.tower._blocks[FIRST_TRAINED_BLOCK:]:
            block.requires_grad_(True)
        self.tower._conv_head.requires_grad_(True)
        self.tower._bn1.requires_grad_(True)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, side, side, 3) uint8 to unit vectors (batch, 384)."""
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            resting = self._resting[0]
            x = resting.stem(normalise(pixels).bfloat16())
            for block in resting._blocks[:FIRST_TRAINED_BLOCK]:
                x = block(x)
        x = x.float()
        for block in self.tower._blocks[FIRST_TRAINED_BLOCK:]:
            x = block(x)
        return F.normalize(self.head(self.tower.tokens(x)[:, 0]), dim=-1)


def normalise(pixels: Tensor) -> Tensor:
    """(batch, side, side, 3) uint8 to (batch, 3, side, side), (x − 127) / 128, channels last."""
    return ((pixels.float() - 127) / 128).permute(0, 3, 1, 2)


class Pictures(Dataset[tuple[Tensor, int]]):
    """One random rendering of each drawing, other ones every epoch."""

    def __init__(self, drawings: list[Drawing], index: dict[str, int], epoch: int) -> None:
        self.drawings, self.index, self.epoch = drawings, index, epoch

    def __len__(self) -> int:
        return len(self.drawings)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        painter = Painter(TRAINED_SIDE, np.random.default_rng((self.epoch, i)))
        return torch.from_numpy(painter.one(self.drawings[i])), self.index[self.drawings[i].name]


def embed(texts: list[str]) -> Tensor:
    """MiniLM sentence embeddings: unit vectors (texts, 384)."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    model = AutoModel.from_pretrained(minilm_folder()).eval()
    vectors = []
    with torch.inference_mode():
        for i in range(0, len(texts), 256):
            batch = tokenizer(texts[i : i + 256], padding=True, return_tensors="pt")
            mask = batch["attention_mask"][..., None]
            hidden = model(**batch).last_hidden_state * mask  # (batch, tokens, 384)
            vectors.append(F.normalize(hidden.sum(1) / mask.sum(1), dim=-1))
    return torch.cat(vectors).clone()


@torch.inference_mode()
def four_way(model: AlignmentModel, drawings: list[Drawing]) -> float:
    """Share of drawings whose own name is nearest among four, in [0, 1] (chance 0.25)."""
    model.eval()
    rng = np.random.default_rng(0)
    painter = Painter(192, rng)
    names = sorted({d.name for d in drawings})
    text = embed(names)
    right = 0
    for i in range(0, len(drawings), 64):
        batch = drawings[i : i + 64]
        with torch.autocast("cpu", torch.bfloat16):
            vectors = model(torch.from_numpy(np.stack([painter.plain(d) for d in batch]))).float()
        for drawing, vector in zip(batch, vectors, strict=True):
            own = names.index(drawing.name)
            others = rng.choice([j for j in range(len(names)) if text[own] @ text[j] < SAME_NAME], 3, replace=False)
            scores = vector @ text[[own, *others]].T
            right += int(scores.argmax() == 0)
    return right / len(drawings)


def restore(model: AlignmentModel, path: Path) -> int:
    """Load a checkpoint where there is one; returns the steps done."""
    if not path.exists():
        return 0
    state = load_file(path)
    step = int(state.pop("step"))
    model.load_state_dict(state)
    return step


def cosine_schedule(optimiser: torch.optim.Optimizer, *, done: int, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Warm-up and cosine over `steps`, of which `done` were made before; one `step()` of it is one step of training."""
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda further: _cosine(done + further, steps))


def _cosine(step: int, steps: int) -> float:
    warm_up = 50
    return min(1.0, step / warm_up) * 0.5 * (1 + float(np.cos(np.pi * min(1.0, step / steps))))


if __name__ == "__main__":
    main()
