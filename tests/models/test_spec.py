"""A model's description is read at the border: what is unknown is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holisafe.errors import ModelError
from holisafe.models import ModelSpec, load
from holisafe.models.spec import Dtype, Quantization


def test_names_become_members() -> None:
    spec = ModelSpec.parse(
        Path("/some/model"), dtype="torch.bfloat16", device="cuda:1", quantization="4BIT", guard=Path("/a/guard")
    )
    assert spec == ModelSpec(
        "/some/model", dtype=Dtype.BFLOAT16, device="cuda:1", quantization=Quantization.FOUR_BIT, guard="/a/guard"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int3"}, "dtype 'int3' is not known; expected one of auto, float32, bfloat16, float16"),
        ({"device": "gpu"}, "device 'gpu' is not known"),
        ({"device": "cuda:x"}, "device 'cuda:x' is not known"),
        ({"device": ""}, "device '' is not known"),
        ({"device_map": "everywhere"}, "device_map 'everywhere' is not known"),
        ({"device_map": {"": "nowhere"}}, "device 'nowhere' is not known"),
        ({"device": "cpu", "device_map": "auto"}, "exclude each other"),
        ({"quantization": "3bit"}, "quantization '3bit' is not known; expected 4bit or 8bit"),
        ({"quantization": {"bits": 4}}, "without quant_method"),
    ],
)
def test_what_is_unknown_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModelSpec.parse("pocket", **options)


def test_a_spec_stands_for_a_name_with_options() -> None:
    spec = ModelSpec.of(ModelSpec("pocket", dtype="BFLOAT16", device="cpu"))  # type: ignore[arg-type]
    assert spec == ModelSpec.of("pocket", dtype="bfloat16", device="cpu", guard=None, trust_remote_code=False)
    assert spec.options() == {
        **dict.fromkeys(("revision", "device_map", "quantization", "attention", "guard")),
        "dtype": "bfloat16",
        "device": "cpu",
        "trust_remote_code": False,
    }


def test_a_spec_made_by_hand_is_checked() -> None:
    with pytest.raises(ModelError, match="device 'gpu' is not known"):
        ModelSpec.of(ModelSpec("pocket", device="gpu"))


def test_options_beside_a_spec_are_refused() -> None:
    with pytest.raises(ModelError, match="the model is a ModelSpec, and device, guard was given beside it"):
        ModelSpec.of(ModelSpec("pocket"), device="cpu", guard="own", revision=None)
    with pytest.raises(ModelError, match="dtype was given beside it"):
        load(ModelSpec("pocket"), dtype="float32")


def test_no_model_is_said_to_be_none() -> None:
    with pytest.raises(ModelError, match="no model is named"):
        ModelSpec.parse(" ")
