"""Does Pocket see? Three figures for its model card, on art it was never trained on.

    python perf/pocket_seeing.py --art DIR [--json] [--out docs/results/pocket.json]

1. Picking the right one of four names by the model's own likelihood: mean log-probability of the name's tokens after
   "What is this?", less the same under the mean of all pictures (else common words win). Chance is 25 %.
2. Naming in free text: the greedy answer to "What is this?" holds the name or a synonym of it.
3. A hundred questions (perf/data/pocket_questions.jsonl): the greedy answer holds an accepted word.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from research.holisafe_open.kinds import load_kinds
from research.pocket.drawings import TRAINING_COLLECTIONS, training_name
from research.pocket.things import things
from scipy.stats import binomtest
from torch import Tensor

from holisafe.errors import DataError
from holisafe.models import load
from research.holisafe_open.art import Artwork, load_art, render, split_of

QUESTIONS = Path(__file__).parent / "data" / "pocket_questions.jsonl"
UNSEEN_ART = ("openclipart", "game-icons", "healthicons")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--art", type=Path, required=True, help="folder with the art collections")
    parser.add_argument("--model", default="pocket", help="pocket, pocket-safe, or a folder of `holisafe tune`")
    parser.add_argument("--only", nargs="*", choices=MEANINGS, help="these figures; all if not given")
    parser.add_argument("--limit", type=int, default=600, help="artworks per naming figure")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="write the JSON object here too")
    parser.add_argument("--card", type=Path, help="put the table between the markers of this file (docs/pocket.md)")
    parser.add_argument("--show", type=int, default=0, help="print this many answers of each kind to standard error")
    args = parser.parse_args()
    art = load_art(args.art, (*UNSEEN_ART, "noto"))
    others = [name for name in TRAINING_COLLECTIONS if name != "openclipart"]
    words = {word for a in load_art(args.art, others).values() for word in a.name.split()}
    named = {a.id: training_name(a, words) for a in art.values()}
    test = [a for a in art.values() if split_of(a) == "test" and named[a.id]]
    transfer = [a for a in art.values() if split_of(a) == "transfer" and named[a.id] in things(args.art)]
    vlm = Pocket(args.model)
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "pick_unseen_art": lambda: pick_of_four(
            vlm, sample([a for a in test if named[a.id] in things(args.art)], args.limit), named
        ),
        "pick_unseen_art_any_name": lambda: pick_of_four(vlm, sample(test, args.limit), named),
        "pick_unseen_collection": lambda: pick_of_four(vlm, sample(transfer, args.limit), named),
        "naming_common_kinds": lambda: naming(vlm, art, args.limit, args.show),
        "questions": lambda: questions(vlm, art, args.show),
    }
    figures = {name: way() for name, way in ways.items() if not args.only or name in args.only}
    text = json.dumps(figures, indent=2)
    if args.out:
        args.out.write_text(text + "\n")
    if args.card and not args.only:
        fill_card(args.card, figures)
    if args.json:
        print(text)
        return
    for name, figure in figures.items():
        print(f"{name:24} {figure['value']:.1%}  [{figure['low']:.1%}, {figure['high']:.1%}]  n = {figure['n']}")


MEANINGS = {
    "pick_unseen_art": "right one of four names, drawings of things never trained on (chance 25 %)",
    "pick_unseen_art_any_name": "the same, drawings of actions and ideas too",
    "pick_unseen_collection": "right one of four names, a collection never trained on (Noto; chance 25 %)",
    "naming_common_kinds": "names the object in free text, common kinds, synonyms counted",
    "questions": "answers a written question about a picture on the point",
}


def fill_card(card: Path, figures: dict[str, dict[str, Any]]) -> None:
    """Write the figures as a table into the model card."""
    before, rest = card.read_text(encoding="utf-8").split("<!-- seeing:begin -->")
    _, after = rest.split("<!-- seeing:end -->")
    rows = [
        f"| {MEANINGS[name]} | {f['value']:.1%} | {f['low']:.1%} to {f['high']:.1%} | {f['n']} |"
        for name, f in figures.items()
    ]
    table = "\n".join(["| what | share | interval | n |", "|---|---|---|---|", *rows])
    card.write_text(f"{before}<!-- seeing:begin -->\n{table}\n<!-- seeing:end -->{after}", encoding="utf-8")


class Pocket:
    """The model with what the three measurements need of it."""

    def __init__(self, name: str) -> None:
        self.model, self.processor = load(name)
        self.tokenizer = self.processor.tokenizer

    def prompt(self, question: str) -> str:
        """The chat template around one image and a question."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        turn = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(turn, add_generation_prompt=True))

    @torch.inference_mode()
    def answers(self, images: Sequence[Image.Image], asked: Sequence[str], max_new_tokens: int = 32) -> list[str]:
        """Greedy answers, one per image and question."""
        texts: list[str] = []
        for start in range(0, len(images), 32):
            prompts = [self.prompt(question) for question in asked[start : start + 32]]
            inputs = self.processor(
                text=prompts, images=list(images[start : start + 32]), padding=True, return_tensors="pt"
            )
            output = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
            texts += self.tokenizer.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        return texts

    @torch.inference_mode()
    def visual(self, images: Sequence[Image.Image]) -> Tensor:
        """Projected visual tokens (images, tokens, hidden)."""
        pixels = self.processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        return torch.cat(
            [
                torch.stack(list(self.model.get_image_features(pixels[i : i + 32]).pooler_output))
                for i in range(0, len(pixels), 32)
            ]
        )

    @torch.inference_mode()
    def log_likelihood(self, visual: Tensor, answers: Sequence[Sequence[str]]) -> Tensor:
        """Mean log-probability of each answer's tokens after its picture.

        Takes visual (pictures, tokens, hidden) and equally many answers for each picture; gives (pictures, answers).
        The prompt is run once for each picture.
        """
        head = self.processor(text=self.prompt("What is this?"), images=Image.new("RGB", (8, 8)), return_tensors="pt")
        ids = head.input_ids.expand(len(visual), -1)
        embeddings = self.model.get_input_embeddings()(ids)
        is_image = (ids == self.model.config.image_token_id)[..., None].expand_as(embeddings)
        embeddings = embeddings.masked_scatter(is_image, visual.to(embeddings.dtype))
        prompt = self.model(inputs_embeds=embeddings, use_cache=True, logits_to_keep=1)
        rows = [self.tokenizer(answer).input_ids for several in answers for answer in several]
        longest = max(map(len, rows))
        answer = torch.tensor([row + [2] * (longest - len(row)) for row in rows])
        each = len(rows) // len(visual)
        cache = prompt.past_key_values
        cache.batch_repeat_interleave(each)
        rest = self.model(input_ids=answer[:, :-1], past_key_values=cache).logits
        logits = torch.cat([prompt.logits.repeat_interleave(each, 0), rest], dim=1)
        scores = logits.log_softmax(-1).gather(-1, answer[..., None])[..., 0]  # (rows, longest)
        kept = torch.tensor([[1.0] * len(row) + [0.0] * (longest - len(row)) for row in rows])
        return ((scores * kept).sum(1) / kept.sum(1)).view(len(visual), each)


def pick_of_four(vlm: Pocket, artworks: Sequence[Artwork], named: dict[str, str]) -> dict[str, Any]:
    """Share of artworks whose own name is likeliest among four different ones."""
    rng = np.random.default_rng(0)
    shown = [(a, image) for a in artworks if (image := picture(a)) is not None]
    names = sorted({named[a.id] for a, _ in shown})
    visual = vlm.visual([image for _, image in shown])
    mean = visual.mean(0, keepdim=True)
    answers = [sentence(name) for name in names]
    parts = [answers[i : i + 64] for i in range(0, len(answers), 64)]
    prior = torch.cat([vlm.log_likelihood(mean, [part])[0] for part in parts])
    right = 0
    for start in range(0, len(shown), 16):
        choices = []
        for artwork, _ in shown[start : start + 16]:
            own = names.index(named[artwork.id])
            others = [j for j in rng.permutation(len(names)) if not set(names[j].split()) & set(names[own].split())][:3]
            choices.append([own, *others])
        scores = (
            vlm.log_likelihood(visual[start : start + 16], [[answers[j] for j in four] for four in choices])
            - prior[torch.tensor(choices)]
        )
        right += int((scores.argmax(1) == 0).sum())
    return figure(right, len(shown))


def naming(vlm: Pocket, art: dict[str, Artwork], limit: int, show: int) -> dict[str, Any]:
    """Share of unseen artworks of common kinds whose free-text name is right."""
    asked = [
        (kind, art[key])
        for kind in load_kinds().values()
        for key in kind.artworks
        if key in art and split_of(art[key]) in {"test", "transfer"}
    ]
    rng = np.random.default_rng(0)
    asked = [asked[i] for i in sorted(rng.permutation(len(asked))[:limit])]
    shown = [(kind, a, image) for kind, a in asked if (image := picture(a)) is not None]
    texts = vlm.answers([image for *_, image in shown], ["What is this?"] * len(shown), 16)
    right = [holds(text, (kind.name, *kind.synonyms)) for (kind, *_), text in zip(shown, texts, strict=True)]
    for (kind, a, _), text, ok in list(zip(shown, texts, right, strict=True))[:show]:
        print(f"{'right' if ok else 'wrong'} {kind.name} ({a.id}): {text}", file=sys.stderr)
    return figure(sum(right), len(right))


def questions(vlm: Pocket, art: dict[str, Artwork], show: int) -> dict[str, Any]:
    """Share of the hundred questions answered on the point."""
    rows = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    images = [picture(art[row["artwork"]]) for row in rows]
    texts = vlm.answers([image for image in images if image is not None], [row["question"] for row in rows])
    right = [
        any(re.search(rf"\b{re.escape(word)}", text.lower()) for word in row["accept"])
        for row, text in zip(rows, texts, strict=True)
    ]
    for row, text, ok in list(zip(rows, texts, right, strict=True))[:show]:
        print(f"{'right' if ok else 'wrong'} {row['artwork']} {row['question']} {text}", file=sys.stderr)
    return figure(sum(right), len(right))


def picture(artwork: Artwork) -> Image.Image | None:
    """The artwork in the middle of a white square; None where it cannot be drawn."""
    try:
        drawn = render(artwork, 216, colour="#202020")
    except DataError:
        return None
    canvas = Image.new("RGB", (256, 256), "white")
    canvas.paste(drawn, ((256 - drawn.width) // 2, (256 - drawn.height) // 2), drawn.getchannel("A"))
    return canvas


def sample(artworks: Sequence[Artwork], limit: int) -> list[Artwork]:
    """At most `limit` of them, always the same."""
    rng = np.random.default_rng(0)
    return [artworks[i] for i in sorted(rng.permutation(len(artworks))[:limit])]


def sentence(name: str) -> str:
    """The answer that names it."""
    from research.pocket.answers import with_article

    return f"This is {with_article(name)}."


def holds(text: str, names: Sequence[str]) -> bool:
    """Whether a text holds one of the names as whole words, plural allowed."""
    return any(re.search(rf"\b{re.escape(name.lower())}(s|es)?\b", text.lower()) for name in names)


def figure(right: int, n: int) -> dict[str, Any]:
    """A share with its 95 % interval (Wilson)."""
    interval = binomtest(right, n).proportion_ci(method="wilson")
    return {"value": right / n, "low": interval.low, "high": interval.high, "n": n}


if __name__ == "__main__":
    main()
