"""Every method passes the suite, one of another package too."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from holisafe.guard import GuardConfig
from holisafe.records import Sample
from holisafe.tuning import TuneConfig, method_names
from holisafe.tuning.conformance import MethodConformance
from holisafe.tuning.methods import METHODS, MethodConfig
from holisafe.tuning.methods._method import Method
from holisafe.tuning.methods.sft import Sft
from tiny_models import llava
from tuning.data import in_pairs


class TestVgm(MethodConformance):
    name = "vgm"
    method_args = {"image_weight": 0.5, "joint_weight": 0.25}  # noqa: RUF012

    def fresh(self) -> tuple[Any, Any]:
        made = llava()
        return made.model, made.processor


class TestMetaToken(TestVgm):
    name = "meta-token"


class TestSft(TestVgm):
    name = "sft"
    method_args = {}  # noqa: RUF012


class TestDpo(TestVgm):
    name = "dpo"
    method_args = {"beta": 0.5}  # noqa: RUF012

    def samples(self) -> list[Sample]:
        return in_pairs(super().samples())


class TestDpoWithGuard(TestDpo):
    guard = GuardConfig()


class TestVlguard(TestVgm):
    name = "vlguard"
    method_args = {"shuffle_seed": 3}  # noqa: RUF012


class TestMirageWithGuard(TestVgm):
    name = "mirage"
    method_args = {"image_weight": 0.5}  # noqa: RUF012
    guard = GuardConfig()


@dataclass(frozen=True, kw_only=True)
class HalfConfig(MethodConfig):
    share: float = field(default=0.5, metadata={"help": "Of the loss."})


class Half(Sft):
    name = "half"
    config = HalfConfig

    def loss(self, model: Any, batch: Any, config: Any) -> Any:
        from dataclasses import replace

        found = super().loss(model, batch, config)
        return replace(found, terms=tuple(replace(term, weight=config.share) for term in found.terms))


HALF: Method = Half()


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that adds the method by an entry point."""
    point = EntryPoint("half", f"{__name__}:HALF", METHODS.group)
    monkeypatch.setattr(EntryPoint, "load", lambda self: HALF)
    monkeypatch.setattr(
        "holisafe._registry.entry_points",
        lambda group, **named: [point] if group == METHODS.group and named.get("name", "half") == "half" else [],
    )


@pytest.mark.usefixtures("half")
class TestOfAnotherPackage(TestVgm):
    name = "half"
    method_args = {"share": 0.25}  # noqa: RUF012

    def test_it_is_named_beside_the_others(self) -> None:
        assert {"half", "meta-token", "sft", "vgm"} <= set(method_names())
        assert TuneConfig(method="half").method_config == HalfConfig()
