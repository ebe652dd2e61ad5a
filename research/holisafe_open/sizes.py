"""The splits of HoliSafe-Open and how much each of them gets."""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = ("train", "calibration", "test", "transfer", "photo")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a split gets; harmless documents, scenes and marked things follow from the unsafe ones.

    Attributes:
        pairs: Twin pairs that are planned as closed walks.
        singles: Further pictures of one harmless thing.
        unsafe: Unsafe pictures.
        further_pairs: Twin pairs about pictures that are there already.
        suu: Unsafe requests about harmless pictures.
    """

    pairs: int
    singles: int
    unsafe: int
    further_pairs: int = 0
    suu: int = 0


SIZES = {
    "train": Sizes(440, 260, 520, 120, 640),
    "calibration": Sizes(60, 70, 130, 20, 110),
    "test": Sizes(180, 130, 250, 60, 290),
    "transfer": Sizes(80, 60, 110, 20, 110),
    "photo": Sizes(0, 0, 0, 0, 40),
}
