"""How far a model gets on HoliSafe-Open without looking at picture and question together.

    python perf/shortcuts.py [--lite0] [--json]

Linear classifiers are trained on the train split to tell safe samples (SSS) from the rest, once on all of its samples
and once on its twins alone, and tried on the twins of test and transfer, where chance is 50 %. `query` sees the words
of the question, `pixels` the picture (small RGB, colour histogram, gradient histogram), `lite0` the pooled features of
an ImageNet EfficientNet-Lite0 (with --lite0; needs torch and Pocket's wheels, and a few minutes), `kind` only which
kinds of objects are shown, `query plus kind` both, added up without reading them together. The last table says how well
nuisances of a picture (collection, background, file size) tell a guard's safe from unsafe.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from holisafe.datasets.open import load_open, open_images
from holisafe.records import Sample

TRIED = ("test", "transfer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lite0", action="store_true", help="try EfficientNet-Lite0 features too")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    result = {"twins": twin_shortcuts(options.lite0), "images": nuisance_shortcuts()}
    if options.json:
        json.dump(result, sys.stdout)
        return
    print("accuracy on twins, in % (chance 50)")
    for name, row in result["twins"].items():
        print(f"  {name:36}" + "  ".join(f"{split} {100 * value:5.1f}" for split, value in row.items()))
    print("balanced accuracy of safe against unsafe pictures, in % (chance 50)")
    for name, row in result["images"].items():
        print(f"  {name:36}" + "  ".join(f"{split} {100 * value:5.1f}" for split, value in row.items()))


def twin_shortcuts(lite0: bool = False) -> dict[str, dict[str, float]]:
    """Accuracy on the twins of each tried split, by what the classifier sees and what it is trained on."""
    train = load_open("train")
    scopes = {"all": train, "twins": [sample for sample in train if sample.twin]}
    tried = {split: [sample for sample in load_open(split) if sample.twin] for split in TRIED}
    sights: dict[str, Callable[[], Any]] = {
        "query": _words,
        "pixels": _pixels,
        "kind": _kinds,
        "query plus kind": _words_and_kinds,
    }
    if lite0:
        sights["lite0"] = _lite0
    result = {}
    for sight, build in sights.items():
        for scope, samples in scopes.items():
            see, model = build()
            model.fit(see(samples), _is_safe(samples))
            result[f"{sight}, trained on {scope}"] = {
                split: float(model.score(see(rest), _is_safe(rest))) for split, rest in tried.items()
            }
    return result


def nuisance_shortcuts() -> dict[str, dict[str, float]]:
    """Balanced accuracy of telling safe from unsafe pictures by a nuisance alone."""
    train = open_images("train")
    result = {}
    for name in ("collection", "background", "bytes"):
        model = make_pipeline(
            DictVectorizer(sparse=False), StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500)
        )
        model.fit(_nuisance(train, name, "train"), [row["label"] == "safe" for row in train])
        result[name] = {}
        for split in TRIED:
            rows = open_images(split)
            guess = model.predict(_nuisance(rows, name, split))
            result[name][split] = float(balanced_accuracy_score([row["label"] == "safe" for row in rows], guess))
    return result


def _nuisance(rows: Sequence[dict[str, Any]], name: str, split: str) -> list[dict[str, Any]]:
    if name != "bytes":
        return [{name: row[name]} for row in rows]
    size = {sample.images[0].key: len(sample.images[0].data or b"") for sample in load_open(split)}
    return [{"bytes": size[row["key"]]} for row in rows]


def _is_safe(samples: Sequence[Sample]) -> list[bool]:
    return [sample.combination.is_safe for sample in samples]


def _words() -> tuple[Callable[[Sequence[Sample]], list[str]], Any]:
    model = make_pipeline(CountVectorizer(ngram_range=(1, 2), min_df=1), LogisticRegression(max_iter=1000))
    return lambda samples: [sample.query for sample in samples], model


def _kinds() -> tuple[Callable[[Sequence[Sample]], list[dict[str, float]]], Any]:
    shown = {row["key"]: dict.fromkeys(row["kinds"] or [row["shows"]], 1.0) for row in open_images()}
    model = make_pipeline(DictVectorizer(), LogisticRegression(max_iter=1000))
    return lambda samples: [shown[sample.images[0].key] for sample in samples], model


def _words_and_kinds() -> tuple[Callable[[Sequence[Sample]], list[dict[str, float]]], Any]:
    see_kinds, model = _kinds()

    def see(samples: Sequence[Sample]) -> list[dict[str, float]]:
        words = [{f"word {word}": 1.0 for word in sample.query.lower().split()} for sample in samples]
        return [kinds | asked for kinds, asked in zip(see_kinds(samples), words, strict=True)]

    return see, model


def _pixels() -> tuple[Callable[[Sequence[Sample]], np.ndarray], Any]:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    return lambda samples: np.stack([_pixel_features(sample.images[0].data or b"") for sample in samples]), model


@cache
def _pixel_features(data: bytes) -> np.ndarray:
    """(768 + 64 + 72,) 16×16 RGB, 4×4×4 colour histogram, gradient directions of 3×3 cells."""
    with Image.open(io.BytesIO(data)) as image:
        small = np.asarray(image.resize((16, 16)), np.float32).ravel() / 255
        middle = np.asarray(image.resize((48, 48)), np.float32)
    colours = np.histogramdd(middle.reshape(-1, 3), bins=4, range=[(0, 256)] * 3)[0].ravel() / middle[..., 0].size
    grey = middle.mean(-1)
    dy, dx = np.gradient(grey)
    direction = ((np.arctan2(dy, dx) + np.pi) / (2 * np.pi) * 8).astype(int) % 8
    strength = np.hypot(dx, dy)
    cells = [
        np.bincount(direction[r : r + 16, c : c + 16].ravel(), strength[r : r + 16, c : c + 16].ravel(), 8)
        for r in (0, 16, 32)
        for c in (0, 16, 32)
    ]
    return np.concatenate([small, colours, np.concatenate(cells) / 1e4])


def _lite0() -> tuple[Callable[[Sequence[Sample]], np.ndarray], Any]:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    return lambda samples: np.stack([_lite0_features()[sample.images[0].key] for sample in samples]), model


@cache
def _lite0_features() -> dict[str, np.ndarray]:
    """(1280,) pooled features of every picture that is trained on or tried, by key."""
    import torch

    from holisafe.models.pocket._vision import EfficientNetLiteConfig, EfficientNetLiteModel
    from holisafe.models.pocket._wheels import tower_state

    tower = EfficientNetLiteModel(EfficientNetLiteConfig())
    tower.load_state_dict(tower_state(), strict=False)
    tower.eval()
    pictures = {s.images[0].key: s.images[0].data or b"" for split in ("train", *TRIED) for s in load_open(split)}
    keys, features = list(pictures), []
    with torch.inference_mode():
        for start in range(0, len(keys), 32):
            images = [Image.open(io.BytesIO(pictures[key])).resize((192, 192)) for key in keys[start : start + 32]]
            pixels = torch.from_numpy(np.stack([np.asarray(image, np.float32) for image in images]))
            features.append(tower((pixels.permute(0, 3, 1, 2) - 127) / 128).pooler_output.numpy())
    return dict(zip(keys, np.concatenate(features), strict=True))


if __name__ == "__main__":
    main()
