"""The shipped methods pass the suite that methods of other packages have to pass."""

from pathlib import Path
from typing import Any

from editing.tiny import clip, quadruples, safe_relative, siglip, vision_language
from holisafe.editing.conformance import MethodConformance


class _Merging(MethodConformance):
    def model(self, folder: Path) -> Path:
        safe_relative(folder / "safe")
        return vision_language(folder / "base")

    def settings(self, folder: Path) -> dict[str, Any]:
        return {"safe": str(folder / "safe"), "reference": str(folder / "base")}


class TestMerge(_Merging):
    name = "merge"

    def settings(self, folder: Path) -> dict[str, Any]:
        return {"safe": str(folder / "safe"), "c": 0.25}

    def neutral(self, folder: Path) -> dict[str, Any]:
        return {**self.settings(folder), "c": 0.0}


class TestTaskArithmetic(_Merging):
    name = "task-arithmetic"

    def neutral(self, folder: Path) -> dict[str, Any]:
        return {**self.settings(folder), "weight": 0.0}


class TestTies(_Merging):
    name = "ties"

    def neutral(self, folder: Path) -> dict[str, Any]:
        return {**self.settings(folder), "weight": 0.0}


class TestUwmOfAnImageAndTextModel(MethodConformance):
    name = "uwm"

    def model(self, folder: Path) -> Path:
        quadruples(folder / "pairs")
        return clip(folder / "base")

    def settings(self, folder: Path) -> dict[str, Any]:
        return {"pairs": str(folder / "pairs" / "quadruples.jsonl"), "encoders": "both"}

    def neutral(self, folder: Path) -> dict[str, Any]:
        return {**self.settings(folder), "alpha": 1.0}


class TestUwmOfAModelWithPaddedTexts(TestUwmOfAnImageAndTextModel):
    def model(self, folder: Path) -> Path:
        quadruples(folder / "pairs")
        return siglip(folder / "base")


class TestUwmOfAVisionLanguageModel(TestUwmOfAnImageAndTextModel):
    def model(self, folder: Path) -> Path:
        quadruples(folder / "pairs")
        return vision_language(folder / "base")

    def settings(self, folder: Path) -> dict[str, Any]:
        return {"pairs": str(folder / "pairs" / "quadruples.jsonl")}
