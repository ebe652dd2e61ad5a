"""Stage 2: teach the projector to write each picture's name in the language model's own word embeddings.

The language model is not run: projected tokens are compared with the input embeddings of all word pieces that occur
in names, so that what the language model first sees of a picture already reads like words. Drawings name few of the
things there are, so it starts with pictures imagined from the names of many more.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from holisafe.models.pocket._assemble import build_processor
from holisafe.models.pocket._wheels import language_gguf
from research.pocket.align import embed
from research.pocket.imagined import SharedSpace, imaginable_names
from research.pocket.pictures import read_pictures


def main() -> None:
    """Train the projector, first on imagined pictures, then on painted ones; some minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the art collections")
    parser.add_argument("--out", type=Path, required=True, help="folder with pictures.*; gets project.safetensors")
    parser.add_argument("--epochs", type=int, default=6, help="times each painted picture is seen")
    parser.add_argument("--imagined", type=int, default=6, help="times each name of a thing is imagined before")
    parser.add_argument("--batch", type=int, default=256)
    args = parser.parse_args()
    torch.manual_seed(0)
    features, pictures = read_pictures(args.out)
    single = np.array([i for i, picture in enumerate(pictures) if len(picture.names) == 1])
    names = imaginable_names(args.art)
    words = Words(sorted({*names, *(pictures[i].names[0] for i in single)}))
    sample = torch.from_numpy(features[np.sort(single[:: max(1, len(single) // 4000)])]).float()
    space = SharedSpace.read(args.out / "align.safetensors", sample[:, 0])
    texts = embed_cached(names, args.out / "imagined.npy")
    generator = torch.Generator().manual_seed(0)

    projector = Projector(features.shape[-1], words.width)
    scale = nn.Parameter(torch.tensor(2.5))
    rounds = args.imagined * (len(names) // args.batch) + args.epochs * (len(single) // args.batch)
    optimiser = torch.optim.AdamW([*projector.parameters(), scale], lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=rounds, pct_start=0.05)
    started = time.monotonic()
    rng = np.random.default_rng(0)

    def learn(tokens: Tensor, named: list[str]) -> float:
        loss = words.loss(projector(tokens), named, scale)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        return loss.item()

    for epoch in range(args.imagined):
        for rows in _batches(rng.permutation(len(names)), args.batch):
            real = sample[torch.randint(len(sample), (len(rows),), generator=generator)]
            noise = float(torch.rand((), generator=generator)) * MOST_NOISE
            loss = learn(space.imagine(texts[rows], real, noise, generator), [names[i] for i in rows])
        print(f"imagined {epoch + 1}: loss {loss:.3f} {time.monotonic() - started:.0f} s", flush=True)
    for epoch in range(args.epochs):
        for rows in _batches(rng.permutation(single), args.batch):
            loss = learn(
                torch.from_numpy(features[np.sort(rows)]).float(), [pictures[i].names[0] for i in np.sort(rows)]
            )
        print(f"epoch {epoch + 1}: loss {loss:.3f} {time.monotonic() - started:.0f} s", flush=True)
    save_file(projector.state_dict(), args.out / "project.safetensors")
    (args.out / "project.json").write_text(
        json.dumps({"imagined": args.imagined, "names": len(names), "epochs": args.epochs, "loss": loss})
    )


class Words:
    """The language model's own embeddings of all word pieces that occur in names.

    Args:
        names: Names that pictures may have.
    """

    def __init__(self, names: list[str]) -> None:
        tokenizer = build_processor().tokenizer
        ids = tokenizer([f" {name}" for name in names]).input_ids
        vocabulary = sorted({piece for each in ids for piece in each})
        position = {piece: i for i, piece in enumerate(vocabulary)}
        self._pieces = {name: sorted({position[p] for p in each}) for name, each in zip(names, ids, strict=True)}
        gguf = language_gguf()
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        embeddings = model.get_input_embeddings().weight.detach()[vocabulary]  # (pieces, width)
        self._length = embeddings.norm(dim=-1).mean()
        self._unit = F.normalize(embeddings, dim=-1)

    @property
    def width(self) -> int:
        """Width of an embedding."""
        return self._unit.shape[-1]

    def to(self, device: torch.device) -> Words:
        """The same, on another device."""
        self._length, self._unit = self._length.to(device), self._unit.to(device)
        return self

    def loss(self, tokens: Tensor, names: list[str], scale: Tensor) -> Tensor:
        """How far projected tokens (batch, tokens, width) are from the pieces of the names, and from usual length."""
        wanted = torch.zeros(len(names), len(self._unit), device=tokens.device)
        for row, name in enumerate(names):
            wanted[row, self._pieces[name]] = 1 / len(self._pieces[name])
        # all tokens of a picture as one, and the global one by itself
        views = torch.stack([tokens[:, 0], tokens[:, 1:].mean(1)], 1)  # (batch, 2, width)
        logits = scale.exp() * F.normalize(views, dim=-1) @ self._unit.T  # (batch, 2, pieces)
        each = -(F.log_softmax(logits, -1) * wanted[:, None]).sum(-1).mean(0)
        size = (tokens.norm(dim=-1) / self._length - 1).square().mean()
        total: Tensor = each[0] + 0.3 * each[1] + 0.1 * size
        return total


MOST_NOISE = 1.4
"""At this length of noise a text and its noisy copy are at cosine 0.58, about as a name and an unseen drawing of it."""


def embed_cached(texts: list[str], path: Path) -> Tensor:
    """`embed`, kept in a file: (texts, 384)."""
    if not path.exists():
        np.save(path, embed(texts).numpy())
    return torch.from_numpy(np.load(path))


def _batches(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)]


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
