"""The result of a scan for one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holisafe.records import ImageVerdict


@dataclass(frozen=True, slots=True)
class ScanRow:
    """One image, and its verdict or why it has none.

    Attributes:
        id: Where the image is: "cat.png", "pets.tar/cat.png", "pets.parquet#12".
        digest: SHA-256 of its encoded bytes, in hex; empty where they could not be read.
        verdict: What the guard says; None where there is an error.
        error: Why there is no verdict; empty where there is one.
    """

    id: str
    digest: str
    verdict: ImageVerdict | None
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/json.md): image, digest, and the verdict's fields or error."""
        named = {"image": self.id} | ({"digest": self.digest} if self.digest else {})
        return named | ({"error": self.error} if self.verdict is None else self.verdict.to_json())
