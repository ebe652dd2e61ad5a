"""What the language model itself says of the things that drawings show: the answers it shall give when it sees them.

Pocket is thus taught to see, not to know more or to judge otherwise than SmolLM2 does on the same words.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import load_file

from holisafe.models.pocket._assemble import build_model, build_processor
from holisafe.models.pocket._load import VISION_FILE, pocket_weights
from research.holisafe_open.kinds import load_kinds
from research.pocket.drawings import TRAINING_COLLECTIONS, named_artworks

QUESTIONS: dict[str, str] = {
    "use": "What is {name} used for, or what is it good for?",
    "fact": "Tell me one interesting thing about {name}.",
    "place": "Where would I usually find {name}?",
    "caption": "Write a short, cheerful caption for a picture of {name}.",
}
"""Asked in words; `instructions.ASKED_OF_A_PICTURE` has the same questions as asked of a picture."""


def main() -> None:
    """Ask about every name that at least two drawings carry, commonest first; the same command resumes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the art collections")
    parser.add_argument("--out", type=Path, required=True, help="folder that gets answers.jsonl")
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    names = frequent_names(args.art)
    path = args.out / "answers.jsonl"
    done = (
        {(row["name"], row["kind"]) for row in map(json.loads, path.read_text().splitlines())}
        if path.exists()
        else set()
    )
    asked = [
        (n, kind)
        for i, n in enumerate(names)
        for j, kind in enumerate(QUESTIONS)
        if (i + j) % 4 != 3 and (n, kind) not in done
    ]
    tokenizer = build_processor().tokenizer
    # the language model before any adapter, with its weights unpacked
    model = build_model(load_file(pocket_weights() / VISION_FILE)).to(torch.bfloat16).eval()
    with path.open("a") as file:
        for start in range(0, len(asked), args.batch):
            batch = asked[start : start + args.batch]
            prompts = [
                "<|im_start|>system\nYou answer in one short, plain sentence.<|im_end|>\n"
                f"<|im_start|>user\n{QUESTIONS[kind].format(name=with_article(name))}<|im_end|>\n<|im_start|>assistant\n"
                for name, kind in batch
            ]
            inputs = tokenizer(prompts, padding=True, return_tensors="pt")
            with torch.inference_mode():
                output = model.generate(**inputs, max_new_tokens=36, do_sample=False, repetition_penalty=1.05)
            for (name, kind), tokens in zip(batch, output[:, inputs.input_ids.shape[1] :], strict=True):
                answer = first_sentence(tokenizer.decode(tokens, skip_special_tokens=True))
                file.write(json.dumps({"name": name, "kind": kind, "answer": answer}) + "\n")
            file.flush()
            print(f"{start + len(batch)}/{len(asked)}", flush=True)


def frequent_names(art_dir: Path) -> list[str]:
    """Names, of kinds where a drawing is of a common kind, that at least two drawings carry; commonest first."""
    kinds = {artwork: kind.name for kind in load_kinds().values() for artwork in kind.artworks}
    named = named_artworks(art_dir, {"train"}, TRAINING_COLLECTIONS)
    counts = Counter(kinds.get(artwork.id, name) for artwork, name in named)
    return sorted((name for name, count in counts.items() if count >= 2), key=lambda name: (-counts[name], name))


def first_sentence(text: str) -> str:
    """The first whole sentence; empty where there is none or it is longer than 200 characters."""
    match = re.match(r'\s*"?([^\n"]{8,200}?[.!?])(\s|"|$)', text)
    return match.group(1).strip() if match else ""


_PLURAL = re.compile(r"(?<![su])s$")
_NO_ARTICLE = {
    "scissors",
    "sunglasses",
    "grapes",
    "candy",
    "bread",
    "butter",
    "lightning",
    "rice",
    "money",
    "water",
    "fire",
    "snow",
    "cheese",
    "milk",
    "corn",
    "soap",
    "garlic",
    "ginger",
    "honey",
    "salt",
    "sushi",
    "spaghetti",
    "bacon",
    "popcorn",
    "hair",
    "fog",
    "rain",
    "wind",
    "meat",
    "chocolate",
    "dna",
    "fries",
    "pants",
    "jeans",
    "gloves",
    "socks",
    "shoes",
}


def with_article(name: str) -> str:
    """The name as it stands in a sentence: "a carrot", "an umbrella", "scissors"."""
    last = name.split()[-1]
    if last in _NO_ARTICLE or (_PLURAL.search(last) and last not in {"gas", "cross", "glass", "dress", "chess"}):
        return name
    return f"{'an' if name[0] in 'aeio' or name.startswith('um') else 'a'} {name}"


if __name__ == "__main__":
    main()
