"""A tiny model and small data on the disk, as `tune` and the commands take them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from guard.prompts import tiny
from holisafe.datasets.export import export_parquet
from holisafe.records import Sample
from holisafe.taxonomy import Combination
from tiny_models import save
from tuning import data
from tuning.data import ANSWERED, picture, sample

SETTINGS = replace(data.SETTINGS, max_steps=4, weight_decay=0.0)


def write_model(folder: Path) -> Path:
    """A tiny LLaVA that tells images apart."""
    return save(tiny("llava"), folder)


def safety(count: int = 6, first: int = 0) -> list[Sample]:
    """Refused and answered samples by turns, each with an image of its own."""
    return [
        sample(
            f"s{i}",
            images=(picture(f"#{40 * (i % 2):02x}{i:02x}90"),),
            query=f"what is {i}?",
            cluster=f"{i}",
            **(ANSWERED if i % 2 else {}),
        )
        for i in range(first, first + count)
    ]


def general(count: int = 3) -> list[Sample]:
    """Questions that need no refusal, without labels."""
    return [
        sample(
            f"g{i}",
            images=(picture(f"#ff{i:02x}ff"),),
            query=f"colour {i}?",
            combination=Combination.SSS,
            category=None,
            image_labels=(),
            reference="Pink.",
        )
        for i in range(count)
    ]


def write_data(folder: Path) -> Path:
    """A data set with the splits train and calibration."""
    export_parquet(safety(), folder, "train")
    export_parquet(safety(4, first=20), folder, "calibration")
    return folder
