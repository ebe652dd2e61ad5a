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
    "train": Sizes(520, 150, 494, 0, 640),
    "calibration": Sizes(88, 70, 152, 0, 114),
    "test": Sizes(264, 60, 266, 0, 300),
    "transfer": Sizes(110, 30, 114, 0, 114),
    "photo": Sizes(0, 0, 0, 0, 40),
}
