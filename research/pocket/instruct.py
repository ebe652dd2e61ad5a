"""Stage 3: projector and a LoRA on the language model, by conversations about pictures. The tower rests."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from holisafe.datasets.open import load_open
from holisafe.images import open_image
from holisafe.models.pocket._assemble import build_model, build_processor, parts
from holisafe.models.pocket._vision import EfficientNetLiteModel
from holisafe.taxonomy import Combination
from research.holisafe_open.kinds import load_kinds
from research.pocket.imagined import SharedSpace, imaginable_names
from research.pocket.instructions import Turn, conversation, naming
from research.pocket.pictures import Picture, aligned_tower, read_pictures, visual_tokens
from research.pocket.project import MOST_NOISE, embed_cached

IGNORED = -100
LORA = LoraConfig(
    r=16,
    lora_alpha=32,
    lora_dropout=0.0,
    target_modules=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
)


def main() -> None:
    """Train, checkpointing; the same command resumes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the art collections")
    parser.add_argument("--out", type=Path, required=True, help="folder of the earlier stages")
    parser.add_argument("--examples", type=int, default=24_000, help="conversations to train on")
    parser.add_argument("--imagined", type=int, default=4_000, help="names asked of pictures that were never drawn")
    parser.add_argument(
        "--open-epochs", type=int, default=2, help="times each SSS sample of HoliSafe-Open's train split is seen"
    )
    parser.add_argument("--start", type=Path, help="folder of a finished round to go on from, with its own --out")
    parser.add_argument("--adapter", type=Path, help="folder of an adapter to go on from; the projector is new")
    parser.add_argument("--seed", type=int, default=3, help="of the choice of pictures and conversations")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=6e-4)
    args = parser.parse_args()
    features, pictures = read_pictures(args.out)
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    for line in (args.out / "answers.jsonl").read_text().splitlines():
        row = json.loads(line)
        answers[row["name"]][row["kind"]] = row["answer"]
    processor = build_processor()
    tower = aligned_tower(args.out / "align.safetensors")
    data = Conversations(features, pictures, answers, processor.tokenizer, args.examples, args.seed)
    data.add(*imagined(args.art, args.out, features, args.imagined, args.seed), processor.tokenizer)
    asked = safe_questions(tower)
    for _ in range(args.open_epochs):
        data.add(*asked, processor.tokenizer)

    weights = {f"model.vision_tower.{k}": v for k, v in tower.state_dict().items()}
    if args.start is None:
        projector = load_file(args.out / "project.safetensors")
        weights |= {f"model.multi_modal_projector.{k}": v for k, v in projector.items()}
    else:
        weights |= {k: v.float() for k, v in load_file(args.start / "vision.safetensors").items()}
    vlm = build_model(weights)
    vlm.requires_grad_(False)
    vlm.set_attn_implementation("eager")  # on a CPU, faster backwards than the fused kernel at this length
    vlm.model.language_model.to(torch.bfloat16)
    vlm.lm_head.to(torch.bfloat16)
    vlm.tie_weights()
    peft = get_peft_model(vlm, LORA)  # the adapter stays in float32
    if args.start is not None:
        set_peft_model_state_dict(peft, load_file(args.start / "adapter" / "adapter_model.safetensors"))
    if args.adapter is not None:
        set_peft_model_state_dict(peft, load_file(args.adapter / "adapter_model.safetensors"))
    vlm.model.multi_modal_projector.requires_grad_(True)
    student = Student(vlm)
    trainer = StudentTrainer(
        model=student,
        args=TrainingArguments(
            output_dir=str(args.out / "instruct"),
            per_device_train_batch_size=args.batch,
            num_train_epochs=1,
            learning_rate=args.rate,
            lr_scheduler_type="cosine",
            warmup_steps=20,
            weight_decay=0.0,
            max_grad_norm=1.0,
            logging_steps=10,
            save_steps=100,
            save_total_limit=2,
            use_cpu=True,
            seed=0,
            remove_unused_columns=False,
            report_to=[],
            disable_tqdm=True,
            dataloader_num_workers=0,
            train_sampling_strategy="group_by_length",
        ),
        train_dataset=data,
        data_collator=collate,
        callbacks=[PrintLosses()],
    )
    checkpoints = sorted((args.out / "instruct").glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=bool(checkpoints))
    save_file(
        {k: v.half().contiguous() for k, v in parts(vlm).items() if v.is_floating_point()},
        args.out / "vision.safetensors",
    )
    for parameter in peft.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.half()
    peft.save_pretrained(args.out / "adapter")
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    recipe = {
        "examples": args.examples,
        "imagined": args.imagined,
        "open_epochs": args.open_epochs,
        "batch": args.batch,
        "rate": args.rate,
        "rank": LORA.r,
        "seed": args.seed,
        "losses": losses,
        "adapter": digest(args.adapter / "adapter_model.safetensors") if args.adapter else None,
        "after": json.loads((args.start / "instruct.json").read_text()) if args.start else None,
    }
    (args.out / "instruct.json").write_text(json.dumps(recipe))


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids and labels of one conversation, both (tokens,), and where its picture's tokens are."""

    row: int
    store: int
    ids: list[int]
    labels: list[int]


class Conversations(Dataset[dict[str, Any]]):
    """Conversations about the stored pictures, tokenised; item i is always the same."""

    def __init__(
        self,
        features: NDArray[np.float16],
        pictures: list[Picture],
        answers: Mapping[str, Mapping[str, str]],
        tokenizer: Any,
        count: int,
        seed: int,
    ) -> None:
        rng = np.random.default_rng(seed)
        kinds = load_kinds()
        names = sorted({name for picture in pictures for name in picture.names})
        rows = np.concatenate([rng.permutation(len(pictures)) for _ in range(-(-count // len(pictures)))])[:count]
        self.stores: list[NDArray[np.float16]] = [features]
        self.examples = [
            tokenise(conversation(pictures[row], answers, kinds, names, rng), tokenizer, int(row)) for row in rows
        ]

    def add(self, features: NDArray[np.float16], turns: list[list[Turn]], tokenizer: Any) -> None:
        """Further conversations: row i of features (conversations, image tokens, hidden) goes with the i-th."""
        self.stores.append(features)
        store = len(self.stores) - 1
        self.examples += [tokenise(turn, tokenizer, row, store) for row, turn in enumerate(turns)]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> dict[str, Any]:
        example = self.examples[i]
        return {
            "features": torch.from_numpy(np.array(self.stores[example.store][example.row])),
            "input_ids": example.ids,
            "labels": example.labels,
        }


def imagined(
    art_dir: Path, folder: Path, features: NDArray[np.float16], count: int, seed: int
) -> tuple[NDArray[np.float16], list[list[Turn]]]:
    """Visual tokens (count, image tokens, hidden) of names that need not be drawn, and naming them."""
    rng = np.random.default_rng((seed, 1))
    names = imaginable_names(art_dir)
    chosen = rng.choice(len(names), count, replace=False)
    texts = embed_cached(names, folder / "imagined.npy")[chosen]
    real = torch.from_numpy(features[np.sort(rng.choice(len(features), count, replace=False))]).float()
    space = SharedSpace.read(folder / "align.safetensors", real[:, 0])
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 1, 1, generator=generator) * MOST_NOISE
    tokens = space.imagine(texts, real, noise, generator)
    return tokens.half().numpy(), [[naming(names[i], rng)] for i in chosen]


def safe_questions(tower: EfficientNetLiteModel) -> tuple[NDArray[np.float16], list[list[Turn]]]:
    """SSS samples of HoliSafe-Open's train split with their reference answers, and their images' tokens."""
    samples = [s for s in load_open("train") if s.combination is Combination.SSS and s.reference and len(s.images) == 1]
    side = tower.config.image_size
    tokens: dict[str, NDArray[np.float16]] = {}
    for sample in samples:
        ref = sample.images[0]
        if ref.key not in tokens:
            pixels = np.array(open_image(ref).resize((side, side), Image.Resampling.BILINEAR))
            tokens[ref.key] = visual_tokens(tower, pixels[None]).numpy()[0]
    turns = [[(sample.query, sample.reference or "")] for sample in samples]
    return np.stack([tokens[sample.images[0].key] for sample in samples]), turns


def tokenise(turns: list[Turn], tokenizer: Any, row: int, store: int = 0, image_tokens: int = 10) -> Example:
    """A conversation in Pocket's chat template; only answers and their end are learned."""
    image = tokenizer.convert_tokens_to_ids("<image>")
    ids: list[int] = []
    labels: list[int] = []
    for i, (question, answer) in enumerate(turns):
        head = tokenizer("<|im_start|>user\n").input_ids
        if i == 0:
            head += [image] * image_tokens + tokenizer("\n").input_ids
        asked = head + tokenizer(f"{question}<|im_end|>\n<|im_start|>assistant\n").input_ids
        said = tokenizer(f"{answer}<|im_end|>").input_ids
        after = tokenizer("\n").input_ids
        ids += asked + said + after
        labels += [IGNORED] * len(asked) + said + [IGNORED] * len(after)
    return Example(row, store, ids, labels)


def collate(items: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Right-padded batch: features (batch, image tokens, hidden), ids, mask and labels (batch, tokens)."""
    longest = max(len(item["input_ids"]) for item in items)

    def padded(key: str, value: int) -> Tensor:
        return torch.tensor([item[key] + [value] * (longest - len(item[key])) for item in items])

    return {
        "features": torch.stack([item["features"] for item in items]).float(),
        "input_ids": padded("input_ids", 2),
        "labels": padded("labels", IGNORED),
    }


class Student(nn.Module):
    """The VLM from the tower's tokens on; logits only where there is something to learn."""

    def __init__(self, vlm: Any) -> None:
        super().__init__()
        self.vlm = vlm

    def forward(self, features: Tensor, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean next-token cross-entropy over the labelled tokens."""
        inner = self.vlm.model
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = inner.language_model.embed_tokens(input_ids)  # (batch, tokens, hidden)
            visual = inner.multi_modal_projector(features).to(embeddings.dtype)
            is_image = (input_ids == self.vlm.config.image_token_id)[..., None].expand_as(embeddings)
            embeddings = embeddings.masked_scatter(is_image, visual)
            hidden = inner.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
            learned = labels[:, 1:] != IGNORED
            logits = self.vlm.lm_head(hidden[:, :-1][learned])  # (learned tokens, vocabulary)
        return {"loss": F.cross_entropy(logits.float(), labels[:, 1:][learned])}


class StudentTrainer(Trainer):  # type: ignore[misc]
    """The trainer, keeping only what learns in its checkpoints."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        learned = {n: p.detach().contiguous() for n, p in self.model.named_parameters() if p.requires_grad}
        save_file(learned, folder / "learned.safetensors")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        learned = load_file(Path(resume_from_checkpoint) / "learned.safetensors")
        (model or self.model).load_state_dict(learned, strict=False)


class PrintLosses(TrainerCallback):  # type: ignore[misc]
    """One line per logging step."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Print the step and what was logged."""
        print(f"step {state.global_step}/{state.max_steps}", logs, flush=True)


if __name__ == "__main__":
    main()
