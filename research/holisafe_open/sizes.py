"""The splits of HoliSafe-Open and how much each of them gets."""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = ("train", "calibration", "test", "transfer")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a split gets: twin pairs, further safe pictures, scenes, marked safe pictures, unsafe pictures.

    `copies` is how often each harmless document of the split is drawn, on another background each time;
    `further_pairs` is how many more twin pairs ask about pictures that are there already.
    """

    pairs: int
    singles: int
    scenes: int
    marked: int
    unsafe: int
    copies: int = 1
    further_pairs: int = 0


SIZES = {
    "train": Sizes(420, 380, 70, 30, 400, 5),
    "calibration": Sizes(36, 36, 10, 5, 60, 3),
    "test": Sizes(170, 160, 30, 12, 170, 5),
    "transfer": Sizes(70, 64, 14, 8, 100, 0),
}
