"""Safe Pocket, first stage: the tower's second half learns what harm looks like, and says the rest much as before.

It learns each picture's guard label and, of one everyday thing, which kind that is, since a request can be unsafe for a
chocolate bar and safe for a carrot. Its visual tokens stay near those it gave before, on which the language model was
trained. Half of what it sees are pictures drawn for training alone (`python -m research.holisafe_open open-more`, and
general ones); half are cutouts (`training.cutouts`), placed on a ground anew each time: many drawings of carrots in
many places teach more of what a carrot is than one in one. The first steps are of small pictures, which is quicker and
as good; the last are of the size that the tower is used with. What ships is a running mean of the weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from holisafe.datasets import load as load_data
from holisafe.images import open_image
from holisafe.models import load
from holisafe.models.pocket._vision import EfficientNetLiteModel
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import HEAD_ORDER, GuardLabel
from research.holisafe_open.kinds import load_kinds
from research.holisafe_open.more import EMOJI
from research.pocket.align import FIRST_TRAINED_BLOCK
from research.pocket.augment import Augment
from research.pocket.cutouts import GROUND, HELD_OUT, read_cutouts

IGNORED = -100
LABEL_SMOOTHING = 0.1
NEAR = 0.5
"""Weight of the change of visual tokens, beside those of label and kind, which are 1."""

HARM = 4.0
"""How much more often a cutout stands for harm than the number of kinds would have it."""

MEAN_OVER = 0.998
"""Decay of the running mean of weights: it is of the last few hundred steps."""

SMALL, SMALL_SIDE = 0.75, 160
"""Share of the steps that are of small pictures, and their side in pixels."""

RENDERED = 256
"""Renderings of a batch, where the tower does not learn."""

TOWER_FILE = "tower.safetensors"
KINDS = list(load_kinds(EMOJI))


def main() -> None:
    """Train, with a checkpoint now and then; the same command resumes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of `python -m research.holisafe_open open-more`"
    )
    parser.add_argument("--general", type=Path, required=True, help="folder that training.general writes")
    parser.add_argument("--cutouts", type=Path, required=True, help="file that training.cutouts writes")
    parser.add_argument("--out", type=Path, required=True, help=f"gets {TOWER_FILE}")
    parser.add_argument("--start", default="pocket", help="whose tower to begin with: pocket, or pocket-safe to go on")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak, of the tower")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tower = load(args.start, device="cpu", dtype="float32").model.model.vision_tower
    seen = read_all(args.data, args.general, args.cutouts, tower.config.image_size, torch.device(args.device))
    torch.manual_seed(args.seed)
    learner = Learner(tower.to(memory_format=torch.channels_last), len(KINDS)).to(args.device)
    settings = {"start": args.start, "steps": args.steps, "batch": args.batch, "rate": args.rate, "seed": args.seed}
    mean, history = train(learner, seen, args.out / "harm.pt", settings)
    state = {name: each.contiguous().cpu() for name, each in mean.tower.state_dict().items()}
    save_file(state, args.out / TOWER_FILE)
    found = held_out(mean, args.cutouts, seen.grounds)
    told = {**settings, "pictures": len(seen.pictures.labels), "cutouts": len(seen.cutouts.labels),
            "losses": history, "held_out": found}  # fmt: skip
    (args.out / "harm.json").write_text(json.dumps(told))
    print(found)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images, (images, channels, side, side) uint8, with what is to be learned of each.

    `labels` and `kinds` are (images,) indices, or -100.
    """

    pixels: Tensor
    labels: Tensor
    kinds: Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """What is learned from: pictures, cutouts of which some have no colour of their own, and grounds for them."""

    pictures: Labelled
    cutouts: Labelled
    has_one_colour: Tensor
    grounds: Tensor


def read_all(data: Path, general: Path, cutouts: Path, side: int, device: torch.device) -> Seen:
    """Read and decode everything, to where the tower is."""
    rows, pixels = read_cutouts(cutouts, "train")
    kind_of = {row["artwork"]: row["kind"] for row in rows if row["kind"]}
    samples = [*load_data(str(data), "train"), *load_data(str(general), "train")]
    pictures = read_pictures(samples, kind_of, side)
    return Seen(
        pictures=Labelled(*(each.to(device) for each in (pictures.pixels, pictures.labels, pictures.kinds))),
        cutouts=cutouts_of(rows, torch.from_numpy(pixels), device),
        has_one_colour=torch.tensor([row["has_one_colour"] for row in rows], device=device),
        grounds=torch.from_numpy(read_cutouts(cutouts, GROUND)[1])[:, :3].to(device),
    )


def cutouts_of(rows: Sequence[Mapping[str, Any]], pixels: Tensor, device: torch.device) -> Labelled:
    """Cutouts with their labels and kinds."""
    labels = torch.tensor([HEAD_ORDER.index(GuardLabel(row["label"])) for row in rows], device=device)
    kinds = torch.tensor([KINDS.index(row["kind"]) if row["kind"] else IGNORED for row in rows], device=device)
    return Labelled(pixels.to(device), labels, kinds)


def read_pictures(samples: Sequence[Sample], kind_of: Mapping[str, str], side: int) -> Labelled:
    """The different images of samples; the kind of those that show one everyday thing and no harm."""
    found: dict[str, tuple[ImageRef, int, int]] = {}
    for sample in samples:
        ref, label = sample.images[0], sample.image_labels[0]
        artwork = (sample.source or "").removeprefix("HoliSafe-Open: ")  # of several, no kind has the name
        kind = kind_of.get(artwork) if label is GuardLabel.SAFE else None
        found[ref.key] = (ref, HEAD_ORDER.index(label), IGNORED if kind is None else KINDS.index(kind))
    refs, labels, kinds = zip(*(found[key] for key in sorted(found)), strict=True)

    def decode(ref: ImageRef) -> Tensor:
        image = open_image(ref).resize((side, side), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    with ThreadPoolExecutor() as pool:
        return Labelled(torch.stack(list(pool.map(decode, refs))), torch.tensor(labels), torch.tensor(kinds))


class Learner(nn.Module):
    """The tower, whose second half learns, with a head for labels, over attention-pooled tokens, and one for kinds."""

    def __init__(self, tower: EfficientNetLiteModel, kinds: int) -> None:
        super().__init__()
        width = tower.config.hidden_size
        self.tower = tower.requires_grad_(False)
        for part in (*tower._blocks[FIRST_TRAINED_BLOCK:], tower._conv_head, tower._bn1):
            part.requires_grad_(True)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.zeros(width))
        self.label = nn.Sequential(nn.Dropout(0.3), nn.Linear(width, len(HEAD_ORDER)))
        self.kind = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, kinds))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The resting half's maps to tokens (images, tokens, hidden), logits of labels and of kinds."""
        tokens = second_half(self.tower, maps)
        x = self.norm(tokens)
        weights = torch.softmax(x @ self.query / x.shape[-1] ** 0.5, 1)
        return tokens, self.label((weights[..., None] * x).sum(1)), self.kind(x[:, 0])


def resting_half(tower: EfficientNetLiteModel) -> EfficientNetLiteModel:
    """A copy for `first_half`, in bfloat16, which is several times as fast; batch norm keeps its float32 statistics."""
    copied: EfficientNetLiteModel = copy.deepcopy(tower).eval().to(torch.bfloat16).to(memory_format=torch.channels_last)
    for module in copied.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.float()
    return copied


@torch.no_grad()
def first_half(resting: EfficientNetLiteModel, pixels: Tensor) -> Tensor:
    """(images, 3, side, side) from 0 to 255, to feature maps (images, channels, side / 16, side / 16), float32."""
    x = ((pixels - 127) / 128).bfloat16().contiguous(memory_format=torch.channels_last)
    x = resting.stem(x)
    for block in resting._blocks[:FIRST_TRAINED_BLOCK]:
        x = block(x)
    return x.float()


def second_half(tower: EfficientNetLiteModel, maps: Tensor) -> Tensor:
    """From the resting half's maps to visual tokens (images, tokens, hidden), float32; computed in bfloat16."""
    x = maps
    with torch.autocast(maps.device.type, torch.bfloat16):
        for block in tower._blocks[FIRST_TRAINED_BLOCK:]:
            x = block(x)
        return tower.tokens(x).float()


def rendered(seen: Seen, augment: Augment, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A batch: pixels (count, 3, side, side), labels and kinds; half pictures, half cutouts.

    Kinds and harms of which there are many drawings come more often, but not so many times as often.
    """
    pictures, cutouts = seen.pictures, seen.cutouts
    some = torch.randint(len(pictures.labels), (count - count // 2,), generator=generator)
    sort = torch.where(cutouts.kinds >= 0, cutouts.kinds, -1 - cutouts.labels).cpu()
    _, which, counts = torch.unique(sort, return_inverse=True, return_counts=True)
    rare = counts[which].double().pow(-0.6) * torch.where(sort < 0, HARM, 1.0)
    few = torch.multinomial(rare, count // 2, replacement=True, generator=generator)
    some, few = some.to(pictures.labels.device), few.to(pictures.labels.device)
    placed = augment.place(cutouts.pixels[few], seen.has_one_colour[few])
    pixels = torch.cat([augment.shift(pictures.pixels[some]), placed])
    labels = torch.cat([pictures.labels[some], cutouts.labels[few]])
    return pixels, labels, torch.cat([pictures.kinds[some], cutouts.kinds[few]])


def renderings(seen: Seen, count: int, seed: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """So many renderings, in batches as `rendered` gives them; says now and then how many there are.

    Args:
        seen: What they are of.
        count: How many in all.
        seed: Of every choice; each batch has a source of its own.
        first: Number of the first; renderings of the same seed and number are the same.
    """
    started = time.monotonic()
    for done in range(0, count, RENDERED):
        drawn = seed * 1_000_003 + first + done
        size = min(RENDERED, count - done)
        yield rendered(seen, Augment(seen.grounds, drawn), size, torch.Generator().manual_seed(drawn))
        if done // RENDERED % 20 == 0:
            print(f"{done + size}/{count} renderings, {time.monotonic() - started:.0f} s", flush=True)


def train(
    learner: Learner, seen: Seen, checkpoint: Path, settings: Mapping[str, Any], every: int = 200
) -> tuple[Learner, list[dict[str, float]]]:
    """Train in place.

    Args:
        learner: What learns.
        seen: What it learns from.
        checkpoint: Where to keep how far it is; a file that is there is gone on from.
        settings: `steps`, `batch`, `rate` and `seed`.
        every: Steps from one checkpoint to the next.

    Returns:
        The running mean of the weights, and mean losses since the last checkpoint.

    Raises:
        SystemExit: The checkpoint is of other settings.
    """
    before, resting = copy.deepcopy(learner.tower).eval().requires_grad_(False), resting_half(learner.tower)
    mean = AveragedModel(learner, multi_avg_fn=get_ema_multi_avg_fn(MEAN_OVER))  # type: ignore[no-untyped-call]
    optimiser = torch.optim.AdamW(parts_of(learner, settings["rate"]), weight_decay=0.05)
    rates = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=settings["steps"] + 1, pct_start=0.1)
    history: list[dict[str, float]] = []
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True, map_location=seen.grounds.device)
        if kept["settings"] != dict(settings):
            raise SystemExit(f"{checkpoint} was made with {kept['settings']}, not {settings}; take another --out")
        for part, name in ((learner, "learner"), (mean, "mean"), (optimiser, "optimiser"), (schedule, "schedule")):
            part.load_state_dict(kept[name])
        history = kept["history"]
    done, started = int(history[-1]["step"]) if history else 0, time.monotonic()
    sums = torch.zeros(3, device=seen.grounds.device)
    for step in range(done + 1, settings["steps"] + 1):
        learner.train()
        seed = settings["seed"] * 1_000_003 + step  # of its own, so that a run that goes on needs no state
        torch.manual_seed(seed)
        augment = Augment(seen.grounds, seed)
        pixels, labels, kinds = rendered(seen, augment, settings["batch"], torch.Generator().manual_seed(seed))
        if step <= SMALL * settings["steps"]:
            pixels = F.interpolate(pixels, SMALL_SIDE, mode="bilinear")
        maps = first_half(resting, pixels)
        tokens, label, kind = learner(maps)
        with torch.no_grad():  # of a third, since it costs as much as half of learning from them
            said = second_half(before, maps[::3])
        losses = torch.stack(
            [
                F.cross_entropy(label, labels, label_smoothing=LABEL_SMOOTHING),
                F.cross_entropy(kind, kinds, ignore_index=IGNORED, label_smoothing=LABEL_SMOOTHING),
                (tokens[::3] - said).square().mean() / said.var(),
            ]
        )
        optimiser.zero_grad()
        (losses[0] + losses[1] + NEAR * losses[2]).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        mean.update_parameters(learner)
        sums += losses.detach()
        if step % every == 0 or step == settings["steps"]:
            label_loss, kind_loss, change = (sums / (step - done)).tolist()
            history.append({"step": step, "label": label_loss, "kind": kind_loss, "change": change})
            print(f"step {step}/{settings['steps']}: {history[-1]}, {time.monotonic() - started:.0f} s", flush=True)
            done = step
            sums.zero_()
            state = {"settings": dict(settings), "learner": learner.state_dict(), "mean": mean.state_dict(),
                     "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(),
                     "history": history}  # fmt: skip
            unfinished = checkpoint.with_suffix(".part")
            torch.save(state, unfinished)
            unfinished.replace(checkpoint)
    found = mean.module.eval()
    assert isinstance(found, Learner)
    return found, history


def parts_of(learner: Learner, rate: float) -> list[dict[str, Any]]:
    """Parameters that learn, with their peak rates: the tower's and the heads'."""
    heads = [p for name, p in learner.named_parameters() if not name.startswith("tower.")]
    return [{"params": [p for p in learner.tower.parameters() if p.requires_grad], "lr": rate},
            {"params": heads, "lr": 2e-3}]  # fmt: skip


@torch.inference_mode()
def held_out(learner: Learner, cutouts: Path, grounds: Tensor, renderings: int = 4) -> dict[str, float]:
    """Right kinds, right labels, and F1 of harm, of drawings and pictures of the calibration split."""
    rows, pixels = read_cutouts(cutouts, HELD_OUT)
    drawn = cutouts_of(rows, torch.from_numpy(pixels), grounds.device)
    has_one_colour = torch.tensor([row["has_one_colour"] for row in rows], device=grounds.device)
    augment = Augment(grounds, 0)
    resting = resting_half(learner.tower)
    placed = [augment.place(drawn.pixels, has_one_colour) for _ in range(renderings)]
    said = [learner(first_half(resting, pixels)) for pixels in placed]
    label, kind = (torch.cat([each[place] for each in said]) for place in (1, 2))
    found = _figures("cutouts", label, kind, drawn.labels.repeat(renderings), drawn.kinds.repeat(renderings))
    kind_of = {row["artwork"]: row["kind"] for row in rows if row["kind"]}
    pictures = read_pictures(load_data("open", HELD_OUT), kind_of, pixels.shape[-1])
    _, label, kind = learner(first_half(resting, pictures.pixels.to(grounds.device).float()))
    labels, kinds = pictures.labels.to(grounds.device), pictures.kinds.to(grounds.device)
    return found | _figures("pictures", label, kind, labels, kinds)


def _figures(name: str, label: Tensor, kind: Tensor, labels: Tensor, kinds: Tensor) -> dict[str, float]:
    is_kind = kinds >= 0
    harm, said = labels > 0, label.softmax(-1)[:, 0] < 0.5
    return {
        f"{name}: kinds right": (kind.argmax(-1) == kinds)[is_kind].float().mean().item(),
        f"{name}: labels right": (label.argmax(-1) == labels).float().mean().item(),
        f"{name}: F1": (2 * (harm & said).sum() / (harm.sum() + said.sum())).item(),
    }


if __name__ == "__main__":
    main()
