"""From the scores of a layer's weights to the weights that are changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from holisafe.editing._checkpoint import Checkpoint
from holisafe.errors import EditingError

if TYPE_CHECKING:
    from holisafe.editing.methods.uwm._layers import Layer


def select(scores: Tensor, sparsity: float) -> tuple[Tensor, float]:
    """The largest scores whose sum is at most 1 - sparsity of the layer's (adaptive threshold, Eq. 11).

    The published code also selects the weight at which the sum crosses the threshold; here the share never exceeds it.

    Args:
        scores: Score of each weight, (out, in), not negative.
        sparsity: Share of the sum of all scores that is left alone, in [0, 1).

    Returns:
        Positions in the flattened weight, (selected,) int32, ascending; and their share of the sum.
    """
    flat = scores.double().flatten()  # (out · in,)
    order = flat.argsort(descending=True, stable=True)
    share = flat[order].cumsum(0) / flat.sum()  # (out · in,)
    count = int((share <= 1 - sparsity).sum())
    return order[:count].sort().values.int(), float(share[count - 1]) if count else 0.0


def read_selection(path: str, base: Checkpoint, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """Positions that an earlier edit selected, by tensor.

    Raises:
        EditingError: The file is missing or damaged, or was made for other layers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(path).expanduser()
    if not file.is_file():
        raise EditingError(f"selection: {file}: no such file; give the selection.safetensors of an edited model")
    try:
        found: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise EditingError(f"selection: {file}: no whole safetensors file ({error}); get it again") from error
    wanted = {layer.tensor for layer in layers}
    if different := sorted(wanted ^ found.keys()):
        raise EditingError(f"selection: {file}: made for other layers ({different[0]} differs); score again without it")
    for name, positions in found.items():
        rows, columns = base.tensors[name].shape
        if positions.ndim != 1 or positions.dtype != torch.int32 or not _are_within(positions, rows * columns):
            raise EditingError(f"selection: {file}: {name}: expected ascending positions below {rows * columns:,}")
    return found


def _are_within(positions: Tensor, size: int) -> bool:
    if not len(positions):
        return True
    is_ascending = bool((positions.diff() > 0).all())
    return is_ascending and int(positions[0]) >= 0 and int(positions[-1]) < size
