"""How far the gradient of an optimizer step depends on how its samples are split into batches.

    python perf/gradients.py [--model pocket] [--data open] [--split train] [--samples 8]

Compares splits of the same samples with the whole in one batch: by the sums and counts of loss terms, as tuning does,
and by the mean of the batches' mean losses, as trainers often do. Printed is the norm of the difference as a share of
the whole gradient's norm, and the cosine between the two.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor

from holisafe import datasets
from holisafe.guard import GuardConfig, attach_guard
from holisafe.models import load
from holisafe.tuning import METHODS, mix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--data", default="open")
    parser.add_argument("--split", default="train")
    parser.add_argument("--samples", type=int, default=8)
    options = parser.parse_args()
    model, processor = load(options.model, device="cpu", dtype="float32")
    torch.manual_seed(0)
    guard = GuardConfig(features="projector")
    attach_guard(model, guard, processor=processor)
    model.eval()
    samples = mix(datasets.load(options.data, options.split), 200)[: options.samples]
    collate = METHODS.get("vgm").collator(processor, guard)
    whole = gradient(model, [collate(samples)], by_counts=True)
    print("batch × accumulation, by, difference, cosine")
    size = options.samples // 2
    while size:
        batches = [collate(samples[start : start + size]) for start in range(0, len(samples), size)]
        for by_counts in (True, False):
            found = gradient(model, batches, by_counts=by_counts)
            difference = float((found - whole).norm() / whole.norm())
            cosine = float(torch.nn.functional.cosine_similarity(found, whole, dim=0))
            by = "sums and counts" if by_counts else "mean of means"
            print(f"{size} × {len(batches)}, {by}, {difference:.1e}, {cosine:.6f}")
        size //= 2


def gradient(model: Any, batches: list[dict[str, Any]], *, by_counts: bool) -> Tensor:
    """The gradient (weights,) of the projector and the guard."""
    method = METHODS.get("vgm")
    config = method.config()
    found = [method.counts(batch) for batch in batches]
    counts = {name: sum(each[name] for each in found) for name in found[0]}
    model.zero_grad()
    for batch in batches:
        loss = method.loss(model, batch, config)
        (loss.total(counts) if by_counts else loss.total() / len(batches)).backward()
    names = ("projector", "connector", "merger", "guard.")
    weights = [weight for name, weight in model.named_parameters() if any(part in name for part in names)]
    return torch.cat([weight.grad.flatten().double() for weight in weights if weight.grad is not None])


if __name__ == "__main__":
    main()
