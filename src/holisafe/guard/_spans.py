"""Which positions of a batch of prompts belong to which image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from holisafe.errors import GuardError
from holisafe.families import Family, Grouping


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the images of a batch are.

    Attributes:
        rows: Row of each image, in order (images,).
        tokens: Rows and columns of all visual tokens, and the image each belongs to: three tensors (tokens,).
        counts: Visual tokens of each image (images,).
        ends: Column of each prompt's last token (rows,).
        width: Columns of the batch.
    """

    rows: Tensor
    tokens: tuple[Tensor, Tensor, Tensor]
    counts: Tensor
    ends: Tensor
    width: int

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.rows)


def find_images(
    input_ids: Tensor,
    image_token: int,
    family: Family,
    boundaries: tuple[Sequence[int], Sequence[int]],
    lengths: Sequence[int] | None,
    ends: Tensor,
) -> Layout:
    """Find the images of a batch.

    Args:
        input_ids: (rows, columns) on the CPU.
        image_token: Id of the placeholder.
        family: Which placeholders are one image.
        boundaries: Ids of the family's `first` and `last` tokens.
        lengths: Visual tokens of each entry of `get_image_features`, in order; only read where the family is
            grouped by them.
        ends: Column of each prompt's last token (rows,).

    Raises:
        GuardError: The features do not fit the placeholders.
    """
    row, column = (input_ids == image_token).nonzero(as_tuple=True)  # (tokens,) each, row by row
    if family.grouping is Grouping.FEATURES and lengths is not None:
        if sum(lengths) != len(row):
            raise GuardError(f"{len(row)} image placeholders in the prompts, but {sum(lengths)} visual tokens")
        image = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(list(lengths), dtype=torch.long))
    else:
        image = _by_runs(input_ids, row, column, boundaries if family.grouping is Grouping.BOUNDARIES else None)
    count = int(image[-1]) + 1 if len(image) else 0
    counts = torch.bincount(image, minlength=count)
    last = counts.cumsum(0) - 1  # index of each image's last token
    rows = row[last]
    first = row[last - counts + 1]
    if bool((first != rows).any()):
        raise GuardError("the visual tokens of one image lie in several prompts; were images and prompts reordered?")
    return Layout(rows, (row, column, image), counts, ends, input_ids.shape[1])


def _by_runs(
    input_ids: Tensor, row: Tensor, column: Tensor, boundaries: tuple[Sequence[int], Sequence[int]] | None
) -> Tensor:
    """The image of each placeholder (tokens,): one per unbroken run, or as boundary tokens say."""
    if not len(row):
        return row
    starts = torch.ones_like(row, dtype=torch.bool)
    starts[1:] = (row[1:] != row[:-1]) | (column[1:] != column[:-1] + 1)
    if boundaries is None:
        return starts.long().cumsum(0) - 1
    first, last = (torch.tensor(list(ids), dtype=torch.long) for ids in boundaries)
    opened = torch.isin(input_ids, first).long().cumsum(1)[row, column]  # boundary tokens before, in its row
    is_last_run = starts & torch.isin(input_ids[row, (column - 1).clamp(min=0)], last)
    closed = is_last_run.long().cumsum(0)  # last runs so far, this one included
    run = starts.long().cumsum(0) - 1
    run_starts = starts.nonzero()[:, 0]
    closed_before = (closed - is_last_run.long())[run_starts][run]  # last runs before this one
    changed = torch.ones_like(starts)
    changed[1:] = (row[1:] != row[:-1]) | (opened[1:] != opened[:-1]) | (closed_before[1:] != closed_before[:-1])
    return changed.long().cumsum(0) - 1


def pooling_weights(layout: Layout, start: int, stop: int, rows: int) -> Tensor:
    """Which columns in [start, stop) belong to which image: (rows, images of a row, columns), 1 or 0.

    Images are placed by their order within their row.
    """
    row, column, image = layout.tokens
    slot = slots(layout)
    inside = (column >= start) & (column < stop)
    weights = torch.zeros(rows, int(slot.max()) + 1 if len(slot) else 0, stop - start)
    weights[row[inside], slot[image[inside]], column[inside] - start] = 1
    return weights


def last_tokens(layout: Layout) -> Layout:
    """The layout whose only visual token of each image is its last."""
    row, column, image = layout.tokens
    last = layout.counts.cumsum(0) - 1
    tokens = (row[last], column[last], image[last])
    return replace(layout, tokens=tokens, counts=torch.ones_like(layout.counts))


def slots(layout: Layout) -> Tensor:
    """Each image's order within its row (images,)."""
    if not layout.images:
        return layout.rows
    index = torch.arange(layout.images)
    new_row = torch.ones(layout.images, dtype=torch.bool)
    new_row[1:] = layout.rows[1:] != layout.rows[:-1]
    return index - torch.where(new_row, index, 0).cummax(0).values


def last_columns(attention_mask: Any, width: int, rows: int) -> Tensor:
    """Column of each row's last token (rows,), for padding on either side.

    Without a mask of rows and columns it is the last one: what `generate` makes of its masks for a static cache is
    for left-padded prompts.
    """
    if not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2:
        return torch.full((rows,), width - 1)
    mask = attention_mask[:, -width:].cpu() != 0
    return width - 1 - mask.flip(1).long().argmax(1)
