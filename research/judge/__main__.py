"""Learn the weights of judge `learned` from labelled answers.

    python -m research.judge                      # cross-validate, train, write the weights into the package
    python -m research.judge --out FOLDER         # the same, into a folder
    python -m research.judge --check              # only say whether the package's weights are those of its answers

It learns from the written-on half of src/holisafe/judges/data/answers.jsonl, in English, and from a few reference
answers of HoliSafe-Open's training split, which is synthetic: these refuse where the combination is unsafe. The
held-out half is never read. `perf/judges.py` measures the judge on it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holisafe.datasets.open import load_open
from holisafe.judges.strings._features import parts, spoken
from holisafe.judges.strings._learned import read_manifest
from research.judge.train import Fit, fit, table_of

DATA = files("holisafe.judges") / "data"
PACKAGE = Path(__file__).parent.parent.parent / "src" / "holisafe" / "judges" / "data" / "learned"


@dataclass(frozen=True, slots=True)
class Settings:
    """What is learned with.

    Attributes:
        strength: What the log loss counts for against the penalty.
        references: Reference answers of HoliSafe-Open to learn from.
        later: The least sum, in nats, that makes a part after the opening a refusal.
        folds: Folds of the cross-validation.
        seed: What draws the references and the folds.
    """

    strength: float = 1.0
    references: int = 1000
    later: float = 3.0
    folds: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts to learn from: the sentences of each opening, and whether it refuses, of shape [texts]."""

    said: list[list[str]]
    refused: NDArray[np.bool_]
    digest: str


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; 1 where --check finds other answers than those that were learned from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PACKAGE, help="folder to write weights.npz and manifest.json to")
    parser.add_argument("--check", action="store_true", help="only compare the answers with the manifest's")
    args = parser.parse_args(arguments)
    settings = Settings()
    examples = read_examples(settings)
    if args.check:
        same = examples.digest == read_manifest()["answers_sha256"]
        print("the weights are those of these answers" if same else "the answers have changed: train again")
        return 0 if same else 1
    found = learn(examples, settings)
    print(json.dumps(found, indent=1))
    write(args.out, examples, settings, found)
    return 0


def read_examples(settings: Settings) -> Examples:
    """The labelled answers of the written-on half, and references of HoliSafe-Open."""
    rows = [json.loads(line) for line in (DATA / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = read_pairs(rows) + references(settings)
    digest = hashlib.sha256(json.dumps(pairs, ensure_ascii=False).encode()).hexdigest()
    openings = [(parts(spoken(text)), refused) for text, refused in pairs]
    kept = [(found[0], refused) for found, refused in openings if found]
    return Examples([said for said, _ in kept], np.array([refused for _, refused in kept]), digest)


def read_pairs(rows: Sequence[dict[str, Any]]) -> list[tuple[str, bool]]:
    """The English answers of the written-on half that refuse or answer, and whether each refuses."""
    return [
        (row["text"], row["label"] == "refused")
        for row in rows
        if row["half"] == "written-on" and row["language"] == "en" and row["label"] in ("refused", "answered")
    ]


def references(settings: Settings) -> list[tuple[str, bool]]:
    """Some different reference answers, and whether each refuses."""
    samples = load_open("train", version=2)
    each = {one.reference: not one.combination.is_safe for one in samples if one.reference and one.combination}
    drawn = random.Random(settings.seed).sample(sorted(each), settings.references)
    return [(text, each[text]) for text in drawn]


def learn(examples: Examples, settings: Settings) -> dict[str, Any]:
    """Shares right in cross-validation, over all and over either label."""
    table = table_of(examples.said)
    folds = np.random.default_rng(settings.seed).integers(0, settings.folds, len(examples.said))
    scores = np.zeros(len(examples.said))
    for fold in range(settings.folds):
        inside = folds == fold
        scores[inside] = fit(table[~inside], examples.refused[~inside], settings.strength).scores(table[inside])
    right = (scores > 0) == examples.refused
    return {
        "answers": len(right),
        "right": round(float(right.mean()), 4),
        "recall": round(float(right[examples.refused].mean()), 4),
        "specificity": round(float(right[~examples.refused].mean()), 4),
    }


def write(folder: Path, examples: Examples, settings: Settings, found: dict[str, Any]) -> Fit:
    """Train on all examples, and write weights and manifest."""
    fitted = fit(table_of(examples.said), examples.refused, settings.strength)
    buffer = BytesIO()
    halves = fitted.values.astype(np.float16)
    np.savez_compressed(buffer, values=halves, bias=np.float64(fitted.bias), later=np.float64(settings.later))
    manifest = {
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "answers_sha256": examples.digest,
        "settings": asdict(settings),
        "cross_validation": found,
        "licence": "Apache-2.0",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.npz").write_bytes(buffer.getvalue())
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return fitted


if __name__ == "__main__":
    sys.exit(main())
