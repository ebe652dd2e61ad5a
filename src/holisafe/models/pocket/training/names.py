"""The end of Safe Pocket's first stage: the projector writes the names of everyday things anew.

The tower tells kinds apart better than what the language model reads of it: its tokens moved while it learned, and the
projector did not. Here the projector learns from the pictures of one everyday thing to write the thing's name in the
language model's own word embeddings, which does not need that model to be run. Of all pictures it is to say much what
it said before, so that what the language model knows to read stays there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from holisafe.models.pocket.training.project import Words

BATCH = 256
KEPT = 0.5
"""Weight of what the projector said before, beside that of the name."""


def write_names(
    projector: nn.Module, tokens: Tensor, names: Sequence[str | None], epochs: int, rate: float, seed: int
) -> list[dict[str, float]]:
    """Train the projector in place; mean losses of each epoch.

    Args:
        projector: From the tower's tokens to embeddings of words.
        tokens: (pictures, tokens, hidden) What the tower says of each picture.
        names: The name of the thing that each picture shows; None where it is no single thing.
        epochs: Times each picture is seen.
        rate: Peak learning rate.
        seed: Of the order.
    """
    words = Words(sorted({name for name in names if name is not None}))
    is_named = np.array([name is not None for name in names])
    with torch.inference_mode():
        before = torch.cat([projector(some.float()) for some in torch.split(tokens, BATCH)]).clone()
    spread = before.var()
    projector.requires_grad_(True)
    scale = nn.Parameter(torch.tensor(2.5))
    optimiser = torch.optim.AdamW([*projector.parameters(), scale], lr=rate, weight_decay=0.01)
    size = min(BATCH, len(tokens))
    per_epoch = len(tokens) // size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * per_epoch + 1)
    rng, started, history = np.random.default_rng(seed), time.monotonic(), []
    for epoch in range(epochs):
        order, sums = rng.permutation(len(tokens)), torch.zeros(2)
        for step in range(per_epoch):
            rows = order[step * size : (step + 1) * size]
            said = projector(tokens[rows].float())
            named = torch.from_numpy(is_named[rows])
            loss = words.loss(said[named], [name for name in (names[i] for i in rows) if name is not None], scale)
            change = (said - before[rows]).square().mean() / spread
            optimiser.zero_grad()
            (loss + KEPT * change).backward()
            optimiser.step()
            schedule.step()
            sums += torch.stack([loss, change]).detach()
        history.append(dict(zip(("name", "change"), (sums / per_epoch).tolist(), strict=True)))
        print(f"names, epoch {epoch + 1}/{epochs}: {history[-1]}, {time.monotonic() - started:.0f} s", flush=True)
    projector.requires_grad_(False)
    return history
