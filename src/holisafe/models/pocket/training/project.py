"""Stage 2: teach the projector to write each picture's name in the language model's own word embeddings.

The language model is not run: projected tokens are compared with the input embeddings of all word pieces that occur
in names, so that what the language model first sees of a picture already reads like words.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from holisafe.models.pocket._assemble import build_processor
from holisafe.models.pocket._wheels import language_gguf
from holisafe.models.pocket.training.pictures import read_pictures


def main() -> None:
    """Train the projector; a few minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with pictures.*; gets project.safetensors")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=256)
    args = parser.parse_args()
    torch.manual_seed(0)
    features, pictures = read_pictures(args.out)
    single = [i for i, picture in enumerate(pictures) if len(picture.names) == 1]
    tokenizer = build_processor().tokenizer
    pieces = {name: tokenizer(f" {name}").input_ids for name in {pictures[i].names[0] for i in single}}
    vocabulary = sorted({piece for ids in pieces.values() for piece in ids})
    position = {piece: i for i, piece in enumerate(vocabulary)}
    gguf = language_gguf()
    words = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    ).get_input_embeddings()
    embeddings = words.weight.detach()[vocabulary]  # (pieces, hidden)
    length = embeddings.norm(dim=-1).mean()
    unit = F.normalize(embeddings, dim=-1)
    targets = torch.zeros(len(pictures), len(vocabulary), dtype=torch.float16)
    for i in single:
        ids = pieces[pictures[i].names[0]]
        targets[i, [position[piece] for piece in ids]] = 1 / len(set(ids))

    projector = Projector(features.shape[-1], embeddings.shape[-1])
    scale = nn.Parameter(torch.tensor(2.5))
    optimiser = torch.optim.AdamW([*projector.parameters(), scale], lr=1e-3, weight_decay=0.01)
    steps = args.epochs * (len(single) // args.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps, pct_start=0.05)
    started, step = time.monotonic(), 0
    rng = np.random.default_rng(0)
    for epoch in range(args.epochs):
        order = rng.permutation(single)
        for start in range(0, len(order) - args.batch + 1, args.batch):
            rows = np.sort(order[start : start + args.batch])
            tokens = projector(torch.from_numpy(features[rows]).float())  # (batch, tokens, hidden)
            logits = scale.exp() * F.normalize(tokens, dim=-1) @ unit.T  # (batch, tokens, pieces)
            loss_each = -(F.log_softmax(logits, -1) * targets[rows].float()[:, None]).sum(-1)  # (batch, tokens)
            size = (tokens.norm(dim=-1) / length - 1).square().mean()
            loss = loss_each[:, 0].mean() + 0.3 * loss_each[:, 1:].mean() + 0.1 * size
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
        print(f"epoch {epoch + 1}: loss {loss.item():.3f} {time.monotonic() - started:.0f} s", flush=True)
    save_file(projector.state_dict(), args.out / "project.safetensors")
    (args.out / "project.json").write_text(json.dumps({"epochs": args.epochs, "loss": loss.item()}))


class Projector(nn.Module):
    """LLaVA's projector by itself, with its parameter names."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width_in, width_out)
        self.linear_2 = nn.Linear(width_out, width_out)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width_in) to (batch, tokens, width_out)."""
        projected: Tensor = self.linear_2(F.gelu(self.linear_1(tokens)))
        return projected


if __name__ == "__main__":
    main()
