"""SafeGround's nine scores of a CLIP-like encoder: does it prefer what is safe?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from holisafe.benchmarks.safeground import Quadruples, safeground_scores
from holisafe.editing._encoders import open_encoders
from holisafe.editing._pairs import read_pairs
from holisafe.editing._sources import Sources, sources_or
from holisafe.errors import EditingError
from holisafe.metrics import Figure


def measure_safeground(
    model: str | Path, quadruples: str | Path, *, device: str = "cpu", sources: Sources | None = None
) -> Mapping[str, Figure]:
    """Embed quadruples with a CLIP-like model, and score its preferences.

    Args:
        model: A folder with a checkpoint, or a Hub id.
        quadruples: A JSON Lines file with `safe_image`, `unsafe_image`, `safe_text` and `unsafe_text` in each record.
        device: Where to embed.
        sources: Where models were opened before.

    Returns:
        The scores of `holisafe.benchmarks.safeground.KINDS` by name, in [0, 1], with 95 % intervals; each quadruple
        counts as independent of the others.

    Raises:
        EditingError: The model does not embed images and texts side by side.
        ModelError: It cannot be loaded.
        DataError: The quadruples cannot be read, or an embedding is not finite.
        ImageError: An image cannot be read.
    """
    found = read_pairs(str(quadruples), images=True, texts=True)
    with sources_or(sources) as opened:
        checkpoint = opened.open(model)
        encoders = open_encoders(checkpoint, device=device)
        if not encoders.is_image_and_text:
            raise EditingError(f"{checkpoint.name}: SafeGround needs a CLIP-like model, which embeds images and texts")
        columns = [
            torch.cat([encoders.encode_image(pair.safe_image) for pair in found]),
            torch.cat([encoders.encode_image(pair.unsafe_image) for pair in found]),
            torch.cat([encoders.encode_text(pair.safe_text) for pair in found]),
            torch.cat([encoders.encode_text(pair.unsafe_text) for pair in found]),
        ]  # each (quadruples, width)
    return safeground_scores(Quadruples.of(*(column.cpu().numpy() for column in columns)))
