"""How far a model gets on HoliSafe-Open without looking at picture and question together.

    python perf/shortcuts.py [--features MODEL] [--json]

Linear classifiers are trained on the train split to tell safe samples (SSS) from the rest, once on all of its samples
and once on its twins alone, and tried on the twins of test and transfer, where chance is 50 %. `query` and
`pixels` are the blind baselines of `holisafe blind`; with --features, a model's visual tokens are tried too (minutes).
`kind` sees only which kinds of objects are shown, `query plus kind` both, added up without reading them together. The
last table says how well
nuisances of a picture (collection, background, file size) tell a guard's safe from unsafe.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from holisafe.blind import (
    ImageFeatures,
    image_classifier,
    model_features,
    pixel_features,
    question_classifier,
    question_text,
)
from holisafe.datasets.open import load_open, open_images
from holisafe.images import open_image
from holisafe.records import ImageRef, Sample

VERSION, TRIED = 2, ("test", "transfer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", metavar="MODEL", help="try the visual tokens of a model too, e.g. pocket")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    result = {"twins": twin_shortcuts(options.features), "images": nuisance_shortcuts()}
    if options.json:
        json.dump(result, sys.stdout)
        return
    print("accuracy on twins, in % (chance 50)")
    for name, row in result["twins"].items():
        print(f"  {name:36}" + "  ".join(f"{split} {100 * value:5.1f}" for split, value in row.items()))
    print("balanced accuracy of safe against unsafe pictures, in % (chance 50)")
    for name, row in result["images"].items():
        print(f"  {name:36}" + "  ".join(f"{split} {100 * value:5.1f}" for split, value in row.items()))


def twin_shortcuts(model: str | None = None) -> dict[str, dict[str, float]]:
    """Accuracy on the twins of each tried split, by what the classifier sees and what it is trained on."""
    train = load_open("train", version=VERSION)
    scopes = {"all": train, "twins": [sample for sample in train if sample.twin]}
    tried = {split: [sample for sample in load_open(split, version=VERSION) if sample.twin] for split in TRIED}
    sights: dict[str, Callable[[], Any]] = {
        "query": lambda: (lambda samples: [question_text(sample) for sample in samples], question_classifier()),
        "pixels": lambda: _images(pixel_features()),
        "kind": _kinds,
        "query plus kind": _words_and_kinds,
    }
    if model is not None:
        sights[model] = lambda: _images(model_features(model))
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
    train = open_images("train", version=VERSION)
    result = {}
    for name in ("collection", "background", "bytes"):
        model = make_pipeline(
            DictVectorizer(sparse=False), StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500)
        )
        model.fit(_nuisance(train, name, "train"), [row["label"] == "safe" for row in train])
        result[name] = {}
        for split in TRIED:
            rows = open_images(split, version=VERSION)
            guess = model.predict(_nuisance(rows, name, split))
            result[name][split] = float(balanced_accuracy_score([row["label"] == "safe" for row in rows], guess))
    return result


def _nuisance(rows: Sequence[dict[str, Any]], name: str, split: str) -> list[dict[str, Any]]:
    if name != "bytes":
        return [{name: row[name]} for row in rows]
    size = {sample.images[0].key: len(sample.images[0].data or b"") for sample in load_open(split, version=VERSION)}
    return [{"bytes": size[row["key"]]} for row in rows]


def _is_safe(samples: Sequence[Sample]) -> list[bool]:
    return [sample.combination.is_safe for sample in samples]


def _kinds() -> tuple[Callable[[Sequence[Sample]], list[dict[str, float]]], Any]:
    shown = {row["key"]: dict.fromkeys(row["kinds"] or [row["shows"]], 1.0) for row in open_images(version=VERSION)}
    model = make_pipeline(DictVectorizer(), LogisticRegression(max_iter=1000))
    return lambda samples: [shown[sample.images[0].key] for sample in samples], model


def _words_and_kinds() -> tuple[Callable[[Sequence[Sample]], list[dict[str, float]]], Any]:
    see_kinds, model = _kinds()

    def see(samples: Sequence[Sample]) -> list[dict[str, float]]:
        words = [{f"word {word}": 1.0 for word in sample.query.lower().split()} for sample in samples]
        return [kinds | asked for kinds, asked in zip(see_kinds(samples), words, strict=True)]

    return see, model


def _images(features: ImageFeatures) -> tuple[Callable[[Sequence[Sample]], np.ndarray], Any]:
    @cache
    def read(image: ImageRef) -> np.ndarray:
        return features.read(open_image(image))

    return lambda samples: np.stack([read(sample.images[0]) for sample in samples]), image_classifier()


if __name__ == "__main__":
    main()
