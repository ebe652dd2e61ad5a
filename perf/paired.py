"""Comparing ways of doing the same thing in one run: interleaved rounds, ratios round by round, peak memory.

No program of its own; guard_overhead.py and guard_only.py measure with it.
"""

from __future__ import annotations

import gc
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Seconds:
    """What one call took.

    Attributes:
        wall: Seconds by the clock on the wall.
        processor: Seconds of this process on the CPU: what the wall would show, with one thread, on an idle machine.
    """

    wall: float
    processor: float


@dataclass(frozen=True, slots=True)
class Way:
    """One of the ways compared.

    Attributes:
        run: The call that is measured.
        prepare: What has to be so before; not measured.
    """

    run: Callable[[], Any]
    prepare: Callable[[], Any] = lambda: None


def rounds(ways: Mapping[str, Way], count: int, device: torch.device, what: str) -> dict[str, list[Seconds]]:
    """Seconds of each way in each round, after one round to warm up; each round begins with another way."""
    names = list(ways)
    taken: dict[str, list[Seconds]] = {name: [] for name in names}
    for index in range(-1, count):
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            ways[name].prepare()
            seconds = _seconds(ways[name].run, device)
            if index >= 0:
                taken[name].append(seconds)
        if (index + 1) % min(10, max(1, count // 5)) == 0:
            print(f"{what}: {index + 1} of {count} rounds", file=sys.stderr, flush=True)
    return taken


def median_ratio(above: Sequence[float], below: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Median of the rounds' ratios and its 95 % interval (percentiles of the medians of resampled rounds)."""
    ratios = np.array(above) / np.array(below)
    drawn = np.random.default_rng(seed).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
    return {
        "ratio": round(float(np.median(ratios)), 4), "low": round(float(low), 4), "high": round(float(high), 4)
    }  # fmt: skip


def peak_bytes(way: Way, models: Sequence[torch.nn.Module], device: torch.device) -> int:
    """Most bytes held by tensors at once, weights included.

    On a GPU the allocator counts. On the CPU the profiler's record of every allocation and release is added up, on
    top of the weights: the process's own size depends on what ran before.
    """
    way.prepare()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        way.run()
        return int(torch.cuda.max_memory_allocated(device))
    weights = sum(t.nbytes for model in models for t in (*model.parameters(), *model.buffers()))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        way.run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = sorted((e["ts"], int(e["args"]["Bytes"])) for e in events if e.get("name") == "[memory]")
    held = np.cumsum([change for _, change in changes])
    return weights + int(held.max())


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    about: dict[str, Any] = {"processor": _processor(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        about["gpu"] = torch.cuda.get_device_name(device)
        about["cuda"] = torch.version.cuda
    return {
        **about,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def machine_name(device: torch.device) -> str:
    """A short name for file names, such as `nvidia-h200` or `amd-epyc`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return "-".join(name.lower().replace("(r)", "").replace("(tm)", "").split()[:4])


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Keep what was measured as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nwritten to {path}", file=sys.stderr)


def _seconds(call: Callable[[], Any], device: torch.device) -> Seconds:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall, processor = time.perf_counter(), time.process_time()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Seconds(time.perf_counter() - wall, time.process_time() - processor)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
