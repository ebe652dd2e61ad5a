"""Misuse of the public interface ends at the border: a TypeError that names the argument, or a typed error."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import tiny_models
from holisafe import (
    Combination,
    GuardConfig,
    ImageRef,
    JudgeId,
    Judgement,
    Outcome,
    Response,
    Role,
    Sample,
    Turn,
    attach_guard,
    classify_images,
    guarded_generate,
    measure,
    write_report,
)
from holisafe._lazy import missing
from holisafe.datasets import find, fingerprint, load, stratified
from holisafe.errors import DataError, GuardError, HoliSafeError, ModelError, RunError, UnknownNameError
from holisafe.guard import decide, guard_findings, what_if
from holisafe.judges import get, judge_all, no_answer
from holisafe.metrics import summarise, twin_pairs
from holisafe.models import Engine, Prompt, Request
from holisafe.models import load as load_model

WRONG = (None, 3, "x", object(), b"\xff")
CALLS: dict[str, Callable[[Any], Any]] = {
    "Turn": lambda wrong: Turn(Role.USER, "text", wrong),
    "Sample": lambda wrong: Sample("a", wrong),
    "Judgement": lambda wrong: Judgement("a", wrong, Outcome.REFUSED),
    "load": lambda wrong: load(wrong),
    "find": lambda wrong: find(wrong),
    "fingerprint": lambda wrong: fingerprint(wrong),
    "stratified": lambda wrong: stratified(wrong, 5),
    "get": lambda wrong: get(wrong),
    "no_answer": lambda wrong: no_answer(wrong),
    "judge_all": lambda wrong: judge_all(get("holisafe"), wrong, wrong),
    "summarise": lambda wrong: summarise(wrong, wrong),
    "twin_pairs": lambda wrong: twin_pairs(wrong),
    "decide": lambda wrong: decide("warn", wrong, None),
    "what_if": lambda wrong: what_if(wrong, "warn"),
    "guard_findings": lambda wrong: guard_findings(wrong),
    "write_report": lambda wrong: write_report(wrong, "report.html"),
    "measure": lambda wrong: measure(wrong),
    "Prompt": lambda wrong: Prompt(wrong),
    "Request": lambda wrong: Request(wrong),
    "Engine": lambda wrong: Engine(wrong, wrong),
    "attach_guard": lambda wrong: attach_guard(wrong),
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: type(wrong).__name__)
@pytest.mark.parametrize("name", CALLS)
def test_a_value_of_a_wrong_type_is_refused_at_the_border(name: str, wrong: object) -> None:
    with pytest.raises((TypeError, HoliSafeError)):
        CALLS[name](wrong)


@pytest.mark.parametrize("field", ["options", "interventions"])
def test_a_request_that_would_stop_the_engines_thread_is_refused(field: str) -> None:
    with pytest.raises(TypeError, match=field):
        Request(Prompt.ask("hi"), **{field: {"max_new_tokens": 4}})


def test_records_read_names_of_enums_so_that_figures_compare_members() -> None:
    sample = Sample("a", (Turn("user", "q"),), "refuse", "uuu", ("SAFE",))  # type: ignore[arg-type]
    judgement = Judgement("a", JudgeId("j"), "refused")  # type: ignore[arg-type]
    assert sample.combination is Combination.UUU
    assert not sample.is_safe
    figure = summarise([sample], [judgement]).asr[Combination.UUU]
    assert figure is not None
    assert figure.value == 0
    with pytest.raises(UnknownNameError):
        Judgement("a", JudgeId("j"), "nonsense")  # type: ignore[arg-type]


def test_inputs_of_a_guarded_model_are_checked_before_it_runs() -> None:
    made = tiny_models.llava()
    model = attach_guard(made.model.eval(), GuardConfig())
    image = Image.new("RGB", (8, 8))
    for inputs in (None, "hi", {"input_ids": [[1, 2]]}):
        with pytest.raises(TypeError):
            guarded_generate(model, inputs)  # type: ignore[arg-type]
    for none in ({}, {"pixel_values": image}):
        with pytest.raises(GuardError, match="input_ids"):
            guarded_generate(model, none)
    with pytest.raises(TypeError, match="processor"):
        list(classify_images(model, [image], processor=None))
    for images in ("x", ["x"], [None], [image, 3]):
        with pytest.raises(TypeError, match="images"):
            list(classify_images(model, images, processor=made.processor))  # type: ignore[arg-type]
    with pytest.raises(GuardError, match="0 x 4 pixels"):
        list(classify_images(model, [Image.new("RGB", (0, 4))], processor=made.processor))
    with pytest.raises(TypeError, match="config"):
        attach_guard(made.model, {"image_head": True})  # type: ignore[arg-type]


class _Broken:
    id = JudgeId("broken", "1")

    async def judge(self, sample: Sample, response: Response, ask: Any = None) -> Judgement:
        raise LookupError("of the judge itself")


def test_what_a_judge_raises_is_an_error_of_that_sample_within_an_event_loop_too() -> None:
    samples, responses = [Sample.ask("a", (ImageRef("i", data=b""),), "q", "SSS")], [Response("a", "yes", "m")]

    async def within() -> None:
        (found,) = judge_all(_Broken(), samples, responses)
        assert (found.outcome, found.rationale) == (Outcome.ERROR, "LookupError: of the judge itself")

    asyncio.run(within())
    with pytest.raises(DataError, match="1 samples and 0 responses"):
        judge_all(_Broken(), samples, [])


def test_numbers_out_of_range_are_refused_before_anything_is_asked() -> None:
    for name in ("seed", "max_retries", "timeout", "max_new_tokens", "batch_size"):
        with pytest.raises(RunError, match=f"{name}: found -1"):
            measure("mockllm/model", **{name: -1})


def test_an_unknown_judge_model_or_attention_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nope"):
        measure("mockllm/model", limit=5, judge_model="nope", out=tmp_path / "run")
    with pytest.raises(ModelError, match="attention 'nope'"):
        load_model("pocket", attention="nope")


def test_a_missing_library_is_named_with_the_extra_that_installs_it() -> None:
    told = missing(ModuleNotFoundError(name="inspect_ai.log"), "this")
    assert told is not None
    assert "pip install 'holisafe[bench]'" in str(told)
    assert missing(ModuleNotFoundError(name="holisafe.nothing"), "this") is None


def test_a_written_run_is_read_and_reported_without_inspect_or_torch() -> None:
    program = (
        "import sys; import holisafe.bench._read, holisafe.report; "
        "print(sorted({'torch', 'transformers', 'inspect_ai'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
