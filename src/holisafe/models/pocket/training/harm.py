"""Safe Pocket, first stage: the tower's second half learns what harm looks like, and says the rest as before.

It learns the image's label and, of pictures of one everyday thing, which kind that is, since a request can be unsafe
for a chocolate bar and safe for a carrot. Its visual tokens stay near those it gave before, on which the language model
was trained. What it learns from is drawn for training alone (`holisafe data build open-more`), as are further pictures
of everyday things by other hands: many drawings of carrots teach more of what a carrot is than one on many grounds.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from holisafe.datasets import load as load_data
from holisafe.datasets.open import load_kinds
from holisafe.datasets.open._more import EMOJI
from holisafe.images import open_image
from holisafe.models.pocket._assemble import parts
from holisafe.models.pocket._load import load_pocket
from holisafe.models.pocket._vision import EfficientNetLiteModel
from holisafe.models.pocket.training.align import FIRST_TRAINED_BLOCK, normalise
from holisafe.models.pocket.training.drawings import Drawing, Painter, artworks_of_kinds, render_drawings
from holisafe.models.pocket.training.names import write_names
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import HEAD_ORDER, GuardLabel

IGNORED = -100
BATCH = 96
LABEL_SMOOTHING = 0.1
OTHERS = 2000
"""Pictures of more than one thing, or of harm, that are shown while the projector learns names."""


def main() -> None:
    """Train, with a checkpoint after each epoch; the same command goes on where it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of `holisafe data build open-more`")
    parser.add_argument("--art", type=Path, required=True, help="folder that `make art` fills")
    parser.add_argument("--renderings", type=int, default=4, help="of each further drawing of an everyday thing")
    parser.add_argument("--out", type=Path, required=True, help="gets the model to tune, as a plain checkpoint")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--name-epochs", type=int, default=15, help="of the projector, afterwards")
    parser.add_argument("--name-rate", type=float, default=5e-4, help="of the projector, afterwards")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    vlm, processor = load_pocket()
    tower = vlm.model.vision_tower
    pictures = read_pictures(load_data(str(args.data), "train")) + paint_kinds(args.art, args.renderings)
    stored = store(tower, pictures, args.out)
    torch.manual_seed(args.seed)
    learner = Learner(tower, len(load_kinds(EMOJI)))
    tower.to(memory_format=torch.channels_last)
    losses = train(learner, pictures, stored, args.out / "harm.pt", args.epochs, args.rate, args.seed)
    tokens, names = shown(learner.tower, pictures, stored)
    named = write_names(vlm.model.multi_modal_projector, tokens, names, args.name_epochs, args.name_rate, args.seed)
    save_file({k: v.half().contiguous() for k, v in parts(vlm).items() if v.is_floating_point()},
              args.out / "vision.safetensors")  # fmt: skip
    recipe = {"pictures": len(pictures.images), "epochs": args.epochs, "rate": args.rate, "batch": BATCH,
              "seed": args.seed, "losses": losses, "name_epochs": args.name_epochs, "name_rate": args.name_rate,
              "names": named}  # fmt: skip
    (args.out / "harm.json").write_text(json.dumps(recipe))
    vlm.save_pretrained(args.out / "model")
    processor.save_pretrained(args.out / "model")


@dataclass(frozen=True, slots=True)
class Painting:
    """A picture that a seed paints of one drawing."""

    drawing: Drawing
    seed: int


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """Different images with what is to be learned of each: (images,) indices of labels and of kinds, or -100."""

    images: list[ImageRef | Painting]
    labels: Tensor
    kinds: Tensor

    def __add__(self, other: LabelledPictures) -> LabelledPictures:
        both = self.labels, other.labels
        return LabelledPictures(self.images + other.images, torch.cat(both), torch.cat((self.kinds, other.kinds)))

    def pixels(self, index: int, side: int) -> NDArray[np.uint8]:
        """(side, side, 3), RGB."""
        image = self.images[index]
        if isinstance(image, Painting):
            return Painter(side, np.random.default_rng((11, image.seed))).one(image.drawing)
        return np.asarray(open_image(image).resize((side, side), Image.Resampling.BILINEAR))


def read_pictures(samples: Sequence[Sample]) -> LabelledPictures:
    """The different images of HoliSafe-Open's samples; the kind of those that show one everyday thing."""
    kind_of = {artwork: i for i, kind in enumerate(load_kinds(EMOJI).values()) for artwork in kind.artworks}
    found: dict[str, tuple[ImageRef, int, int]] = {}
    for sample in samples:
        ref, label = sample.images[0], sample.image_labels[0]
        artwork = (sample.source or "").removeprefix("HoliSafe-Open: ")  # of several, no kind has the name
        kind = kind_of.get(artwork, IGNORED) if label is GuardLabel.SAFE else IGNORED
        found[ref.key] = (ref, HEAD_ORDER.index(label), kind)
    refs, labels, kinds = zip(*(found[key] for key in sorted(found)), strict=True)
    return LabelledPictures(list(refs), torch.tensor(labels), torch.tensor(kinds))


def paint_kinds(art_dir: Path, renderings: int) -> LabelledPictures:
    """Pictures of the further drawings of everyday things."""
    kinds = list(load_kinds(EMOJI))
    drawings = [drawing for drawing in render_drawings(artworks_of_kinds(art_dir)) for _ in range(renderings)]
    return LabelledPictures(
        [Painting(drawing, i) for i, drawing in enumerate(drawings)],
        torch.full((len(drawings),), HEAD_ORDER.index(GuardLabel.SAFE)),
        torch.tensor([kinds.index(drawing.name) for drawing in drawings]),
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """What the resting half of the tower says of each picture and then of its mirror image, and the tokens before.

    `maps` (2 · images, channels, height, width) and `tokens` (2 · images, tokens, hidden), half precision.
    """

    maps: NDArray[np.float16]
    tokens: NDArray[np.float16]


@torch.inference_mode()
def store(tower: EfficientNetLiteModel, pictures: LabelledPictures, folder: Path) -> Stored:
    """Run the tower once over the pictures; what is already in the folder is not computed again.

    Raises:
        SystemExit: What is in the folder is of another number of pictures.
    """
    files = folder / "maps.npy", folder / "tokens.npy"
    if not all(path.exists() for path in files):
        side, maps, tokens = tower.config.image_size, [], []
        resting = copy.deepcopy(tower).to(torch.bfloat16).to(memory_format=torch.channels_last)
        for module in resting.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.float()  # as in alignment: bfloat16 is several times as fast, and these are its statistics
        started = time.monotonic()
        for is_mirrored in (False, True):
            for start in range(0, len(pictures.images), 64):
                stop = min(start + 64, len(pictures.images))
                pixels = np.stack([pictures.pixels(i, side) for i in range(start, stop)])
                x = normalise(torch.from_numpy(pixels[:, :, ::-1].copy() if is_mirrored else pixels)).bfloat16()
                x = resting.stem(x)
                for block in resting._blocks[:FIRST_TRAINED_BLOCK]:
                    x = block(x)
                maps.append(x.half().numpy())
                tokens.append(second_half(resting, x).half().numpy())
                if start % 1280 == 0:
                    print(f"{start}/{len(pictures.images)} pictures, {time.monotonic() - started:.0f} s", flush=True)
        np.save(files[0], np.concatenate(maps))
        np.save(files[1], np.concatenate(tokens))
    stored = Stored(np.load(files[0], mmap_mode="r"), np.load(files[1], mmap_mode="r"))
    if len(stored.maps) != 2 * len(pictures.images):
        raise SystemExit(
            f"{files[0]} is of {len(stored.maps) // 2} pictures, expected {len(pictures.images)}; take another --out"
        )
    return stored


def second_half(tower: EfficientNetLiteModel, x: Tensor) -> Tensor:
    """From the resting half's maps to visual tokens (images, tokens, hidden)."""
    for block in tower._blocks[FIRST_TRAINED_BLOCK:]:
        x = block(x)
    return tower.tokens(x)


@torch.inference_mode()
def shown(tower: EfficientNetLiteModel, pictures: LabelledPictures, stored: Stored) -> tuple[Tensor, list[str | None]]:
    """What the tower now says of pictures of one everyday thing and of some others, and the names of the things.

    Returns:
        Tokens in half precision (pictures, tokens, hidden), and a name, or None, for each.
    """
    kinds = [kind.name for kind in load_kinds(EMOJI).values()]
    is_kind = pictures.kinds >= 0
    rows = torch.cat([is_kind.nonzero()[:, 0], (~is_kind).nonzero()[:OTHERS, 0]]).numpy()
    tokens = []
    with torch.autocast("cpu", torch.bfloat16):
        for some in np.array_split(rows, -(-len(rows) // BATCH)):
            tokens.append(second_half(tower, torch.from_numpy(stored.maps[some]).float()).half())
    return torch.cat(tokens), [kinds[kind] if kind >= 0 else None for kind in pictures.kinds[rows].tolist()]


class Learner(nn.Module):
    """The tower's second half with a head for labels, over attention-pooled tokens, and one for kinds."""

    def __init__(self, tower: EfficientNetLiteModel, kinds: int) -> None:
        super().__init__()
        width = tower.config.hidden_size
        self.tower = tower.requires_grad_(False)
        for part in (*tower._blocks[FIRST_TRAINED_BLOCK:], tower._conv_head, tower._bn1):
            part.requires_grad_(True)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.zeros(width))
        self.label = nn.Sequential(nn.Dropout(0.3), nn.Linear(width, len(HEAD_ORDER)))
        self.kind = nn.Linear(width, kinds)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (images, tokens, hidden), logits of labels (images, labels) and of kinds (images, kinds)."""
        with torch.autocast("cpu", torch.bfloat16):
            tokens = second_half(self.tower, maps)
        tokens = tokens.float()
        x = self.norm(tokens)
        weights = torch.softmax(x @ self.query / x.shape[-1] ** 0.5, 1)
        return tokens, self.label((weights[..., None] * x).sum(1)), self.kind(x[:, 0])


def train(
    learner: Learner, pictures: LabelledPictures, stored: Stored, checkpoint: Path, epochs: int, rate: float, seed: int
) -> list[dict[str, float]]:
    """Train in place; mean losses of each epoch."""
    heads = [p for name, p in learner.named_parameters() if not name.startswith("tower.")]
    tower = [p for p in learner.tower.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW([{"params": tower, "lr": rate}, {"params": heads, "lr": 2e-3}], weight_decay=0.05)
    per_epoch = len(stored.maps) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [rate, 2e-3], total_steps=epochs * per_epoch)
    history: list[dict[str, float]] = []
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        learner.load_state_dict(kept["learner"])
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        history = kept["history"]
        torch.set_rng_state(kept["rng"])
    labels, kinds = pictures.labels.repeat(2), pictures.kinds.repeat(2)  # pictures, then their mirror images
    spread = torch.from_numpy(stored.tokens[:512].astype(np.float32)).var()
    for epoch in range(len(history), epochs):
        learner.train()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed * 1000 + epoch))
        sums = torch.zeros(3)
        for step in range(1, per_epoch + 1):
            rows = order[(step - 1) * BATCH : step * BATCH].sort().values
            maps = torch.from_numpy(stored.maps[rows.numpy()]).float().contiguous(memory_format=torch.channels_last)
            before = torch.from_numpy(stored.tokens[rows.numpy()]).float()
            tokens, label, kind = learner(maps)
            losses = torch.stack(
                [
                    F.cross_entropy(label, labels[rows], label_smoothing=LABEL_SMOOTHING),
                    F.cross_entropy(kind, kinds[rows], ignore_index=IGNORED, label_smoothing=LABEL_SMOOTHING),
                    (tokens - before).square().mean() / spread,
                ]
            )
            optimiser.zero_grad()
            (losses @ torch.tensor([1.0, 1.0, 0.5])).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            sums += losses.detach()
            if step % 20 == 0:
                print(f"epoch {epoch + 1} step {step}/{per_epoch}: {(sums / step).tolist()}", flush=True)
        history.append(dict(zip(("label", "kind", "change"), (sums / per_epoch).tolist(), strict=True)))
        torch.save(
            {
                "learner": learner.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "history": history,
                "rng": torch.get_rng_state(),
            },
            checkpoint,
        )
    return history


if __name__ == "__main__":
    main()
