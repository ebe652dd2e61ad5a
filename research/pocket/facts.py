"""Safe Pocket, third stage: the language model learns what is right for which thing, before pictures show it any.

Whether a request is right for a carrot and wrong for a chocolate bar has to be known, and a pair of samples tells two
such facts in a hundred tokens. Here a question is read once, and after it each thing that its frame knows of ("This is
a carrot, so"), as a branch that sees the question and no other branch. What comes after "so" is all that is learned.
Facts are weighed so that neither the thing nor the question alone tells: who refuses whatever is often wrong, such as a
battery, is right half of the time.

Tuning then teaches much else, and of these facts some are forgotten. With --again, the stage goes on with its adapter
beside what tuning added, and writes the tuned model anew.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

from holisafe.checkpoints.adapter import ADAPTER_FILE, merge_adapter
from holisafe.checkpoints.tuned import (
    ADAPTER,
    TUNED,
    TUNED_FILE,
    TunedModel,
    apply_tuned_weights,
    find_tuned,
    hash_weights,
)
from holisafe.datasets import load as load_data
from holisafe.guard.attach import base_model
from holisafe.images import content_hash, open_image
from holisafe.models import load
from holisafe.models.pocket._assemble import CHAT_TEMPLATE, IMAGE_TOKEN
from holisafe.records import Sample
from research.holisafe_open.material import Material
from research.holisafe_open.more import more_material
from research.holisafe_open.texts import fill, thing
from research.holisafe_open.twins import weigh_facts

SO = ", so"
"""Where an answer to a frame's question has named the thing, and has not judged yet."""

PICTURES = 256
"""Pictures that stand before the questions in turn: the form is that of a question about a picture."""

NEAR = 8
"""Batches whose questions are dealt out by how many things they are about, so that little of a batch is padding."""


def main() -> None:
    """Train, with a checkpoint now and then; the same command resumes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=Path, required=True, help="folder of the finished second stage")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of `python -m research.holisafe_open open-more`"
    )
    parser.add_argument("--out", type=Path, required=True, help="gets the adapter, and the model to tune")
    parser.add_argument(
        "--again", type=Path, nargs=2, metavar=("FACTS", "RUN"), help="this stage's folder, and the run that tuned it"
    )
    parser.add_argument("--start", type=Path, help="an adapter to begin with, such as that of an earlier release")
    parser.add_argument("--steps", type=int, default=320, help="with --again, a quarter of it was enough")
    parser.add_argument("--batch", type=int, default=8, help="questions of a step")
    parser.add_argument("--rank", type=int, default=6, help="of the adapter")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    source = str(args.names / "model")
    facts, tuned = (None, None) if args.again is None else (args.again[0], tuned_from(*args.again))
    start = args.start if facts is None else facts / ADAPTER
    loaded = load(source, device=args.device, dtype="float32", attention="eager")
    material = more_material({})  # words alone
    model = loaded.model if tuned is None else apply_tuned_weights(loaded.model, replace(tuned, weights=None))
    pictures = visual_tokens(model, loaded.processor, load_data(str(args.data), "train"))
    trees = Trees(loaded.processor.tokenizer, material, pictures)
    torch.manual_seed(args.seed)
    model = with_adapter(model.to(torch.bfloat16), args.rank, start)
    history = train(model, trees, args.out / "facts.pt", args.steps, args.batch, args.rate, args.seed)
    recipe = {"facts": len(trees.weights), "questions": sum(map(len, trees.questions.values())), "steps": args.steps,
              "batch": args.batch, "rank": model.peft_config["default"].r, "rate": args.rate, "seed": args.seed,
              "history": history}  # fmt: skip
    if args.start is not None:
        recipe["start"] = told_of(args.start)
    if facts is not None:
        recipe["before"] = json.loads((facts / "facts.json").read_text())
    (args.out / "facts.json").write_text(json.dumps(recipe))
    model.cpu().save_pretrained(args.out / ADAPTER)
    merged = merge_adapter(load(source, device="cpu", dtype="float32").model, args.out / ADAPTER)
    merged.save_pretrained(args.out / "model")
    loaded.processor.save_pretrained(args.out / "model")
    if tuned is not None:
        rebase(tuned, args.out / "model", hash_weights(merged), args.out / TUNED)


def told_of(adapter: Path) -> dict[str, Any]:
    """Which adapter it is, and how it came about where that lies beside it, as it does in what ships."""
    told: dict[str, Any] = {ADAPTER_FILE: content_hash((adapter / ADAPTER_FILE).read_bytes())}
    beside = adapter.parent / "recipe.json"
    if beside.is_file():
        kept = json.loads(beside.read_text("utf-8"))
        told |= {name: kept[name] for name in ("facts", "tuned") if name in kept}
    return told


def tuned_from(facts: Path, run: Path) -> TunedModel:
    """What a run made of this stage's model.

    Raises:
        SystemExit: It tuned another model, or is not finished.
    """
    tuned = find_tuned(run)
    if tuned is None:
        raise SystemExit(f"{run} holds no {TUNED_FILE}; expected the folder of a finished `holisafe tune` run")
    if Path(tuned.base).resolve() != (facts / "model").resolve():
        raise SystemExit(f"{tuned.folder} was tuned from {tuned.base}, expected {facts / 'model'}")
    return tuned


def rebase(tuned: TunedModel, base: Path, weights: str, to: Path) -> None:
    """Write a tuned model that adds the same to another base model.

    Args:
        tuned: The tuned model.
        base: Folder of the other base model.
        weights: `hash_weights` of it.
        to: Where it goes; what is there is replaced.
    """
    shutil.rmtree(to, ignore_errors=True)
    own_card = {"README.md"}  # of the model as it was tuned; the guard's stays
    shutil.copytree(tuned.folder, to, ignore=lambda folder, _: own_card if Path(folder) == tuned.folder else set())
    values = json.loads((to / TUNED_FILE).read_text("utf-8"))
    values["base"] |= {"name": str(base), "weights_sha256": weights}
    (to / TUNED_FILE).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")


def with_adapter(model: Any, rank: int, start: Path | None = None) -> Any:
    """The model, wrapped by PEFT, with an adapter in float32 beside each linear layer of its language model.

    All else rests in the format that it has, but for the embeddings, which meet visual tokens. The adapter is a new one
    of this rank, or starts as the one in the folder `start`.
    """
    model.requires_grad_(False)
    model.get_input_embeddings().float()
    if start is not None:
        return PeftModel.from_pretrained(model, start, is_trainable=True)
    layers = r".*\.language_model\.layers\..*_proj"
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=layers))


@torch.inference_mode()
def visual_tokens(model: Any, processor: Any, samples: Sequence[Sample]) -> Tensor:
    """What the language model is given of `PICTURES` of the samples' pictures: (pictures, tokens, hidden)."""
    refs = list({image.key: image for sample in samples for image in sample.images}.values())
    few = refs[:: max(1, len(refs) // PICTURES)][:PICTURES]
    pixels = processor.image_processor([open_image(ref) for ref in few], return_tensors="pt")["pixel_values"]
    features = model.get_image_features(pixel_values=pixels.to(model.device))
    found = getattr(features, "pooler_output", features)
    return torch.stack(list(found)).clone()


@dataclass(frozen=True, slots=True)
class Batch:
    """Trees side by side, padded at their ends.

    Attributes:
        ids: (trees, tokens) Tokens; 0 where a visual token or padding stands.
        pictures: (trees,) The picture before each question.
        positions: (trees, tokens) Each branch begins where the question ends.
        mask: (trees, 1, tokens, tokens) What is added to attention: 0 where a token sees another, else the least value.
        ends: (facts, 2) Tree and place of each branch's last token.
        is_right: (facts,) What is to be said there: 1 for yes, 0 for no.
        weights: (facts,) How much each counts.
    """

    ids: Tensor
    pictures: Tensor
    positions: Tensor
    mask: Tensor
    ends: Tensor
    is_right: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same, on another device."""
        return Batch(*(getattr(self, each.name).to(device) for each in fields(self)))


class Trees:
    """Makes questions with their branches into tokens, and reads what a model says at the branches' ends.

    Args:
        tokenizer: Pocket's.
        material: What the frames, their questions, the kinds and the answers are taken from.
        pictures: (pictures, tokens, hidden) What may stand before a question.
    """

    def __init__(self, tokenizer: Any, material: Material, pictures: Tensor) -> None:
        self._tokenizer = tokenizer
        self._pictures = pictures
        self._material = material
        self.weights = weigh_facts(material.frames, material.kinds)
        self.facts: dict[str, list[str]] = {}
        for frame, kind in self.weights:
            self.facts.setdefault(frame, []).append(kind)
        self.questions = {name: material.frame_questions[name] for name in self.facts}
        both = [material.references[name] for name in ("frame_unsafe", "frame_safe")]
        self._openings = sorted({text.split(SO)[0] + SO for side in both for text in side})
        self._words = [sorted({self._tokens(text.split(SO)[1])[0] for text in side}) for side in both]
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": SO}]}],
            chat_template=CHAT_TEMPLATE, add_generation_prompt=True, tokenize=False,
        )  # fmt: skip
        before, self._after = chat.split(SO)
        self._before = self._tokens(before)
        self._image = self._before.index(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
        self._before[self._image : self._image + 1] = [0] * pictures.shape[1]

    def _tokens(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return found

    def batch(self, asked: Sequence[tuple[str, str]], rng: random.Random) -> Batch:
        """Trees of frames and wordings: each names every thing that the frame knows of, in one of the ways to."""
        roots = [self._before + self._tokens(question + self._after) for _, question in asked]
        branches = [[self._branch(kind, rng) for kind in self.facts[frame]] for frame, _ in asked]
        lengths = [len(root) + sum(map(len, each)) for root, each in zip(roots, branches, strict=True)]
        ids, positions = torch.zeros(2, len(asked), max(lengths), dtype=torch.long)
        sees = torch.eye(max(lengths), dtype=torch.bool).repeat(len(asked), 1, 1)
        ends = []
        for row, (root, each) in enumerate(zip(roots, branches, strict=True)):
            start = len(root)
            ids[row, : lengths[row]] = torch.tensor([*root, *(token for branch in each for token in branch)])
            positions[row, :start] = torch.arange(start)
            sees[row, :start, :start] = torch.ones(start, start).tril().bool()
            for size in map(len, each):
                stop = start + size
                positions[row, start:stop] = torch.arange(len(root), len(root) + size)
                sees[row, start:stop, : len(root)] = True
                sees[row, start:stop, start:stop] = torch.ones(size, size).tril().bool()
                ends.append((row, stop - 1))
                start = stop
        facts = [(frame, kind) for frame, _ in asked for kind in self.facts[frame]]
        hidden = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.bfloat16).min)
        return Batch(
            ids=ids,
            pictures=torch.tensor([rng.randrange(len(self._pictures)) for _ in asked]),
            positions=positions,
            mask=hidden[:, None].bfloat16(),
            ends=torch.tensor(ends),
            is_right=torch.tensor([kind in self._material.frames[frame].safe for frame, kind in facts]).long(),
            weights=torch.tensor([self.weights[fact] for fact in facts]),
        )

    def _in_turn(self, frame: str, rng: random.Random) -> list[str]:
        asked = rng.sample(list(self.questions[frame]), len(self.questions[frame]))
        act = self._material.frames[frame].act
        sorts = [[each for each in asked if (act in each) is is_wrapped] for is_wrapped in (False, True)]
        return [each for both in zip_longest(*sorts) for each in both if each is not None]

    def _branch(self, kind: str, rng: random.Random) -> list[int]:
        return self._tokens(fill(rng.choice(self._openings), thing(self._material.kinds[kind])))

    def judge(self, model: Any, batch: Batch) -> Tensor:
        """Log-probabilities of what a "no" and what a "yes" goes on with, after each branch: (facts, 2)."""
        base = base_model(model)
        embedded = base.get_input_embeddings()(batch.ids)
        embedded[:, self._image : self._image + self._pictures.shape[1]] = self._pictures[batch.pictures]
        with torch.autocast(batch.ids.device.type, torch.bfloat16):
            hidden = base.model.language_model(
                inputs_embeds=embedded, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
            ).last_hidden_state
            logits = base.lm_head(hidden[batch.ends[:, 0], batch.ends[:, 1]])
        logs = logits.float().log_softmax(-1)
        return torch.stack([logs[:, words].logsumexp(-1) for words in self._words], 1)

    def order(self, count: int, batch: int, seed: int) -> list[list[tuple[str, str]]]:
        """Batches of frames and wordings: each frame as often as the others, its wordings in turn.

        Those in words of their own take turns with those that wrap the frame's act.
        """
        rng = random.Random(seed)
        turns = {name: self._in_turn(name, rng) for name in self.questions}
        drawn: list[tuple[str, str]] = []
        for turn in range(-(-count * batch // len(turns))):
            drawn += [(name, turns[name][turn % len(turns[name])]) for name in rng.sample(sorted(turns), len(turns))]
        batches = []
        for start in range(0, count * batch, NEAR * batch):
            near = drawn[start : min(start + NEAR * batch, count * batch)]
            near.sort(key=lambda each: len(self.facts[each[0]]))
            batches += [near[i : i + batch] for i in range(0, len(near), batch)]
        rng.shuffle(batches)
        return batches


def score(said: Tensor, batch: Batch) -> Tensor:
    """Loss, and the share of facts that are judged rightly: (2,), each weighed."""
    right = (said.argmax(1) == batch.is_right).float()
    loss = -said.gather(1, batch.is_right[:, None])[:, 0]
    return (torch.stack([loss, right], 1) * batch.weights[:, None]).sum(0) / batch.weights.sum()


def train(
    model: Any, trees: Trees, checkpoint: Path, steps: int, batch: int, rate: float, seed: int, every: int = 25
) -> list[dict[str, float]]:
    """Train the adapter in place, with a checkpoint each `every` steps; mean loss and right judgements since the last.

    Args:
        model: What `with_adapter` gives.
        trees: What to learn.
        checkpoint: Where to keep how far it is; a file that is there is gone on from.
        steps: Steps in all.
        batch: Questions of a step.
        rate: Peak learning rate.
        seed: Of order and openings.
        every: Steps from one checkpoint to the next.

    Raises:
        SystemExit: The checkpoint is of other settings.
    """
    asked_for = {"steps": steps, "batch": batch, "rate": rate, "seed": seed}
    device = next(model.parameters()).device
    learning = {name: each for name, each in model.named_parameters() if each.requires_grad}
    optimiser = torch.optim.AdamW(learning.values(), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.05)
    history: list[dict[str, float]] = []
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True, map_location=device)
        if kept["settings"] != asked_for:
            raise SystemExit(f"{checkpoint} was made with {kept['settings']}, not {asked_for}; take another --out")
        for name, value in kept["adapter"].items():
            learning[name].data.copy_(value)
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        history = kept["history"]
    done = int(history[-1]["step"]) if history else 0
    sums, started = torch.zeros(2, device=device), time.monotonic()
    model.train()
    for step, asked in enumerate(trees.order(steps, batch, seed), 1):
        if step <= done:
            continue
        made = trees.batch(asked, random.Random(f"{seed} {step}")).to(device)
        scores = score(trees.judge(model, made), made)
        optimiser.zero_grad()
        scores[0].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learning.values(), 1.0)
        optimiser.step()
        schedule.step()
        sums += scores.detach()
        if step % every == 0 or step == steps:
            mean = sums / (step - done)
            history.append({"step": step, "loss": mean[0].item(), "right": mean[1].item()})
            print(f"step {step}/{steps}: {history[-1]}, {time.monotonic() - started:.0f} s", flush=True)
            done, sums = step, torch.zeros(2, device=device)
            state = {
                "settings": asked_for,
                "adapter": {name: each.detach() for name, each in learning.items()},
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "history": history,
            }
            unfinished = checkpoint.with_suffix(".part")
            torch.save(state, unfinished)
            unfinished.replace(checkpoint)
    return history


if __name__ == "__main__":
    main()
