"""What tuning costs: with the guard against without, our trainer against a loop by hand, with and without the cache.

    python perf/tuning.py [--model pocket] [--rounds 5] [--samples 8] [--passes 5] [--json]
    python perf/tuning.py --precision bfloat16 --attention eager --rounds 11 --passes 3      # what is recorded
    python perf/tuning.py --model llava-hf/llava-1.5-7b-hf --device cuda --precision bfloat16 --samples 64

Five ways learn from the same samples in turn, in one process, with the same adapter, projector and learning rates; the
vision encoder is frozen:

- loop: AdamW, cosine and clipping around `model(**batch).loss.backward()`, batches by one call of the processor;
- trainer: `GuardedTrainer` without a guard, features of images kept (the default);
- trainer, no cache: the same, every image encoded each time;
- guarded: `GuardedTrainer` with the guard's heads and losses, features kept;
- guarded, no cache: the same, every image encoded each time.

A round of a way is a run of its own, with an empty cache, that goes `--passes` times through `--samples` samples (the
paper: five epochs); what it does before its first step counts, and weighs more in a short round. Speeds are tokens per
second, padding not counted; ratios are those of the rounds, their median and its 95 % interval. On a CPU that is
shared, take one thread and look at processor time, which does not count what others do. Peak memory is that of tensors
in one step, weights included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback, get_cosine_schedule_with_warmup

from holisafe import datasets
from holisafe.guard import attach_guard, detach_guard
from holisafe.guard.attach import base_model, find_observer
from holisafe.images import open_image
from holisafe.models import LoadedModel, load
from holisafe.records import Sample
from holisafe.tuning import GuardedTrainer, TuneConfig, configure_trainable_parts
from holisafe.tuning._parts import parameter_groups
from paired import Seconds, Way, machine, machine_name, median_ratio, peak_bytes, rounds, write

RESULTS = Path(__file__).parent / "results"
COMPARED = {
    "the guard's module": ("guarded", "trainer", 0.98),
    "our trainer": ("trainer", "loop", 1.0),
    "our trainer, no cache": ("trainer, no cache", "loop", None),
    "the cache": ("guarded", "guarded, no cache", None),
}
"""What is compared: a way, what it is measured against, and the target of the ratio of their speeds."""


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    loaded = load(options.model, device=options.device, dtype=options.dtype, attention=options.attention)
    config = TuneConfig(
        learning_rates={"vision": None},
        lora_r=options.rank,
        batch_size=options.batch,
        gradient_accumulation_steps=1,
        precision=options.precision,
    )
    samples = [sample for sample in datasets.load(options.data, options.split) if sample.reference][: options.samples]
    device = loaded.model.device
    with tempfile.TemporaryDirectory() as folder:
        taken = rounds(_ways(loaded, config, samples * options.passes, Path(folder)), options.rounds, device, "tuning")
        step = _ways(loaded, config, samples[: options.batch], Path(folder))
        memory = {name: peak_bytes(way, [loaded.model], device) for name, way in step.items()}
    tokens = options.passes * sum(int(_conversations(loaded.processor, [s])["attention_mask"].sum()) for s in samples)
    result = {
        "benchmark": "tuning",
        "machine": machine(device),
        "model": options.model,
        "precision": options.precision,
        "attention": options.attention,
        "rounds": options.rounds,
        "samples": len(samples),
        "images": len({image.key for sample in samples for image in sample.images}),
        "passes": options.passes,
        "batch": options.batch,
        "tokens": tokens,
        "tokens_per_s": {name: _speeds(tokens, seconds) for name, seconds in taken.items()},
        "speed_ratios": {
            what: {"of": way, "to": other, "target": target, **_ratios(taken[way], taken[other])}
            for what, (way, other, target) in COMPARED.items()
        },
        "peak_memory_mib": {name: round(each / 2**20, 1) for name, each in memory.items()},
        "peak_memory_ratio": {what: round(memory[a] / memory[b], 4) for what, (a, b, _) in COMPARED.items()},
    }
    print(json.dumps(result, indent=2) if options.json else _table(result))
    name = f"tuning_{Path(options.model).name}_{machine_name(device)}.json"
    write(options.out or RESULTS / name, result)


def _ways(loaded: LoadedModel, config: TuneConfig, samples: Sequence[Sample], folder: Path) -> dict[str, Way]:
    """Each way of learning from the samples once, in their order."""
    ready: dict[str, Callable[[], Any]] = {}
    alone = replace(config, method="sft")

    def way(prepare: Callable[[], Callable[[], Any]]) -> Way:
        def make_ready() -> None:
            ready["run"] = prepare()

        return Way(lambda: ready["run"](), make_ready)

    return {
        "loop": way(lambda: _loop(_plain(loaded), loaded.processor, alone, samples)),
        "trainer": way(lambda: _trainer(_plain(loaded), loaded.processor, alone, samples, folder)),
        "trainer, no cache": way(
            lambda: _trainer(_plain(loaded), loaded.processor, replace(alone, cache_features=False), samples, folder)
        ),
        "guarded": way(lambda: _trainer(_guarded(loaded), loaded.processor, config, samples, folder)),
        "guarded, no cache": way(
            lambda: _trainer(_guarded(loaded), loaded.processor, replace(config, cache_features=False), samples, folder)
        ),
    }


def _plain(loaded: LoadedModel) -> Any:
    """The model without adapter and guard."""
    model = loaded.model
    for module in list(model.modules()):  # as PEFT's own `unload`, which the model that wrapped it would have
        for name, child in list(module.named_children()):
            if "lora_A" in dict(child.named_children()):
                setattr(module, name, child.get_base_layer())
    if find_observer(model) is not None:
        detach_guard(model)
    return model.eval()


def _guarded(loaded: LoadedModel) -> Any:
    model = _plain(loaded)
    attach_guard(model, processor=loaded.processor)
    return model


def _trainer(
    model: Any, processor: Any, config: TuneConfig, samples: Sequence[Sample], folder: Path
) -> Callable[[], Any]:
    on_cpu = model.device.type == "cpu"
    run = GuardedTrainer(model, processor, config, samples, folder, use_cpu=on_cpu, save_strategy="no")
    run.remove_callback(PrinterCallback)
    return run.tune


def _loop(model: Any, processor: Any, config: TuneConfig, samples: Sequence[Sample]) -> Callable[[], Any]:
    """What one writes without a library for it."""
    torch.manual_seed(config.seed)
    adapted = configure_trainable_parts(model, config)
    device = base_model(adapted).device

    def run() -> None:
        loader = DataLoader(list(samples), config.batch_size, collate_fn=lambda batch: _conversations(processor, batch))
        optimizer = torch.optim.AdamW(parameter_groups(adapted, config))
        schedule = get_cosine_schedule_with_warmup(optimizer, int(config.warmup_ratio * len(loader)), len(loader))
        learned = [weight for weight in adapted.parameters() if weight.requires_grad]
        adapted.train()
        for batch in loader:
            batch = {key: value.to(device) for key, value in batch.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss = adapted(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, config.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    return run


def _conversations(processor: Any, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """A padded batch of whole conversations, of which all is learned."""
    turns = [
        [
            {"role": "user", "content": [*_pictures(sample), {"type": "text", "text": sample.query}]},
            {"role": "assistant", "content": [{"type": "text", "text": sample.reference}]},
        ]
        for sample in samples
    ]
    padding = {"padding": True, "padding_side": "right"}
    batch = dict(
        processor.apply_chat_template(
            turns, tokenize=True, return_dict=True, return_tensors="pt", processor_kwargs=padding
        )
    )
    return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}


def _pictures(sample: Sample) -> list[dict[str, Any]]:
    return [{"type": "image", "image": open_image(image)} for image in sample.images]


def _speeds(tokens: int, taken: Sequence[Seconds]) -> dict[str, float]:
    """Median tokens per second by both clocks."""
    return {clock: round(tokens / statistics.median([getattr(each, clock) for each in taken]), 2) for clock in _CLOCKS}


def _ratios(of: Sequence[Seconds], to: Sequence[Seconds]) -> dict[str, Any]:
    """Ratios of the speeds by both clocks; the speed is the inverse of the time."""
    return {
        clock: median_ratio([getattr(each, clock) for each in to], [getattr(each, clock) for each in of])
        for clock in _CLOCKS
    }


def _table(result: dict[str, Any]) -> str:
    about = result["machine"]
    lines = [
        f"{result['model']}, {result['precision']}, {about.get('gpu', about['processor'])}: {result['rounds']} rounds "
        f"of {result['passes']} passes over {result['samples']} samples",
        "",
        "| way | tokens/s | by processor time | peak memory (MiB) |",
        "|---|---|---|---|",
        *(
            f"| {name} | {speed['wall']:.1f} | {speed['processor']:.1f} | {result['peak_memory_mib'][name]:.1f} |"
            for name, speed in result["tokens_per_s"].items()
        ),
        "",
        "| what | speed | against | ratio | by processor time | target | peak memory, ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for what, found in result["speed_ratios"].items():
        ratios = " | ".join(
            f"{found[clock]['ratio']:.4f} ({found[clock]['low']:.4f} to {found[clock]['high']:.4f})"
            for clock in _CLOCKS
        )
        target = "" if found["target"] is None else f"≥ {found['target']}"
        memory = result["peak_memory_ratio"][what]
        lines.append(f"| {what} | {found['of']} | {found['to']} | {ratios} | {target} | {memory:.4f} |")
    return "\n".join(lines)


_CLOCKS = ("wall", "processor")


def _options() -> Any:
    parser = argparse.ArgumentParser(description="Speed and peak memory of tuning, against other ways of doing it.")
    parser.add_argument("--model", default="pocket", help="short name, folder or Hub id")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", help="of the resting weights")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--attention", help='a transformers implementation; "eager" may be quicker on a CPU')
    parser.add_argument("--data", default="open")
    parser.add_argument("--split", default="train")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--passes", type=int, default=5, help="times each sample is learned from in a round")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rank", type=int, default=16, help="of the adapter")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--out", type=Path, help="where to record; perf/results/ when left out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
