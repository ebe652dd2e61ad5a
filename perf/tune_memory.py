"""Is the memory that `holisafe tune --dry-run` estimates what training takes?

    python perf/tune_memory.py            # writes docs/results/tune-memory.json and .md

Estimated is a run of `holisafe.tuning.estimate`, without numbers. Measured is a real run of the trainer on CPUs, of two
optimizer steps of two micro-batches, in processes of its own: torch's profiler records every allocation and release of
a tensor's memory in the whole run, and the most that is held at once is added to the weights that were there before and
stay. (The size of the process says less: Python and libraries are in it, and freed memory is kept.) Of several
processes the first is looked at. What an optimizer step computes is compared with torch's own counter in a real run.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageTextToText, PrinterCallback

from holisafe import datasets
from holisafe.guard import GuardConfig, attach_guard
from holisafe.guard.attach import NAME, base_model
from holisafe.models import load
from holisafe.records import Sample
from holisafe.tuning import GuardedTrainer, TuneConfig, configure_trainable_parts, estimate
from holisafe.tuning._architectures import read_architecture, synthetic_batch
from holisafe.tuning._processes import process
from paired import machine

RESULTS = Path(__file__).parents[1] / "docs" / "results"
PLAIN = TuneConfig(precision="float32", batch_size=1, gradient_accumulation_steps=2, lora_r=16)
RUNS: dict[str, tuple[TuneConfig, int, bool]] = {
    "two processes, FSDP2": (PLAIN, 2, True),
    "two processes, DDP": (PLAIN, 2, False),
    "one process": (PLAIN, 1, False),
    "one process, vision encoder frozen": (
        replace(PLAIN, learning_rates={"vision": None}, cache_features=False), 1, False,
    ),
    "one process, bfloat16 and gradient checkpointing": (
        replace(PLAIN, precision="bfloat16", gradient_checkpointing=True), 1, False,
    ),
}  # fmt: skip
"""Settings, processes, and whether they are sharded."""

ARCHITECTURES = ("llava-1.5-7b", "qwen2.5-vl-7b", "gemma-3-12b")
"""One of each kind."""

SMALL_RUNS = {
    "float32": replace(PLAIN, batch_size=4),
    "bfloat16": replace(PLAIN, batch_size=4, precision="bfloat16"),
    "bfloat16, gradient checkpointing": replace(PLAIN, batch_size=4, precision="bfloat16", gradient_checkpointing=True),
}
"""Settings of the small models."""

SMALL = {
    "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64,
}  # fmt: skip
"""Sizes of the small models of the shipped architectures."""


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    if options.worker:
        config, _, sharded = RUNS[options.worker]
        measured = _trained(config, sharded)
        if process()[0] == 0:
            options.out.write_text(json.dumps(measured))
        return
    file = RESULTS / "tune-memory.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"] if options.resume and file.exists() else []
    known = {(row["model"], row["run"]) for row in rows}
    for name in ARCHITECTURES:
        if not any(model == f"small {name}" for model, _ in known):
            rows += [_architecture_row(name, config) for config in SMALL_RUNS]
            _write(file, rows)
    for name in RUNS:
        if ("Pocket", name) not in known:
            rows.append(_row(name))
            _write(file, rows)
    print(_page(rows))


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    result = {"benchmark": "tune_memory", "machine": machine(torch.device("cpu")), "rows": rows}
    file.write_text(json.dumps(result, indent=2) + "\n")
    file.with_suffix(".md").write_text(_page(rows))


def _row(name: str) -> dict[str, Any]:
    """A run of Pocket, estimated and measured."""
    config, count, sharded = RUNS[name]
    model, processor = _pocket()
    adapted = configure_trainable_parts(model, config)
    batch = config.method_part.collator(processor, GuardConfig())(_samples(config.batch_size))
    found = estimate(adapted, replace(config, gradient_accumulation_steps=count * 2), batch, gpus=(1, 2))
    needs = next(each for each in found.gpus if (each.processes, each.sharded) == (count, sharded))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "measured.json"
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={count}", "--rdzv-backend=c10d"]
        launch += ["--rdzv-endpoint=localhost:0"]
        script = [str(Path(__file__)), "--worker", name, "--out", str(out)]
        subprocess.run([sys.executable, *(launch if count > 1 else []), *script], check=True, stdout=subprocess.DEVNULL)
        measured = json.loads(out.read_text())
    return _compared("Pocket", name, asdict(needs) | {"total": needs.total, "flops": found.flops}, measured)


def _trained(config: TuneConfig, sharded: bool) -> dict[str, int]:
    """Most bytes that this process held, and operations of a micro-batch."""
    model, processor = _pocket()
    samples = _samples(config.batch_size) * (2 * config.gradient_accumulation_steps * process()[1])
    options: dict[str, Any] = {"use_cpu": True, "save_strategy": "no", "logging_steps": 100}
    options |= {"fsdp": True} if sharded else {}
    with tempfile.TemporaryDirectory() as folder:
        run = GuardedTrainer(model, processor, config, samples, folder, **options)
        run.remove_callback(PrinterCallback)
        base = base_model(run.model)
        stays = base.get_submodule(NAME).parameters() if sharded else run.model.parameters()
        before = sum(each.nbytes for each in (*stays, *run.model.buffers()))
        gc.collect()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            run.tune()
        most = _most_held(profile, Path(folder))
    return {"bytes": before + most, "flops": 0 if process()[1] > 1 else _operations(run, samples[: config.batch_size])}


def _operations(run: GuardedTrainer, samples: Sequence[Sample]) -> int:
    """What torch counts in a micro-batch, forward and backward."""
    batch = run.data_collator(samples)
    with FlopCounterMode(display=False) as counter:
        run.method.loss(run.model, batch, run.method_config).total().backward()
    return int(counter.get_total_flops())


def _architecture_row(name: str, run: str) -> dict[str, Any]:
    """A small model of a shipped architecture: one micro-batch, estimated and measured."""
    config = SMALL_RUNS[run]
    guard = GuardConfig(features="language")
    batch = synthetic_batch(base_model(_small(name, config, guard)), config, guard, 64)
    found = estimate(_small(name, config, guard), config, batch, gpus=(1,))
    needs = found.gpus[0]
    model = _small(name, config, guard).train()
    before = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))

    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            total = config.method_part.loss(model, batch, config.method_config).total()
        total.backward()

    step()  # so that gradients are there, as in all micro-batches but the first
    held = sum(each.grad.nbytes for each in model.parameters() if each.grad is not None)
    gc.collect()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    with tempfile.TemporaryDirectory() as folder:
        measured = {"bytes": before + held + _most_held(profile, Path(folder)), "flops": 0}
    with FlopCounterMode(display=False) as counter:
        step()
    measured["flops"] = int(counter.get_total_flops())
    estimated = asdict(needs) | {"optimizer": 0, "total": needs.total - needs.optimizer, "flops": found.flops}
    return _compared(f"small {name}", f"one micro-batch, {run}", estimated, measured)


def _small(name: str, config: TuneConfig, guard: GuardConfig) -> Any:
    """A model of the architecture with few and narrow layers."""
    values = read_architecture(name)
    text = {**values["text_config"], **SMALL}
    vision = {**values["vision_config"], "num_attention_heads": 4, "num_heads": 4, "hidden_size": 256}
    vision |= {"num_hidden_layers": 3, "depth": 3, "intermediate_size": 512, "out_hidden_size": SMALL["hidden_size"]}
    if "fullatt_block_indexes" in vision or values["model_type"] == "qwen2_5_vl":
        vision["fullatt_block_indexes"] = [2]
        text["rope_parameters"] = {**text["rope_parameters"], "mrope_section": [8, 12, 12]}
    torch.manual_seed(0)
    shapes = AutoConfig.for_model(values["model_type"], text_config=text, vision_config=vision)
    model = AutoModelForImageTextToText.from_config(shapes, dtype=torch.float32)
    attach_guard(model, guard)
    return configure_trainable_parts(model, config)


def _pocket() -> tuple[Any, Any]:
    loaded = load("pocket", device="cpu", dtype="float32")
    attach_guard(loaded.model, GuardConfig(), processor=loaded.processor)
    return loaded.model, loaded.processor


def _samples(count: int) -> list[Sample]:
    return [each for each in datasets.load("open", "train") if each.reference][:count]


def _most_held(profile: Any, folder: Path) -> int:
    """Most bytes held at once of what was allocated while it was recorded."""
    path = folder / "trace.json"
    profile.export_chrome_trace(str(path))
    changes = sorted(_changes(json.loads(path.read_text())["traceEvents"]))
    return int(np.cumsum([change for _, change in changes]).max())


def _changes(events: Sequence[dict[str, Any]]) -> Iterator[tuple[float, int]]:
    for event in events:
        if event.get("name") == "[memory]":
            yield event["ts"], int(event["args"]["Bytes"])


def _compared(model: str, run: str, estimated: dict[str, Any], measured: dict[str, int]) -> dict[str, Any]:
    return {
        "model": model,
        "run": run,
        "estimated": estimated,
        "measured": measured,
        "memory_ratio": round(estimated["total"] / measured["bytes"], 4),
        "flops_ratio": round(estimated["flops"] / measured["flops"], 6) if measured["flops"] else None,
    }


def _page(rows: list[dict[str, Any]]) -> str:
    worst = max(abs(row["memory_ratio"] - 1) for row in rows)
    lines = [
        "# Memory of tuning: estimated and measured",
        "",
        "`perf/tune_memory.py` writes this page. Measured are tensors of a real run on CPUs, by torch's profiler; "
        "estimated is what `holisafe tune --dry-run` says without numbers.",
        "",
        f"The largest difference is {worst:.1%}.",
        "",
        "| model | run | measured (MiB) | estimated (MiB) | estimated / measured | operations, the same |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        sizes = (row["measured"]["bytes"] / 2**20, row["estimated"]["total"] / 2**20)
        flops = "" if row["flops_ratio"] is None else f"{row['flops_ratio']:.4f}"
        shown = f"{sizes[0]:,.1f} | {sizes[1]:,.1f} | {row['memory_ratio']:.3f} | {flops}"
        lines.append(f"| {row['model']} | {row['run']} | {shown} |")
    return "\n".join(lines) + "\n"


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", choices=tuple(RUNS), help="measure one run (used by this script itself)")
    parser.add_argument("--resume", action="store_true", help="keep the rows that docs/results has")
    parser.add_argument("--out", type=Path, help="file of that")
    return parser.parse_args()


if __name__ == "__main__":
    main()
