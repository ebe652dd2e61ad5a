"""Random renderings of many pictures at once, on whatever device they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


class Augment:
    """Draws places, sizes, turns, mirror images, colours and light for batches of pictures.

    Args:
        grounds: (grounds, 3, side, side) uint8, what may lie behind a cutout.
        seed: Of every choice.
    """

    def __init__(self, grounds: Tensor, seed: int) -> None:
        self._grounds = grounds
        self._generator = torch.Generator(grounds.device).manual_seed(seed)

    def place(self, cutouts: Tensor, has_one_colour: Tensor) -> Tensor:
        """Cutouts on grounds.

        Args:
            cutouts: (batch, 4, side, side) uint8, RGBA.
            has_one_colour: (batch,) Whether a drawing's colour is to be drawn.

        Returns:
            (batch, 3, side, side) from 0 to 255.
        """
        count = len(cutouts)
        size = self._uniform(count, 0.45, 0.95)
        turn = torch.where(self._uniform(count, 0, 1) < 0.5, 0.15, 0.0) * self._normal(count)
        stretch = self._uniform(count, 0.85, 1.18)
        room = (1 - size)[:, None] * self._uniform((count, 2), -1, 1)
        moved = self._move(cutouts.float() / 255, 1 / size, turn, stretch, room, premultiply=True)
        colour, cover = moved[:, :3], moved[:, 3:]
        ink = self._uniform((count, 3, 1, 1), 0, 0.45) * (self._uniform((count, 1, 1, 1), 0, 1) < 0.8)
        colour = torch.where(has_one_colour[:, None, None, None], ink * cover, colour)
        return self._light(colour * 255 + (1 - cover) * self._behind(count))

    def shift(self, pictures: Tensor) -> Tensor:
        """Pictures, a little moved: (batch, 3, side, side) uint8 to the same shape, from 0 to 255."""
        count = len(pictures)
        size = self._uniform(count, 0.85, 1.2)
        turn = 0.06 * self._normal(count)
        room = 0.1 * self._uniform((count, 2), -1, 1)
        still = torch.ones(count, device=pictures.device)
        return self._light(self._move(pictures.float(), 1 / size, turn, still, room, premultiply=False))

    def _move(
        self, images: Tensor, shrink: Tensor, turn: Tensor, stretch: Tensor, room: Tensor, *, premultiply: bool
    ) -> Tensor:
        """Images moved by an affine map each, half of them mirrored; what comes in is empty or the edge."""
        mirrored = torch.where(self._uniform(len(images), 0, 1) < 0.5, -1.0, 1.0)
        cos, sin = turn.cos() * shrink, turn.sin() * shrink
        rows = torch.stack([mirrored * cos * stretch, mirrored * sin, -sin, cos / stretch], 1).view(-1, 2, 2)
        offset = -(rows @ room[:, :, None])
        grid = F.affine_grid(torch.cat([rows, offset], 2), list(images.shape), align_corners=False)
        if premultiply:
            images = torch.cat([images[:, :3] * images[:, 3:], images[:, 3:]], 1)
        return F.grid_sample(images, grid, padding_mode="zeros" if premultiply else "border", align_corners=False)

    def _behind(self, count: int) -> Tensor:
        drawn = self._grounds[self._integers(count, len(self._grounds))].float()  # (count, 3, side, side)
        flat = self._uniform((count, 3, 1, 1), 150, 255)
        kind = self._uniform((count, 1, 1, 1), 0, 1)
        return torch.where(kind < 0.6, drawn, torch.where(kind < 0.8, flat, torch.full_like(flat, 255.0)))

    def _light(self, pictures: Tensor) -> Tensor:
        count = (len(pictures), 1, 1, 1)
        mean = pictures.mean((1, 2, 3), keepdim=True)
        contrast, light = self._uniform(count, 0.75, 1.15), self._uniform(count, -15, 15)
        tint = self._uniform((len(pictures), 3, 1, 1), 0.92, 1.05)
        return (((pictures - mean) * contrast + mean + light) * tint).clamp(0, 255)

    def _uniform(self, shape: int | tuple[int, ...], low: float, high: float) -> Tensor:
        device = self._grounds.device
        return torch.rand(shape, generator=self._generator, device=device) * (high - low) + low

    def _normal(self, count: int) -> Tensor:
        return torch.randn(count, generator=self._generator, device=self._grounds.device).clamp(-math.pi, math.pi)

    def _integers(self, count: int, below: int) -> Tensor:
        return torch.randint(below, (count,), generator=self._generator, device=self._grounds.device)
