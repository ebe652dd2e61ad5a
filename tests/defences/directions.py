"""Samples, tiny models and fitted folders for the defences that learn directions."""

from __future__ import annotations

import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import tiny_models
from holisafe.defences import fit
from holisafe.models import Answer, Engine, GenerationOptions, LoadedModel, Prompt
from holisafe.records import Sample
from models.engine.pictures import TALL, WIDE

OPTIONS = GenerationOptions(max_new_tokens=10)
ANY = {"own_answers": False, "max_kl": 1e9, "min_induced": -1e9}
"""Settings under which a model that never learned to refuse has a refusal direction."""

WORDS = ("hm", "this", "it now", "a cup", "red", "one more", "that")


def samples() -> list[Sample]:
    """Seven harmless and seven harmful requests; harmless ones end in "?", harmful ones in "!"."""
    return [
        Sample.ask(f"{kind}-{word}", [(WIDE, TALL)[at % 2]], word + 20 * mark, kind)
        for kind, mark in (("SSS", "?"), ("SUU", "!"))
        for at, word in enumerate(WORDS)
    ]


@cache
def tiny(family: str) -> LoadedModel:
    """A tiny model; not to be changed."""
    made = tiny_models.FAMILIES[family]()
    return LoadedModel(made.model, made.processor, "tiny")


@cache
def fitted(name: str, family: str = "llava") -> Path:
    """A folder with what a defence learned of a tiny model."""
    folder = Path(tempfile.mkdtemp()) / name
    settings: dict[str, Any] = ANY if name == "refusal-direction" else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* fewer than the 160")
        fit(name, tiny(family), samples(), folder, settings=settings)
    return folder


def plain(model: LoadedModel, prompts: list[Prompt]) -> list[Answer]:
    """Answers without a defence."""
    with Engine(model.model, model.processor) as engine:
        return engine.answer(prompts, OPTIONS)
