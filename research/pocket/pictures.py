"""Training pictures with the tower's visual tokens computed once: single drawings and scenes of several."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from holisafe.models.pocket._vision import EfficientNetLiteConfig, EfficientNetLiteModel
from research.holisafe_open.kinds import load_kinds
from research.pocket.align import normalise
from research.pocket.drawings import TRAINING_COLLECTIONS, Drawing, Painter, load_drawings

PLACES = {
    (0.26, 0.28): "top left",
    (0.74, 0.28): "top right",
    (0.26, 0.72): "bottom left",
    (0.74, 0.72): "bottom right",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture shows: names of its objects, where each is (empty for a single one), and its kind, if common."""

    names: tuple[str, ...]
    places: tuple[str, ...] = ()
    kind: str = ""


def main() -> None:
    """Paint the pictures, run the tower over them, and store tokens and descriptions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder with align.safetensors; gets pictures.*")
    parser.add_argument(
        "--renderings", type=int, default=3, help="single pictures per drawing; thrice for common kinds"
    )
    parser.add_argument("--scenes", type=int, default=6000)
    args = parser.parse_args()
    drawings = load_drawings(args.art, {"train"}, TRAINING_COLLECTIONS)
    # bfloat16 convolutions are several times as fast; batch norm keeps its float32 statistics
    tower = aligned_tower(args.out / "align.safetensors").to(torch.bfloat16)
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.float()
    kinds = {artwork: kind.name for kind in load_kinds().values() for artwork in kind.artworks}
    jobs: list[tuple[int, ...]] = [
        (i,)
        for i, drawing in enumerate(drawings)
        for _ in range(args.renderings * (3 if drawing.artwork.id in kinds else 1))
    ]
    rng = np.random.default_rng(1)
    for count in rng.choice([2, 2, 3, 4], args.scenes):
        jobs.append(tuple(int(i) for i in rng.choice(len(drawings), int(count), replace=False)))
    features = np.lib.format.open_memmap(
        args.out / "pictures.npy",
        mode="w+",
        dtype=np.float16,
        shape=(len(jobs), tower.config.num_tokens, tower.config.hidden_size),
    )
    pictures: list[Picture] = []
    started = time.monotonic()
    for start in range(0, len(jobs), 64):
        painted = [
            paint(Painter(192, np.random.default_rng((7, start + k))), [drawings[i] for i in job], kinds)
            for k, job in enumerate(jobs[start : start + 64])
        ]
        features[start : start + 64] = visual_tokens(tower, np.stack([pixels for pixels, _ in painted])).numpy()
        pictures += [picture for _, picture in painted]
        if start % 3200 == 0:
            print(f"{start}/{len(jobs)} pictures, {time.monotonic() - started:.0f} s", flush=True)
    (args.out / "pictures.json").write_text(json.dumps([asdict(p) for p in pictures]))


def paint(painter: Painter, drawings: list[Drawing], kinds: Mapping[str, str]) -> tuple[NDArray[np.uint8], Picture]:
    """A picture of the drawings and what it shows; drawings of a common kind go by the kind's name."""
    names = tuple(kinds.get(drawing.artwork.id, drawing.name) for drawing in drawings)
    if len(drawings) == 1:
        return painter.one(drawings[0]), Picture(names, kind=kinds.get(drawings[0].artwork.id, ""))
    if len(drawings) == 2:
        cells, places = [(0.27, 0.5), (0.73, 0.5)], ["left", "right"]
    else:
        chosen = sorted(painter.rng.choice(4, len(drawings), replace=False))
        cells = [list(PLACES)[i] for i in chosen]
        places = [PLACES[cell] for cell in cells]
    return painter.scene(drawings, cells), Picture(names, tuple(places))


def aligned_tower(path: Path) -> EfficientNetLiteModel:
    """The tower of stage 1, in evaluation mode."""
    tower = EfficientNetLiteModel(EfficientNetLiteConfig())
    prefix = "tower."
    tower.load_state_dict({k[len(prefix) :]: v for k, v in load_file(path).items() if k.startswith(prefix)})
    tower.eval().to(memory_format=torch.channels_last)
    return tower


@torch.inference_mode()
def visual_tokens(tower: EfficientNetLiteModel, pixels: NDArray[np.uint8]) -> Tensor:
    """(batch, side, side, 3) uint8 to the tower's tokens (batch, tokens, hidden) in float16."""
    tokens: Tensor = tower(normalise(torch.from_numpy(pixels))).last_hidden_state
    return tokens.half()


def read_pictures(folder: Path) -> tuple[NDArray[np.float16], list[Picture]]:
    """Stored tokens (pictures, tokens, hidden), memory-mapped, and what the pictures show."""
    rows = json.loads((folder / "pictures.json").read_text())
    pictures = [Picture(tuple(row["names"]), tuple(row["places"]), row["kind"]) for row in rows]
    return np.load(folder / "pictures.npy", mmap_mode="r"), pictures


if __name__ == "__main__":
    main()
