"""The guard's state belongs to a call: threads, streams, tasks and unguarded calls on one model never meet."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from transformers import TextIteratorStreamer

from guard.prompts import assert_same, batch, guard, pictures, tiny, two_rows
from holisafe.errors import GuardError
from holisafe.guard import classify_images, disable, guarded_generate, session
from holisafe.guard.attach import observer_of
from tiny_models import FAMILIES

GREEDY = {"do_sample": False, "max_new_tokens": 3}
THREADS = 8


def rows() -> list[Any]:
    """Prompts about one image each, about two, and without an image."""
    a, b, c = pictures()
    return [([a], "hi"), ([b], "what is this?"), ([c], "a"), ([a, c], "and these?"), ([], "no image at all")]


def in_threads(jobs: list[Callable[[], bool]]) -> int:
    """How many of the jobs went wrong, `THREADS` of each kind running at once."""
    ready = threading.Barrier(2 * THREADS)

    def work(place: int) -> int:
        ready.wait()
        return sum(not job() for job in jobs[place :: 2 * THREADS])

    with ThreadPoolExecutor(2 * THREADS) as threads:
        return sum(threads.map(work, range(2 * THREADS)))


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_guarded_and_unguarded_threads_get_their_own_answers_and_verdicts(family: str) -> None:
    made = tiny(family)
    asked = [batch(made, [row]) for row in rows()]
    answers = [made.model.generate(**inputs, **GREEDY) for inputs in asked]
    model = guard(made)
    verdicts = [guarded_generate(model, inputs, **GREEDY).verdicts for inputs in asked]
    calls = 504 if family == "llava" else 64

    def guarded(at: int) -> bool:
        found = guarded_generate(model, asked[at], **GREEDY)
        return found.verdicts == verdicts[at] and torch.equal(found.sequences, answers[at])

    def plain(at: int) -> bool:
        return torch.equal(model.generate(**asked[at], **GREEDY), answers[at])

    places = itertools.cycle(range(len(asked)))
    jobs = [partial(kind, next(places)) for _ in range(calls // THREADS) for kind in [*[guarded] * 8, *[plain] * 8]]
    assert in_threads(jobs) == 0
    assert not observer_of(model)._sessions and not observer_of(model)._is_watched


def test_answers_streamed_side_by_side_have_their_own_verdicts() -> None:
    made = tiny("llava")
    asked = [batch(made, [row]) for row in rows()]
    model = guard(made)
    expected = [guarded_generate(model, i, processor=made.processor, **GREEDY) for i in asked]

    def stream(at: int) -> bool:
        streamer = TextIteratorStreamer(made.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        with session(model, asked[at]) as watched:
            run = contextvars.copy_context().run
            work = partial(run, model.generate, **watched.inputs, streamer=streamer, **GREEDY)
            thread = threading.Thread(target=work)
            thread.start()
            text = "".join(streamer)
            thread.join()
        return watched.verdicts() == expected[at].verdicts and text.strip() == expected[at].texts[0].strip()

    def plain(at: int) -> bool:
        model.generate(**asked[at], **GREEDY)
        return True

    places = itertools.cycle(range(len(asked)))
    jobs = [partial(kind, next(places)) for _ in range(4) for kind in [*[stream] * 8, *[plain] * 8]]
    assert in_threads(jobs) == 0


def test_a_session_can_be_entered_in_the_thread_that_generates() -> None:
    made = tiny("llava")
    model = guard(made)
    inputs = batch(made, two_rows())
    expected = guarded_generate(model, inputs, **GREEDY).verdicts
    watched = session(model, inputs)

    def generate() -> None:
        with watched:
            model.generate(**watched.inputs, **GREEDY)

    thread = threading.Thread(target=generate)
    thread.start()
    thread.join()
    assert watched.verdicts() == expected


def test_a_thread_without_the_context_gives_an_error_that_says_so() -> None:
    made = tiny("llava")
    model = guard(made)
    with session(model, batch(made, two_rows())) as watched:
        thread = threading.Thread(target=lambda: model.generate(**watched.inputs, **GREEDY))
        thread.start()
        thread.join()
    with pytest.raises(GuardError, match="copy_context"):
        watched.verdicts()


def test_tasks_that_take_turns_have_their_own_sessions() -> None:
    made = tiny("llava")
    asked = [batch(made, [row]) for row in rows()]
    model = guard(made)
    expected = [guarded_generate(model, inputs, **GREEDY).verdicts for inputs in asked]

    async def ask(inputs: dict[str, Any]) -> Any:
        with session(model, inputs) as watched:
            await asyncio.sleep(0)
            model.generate(**watched.inputs, **GREEDY)
            await asyncio.sleep(0)
            return watched.verdicts()

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(ask, asked))

    assert asyncio.run(all_of_them()) == expected


@pytest.mark.parametrize("meta", [{}, {"meta_token": True}])
@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_session_the_model_is_as_without_a_guard(family: str, meta: dict[str, Any]) -> None:
    made = tiny(family)
    inputs = batch(made, two_rows())
    with torch.no_grad():
        plain, answer = made.model(**inputs), made.model.generate(**inputs, **GREEDY)
        model = guard(made, **meta)
        found = model(**inputs)
        assert torch.equal(found.logits, plain.logits) and type(found) is type(plain)
        assert torch.equal(model.generate(**inputs, **GREEDY), answer)
        with session(model), disable(model):
            assert torch.equal(model(**inputs).logits, plain.logits)


def test_an_inner_call_leaves_the_outer_session_as_it_is() -> None:
    made = tiny("llava")
    model = guard(made)
    one, other = (batch(made, [row]) for row in two_rows())
    expected = [guarded_generate(model, inputs, **GREEDY).verdicts for inputs in (one, other)]
    with session(model, one) as outer:
        assert guarded_generate(model, other, **GREEDY).verdicts == expected[1]
        assert list(classify_images(model, pictures()[:1], processor=made.processor))
        model.generate(**outer.inputs, **GREEDY)
    assert outer.verdicts() == expected[0]


def test_sessions_of_two_models_in_one_context_do_not_meet() -> None:
    made, second = tiny("llava"), tiny("llava")
    model, other = guard(made), guard(second, pooling="last")
    inputs = batch(made, two_rows())
    expected = [guarded_generate(each, inputs, **GREEDY).verdicts for each in (model, other)]
    with session(model, inputs) as outer, session(other, inputs) as inner:
        model.generate(**outer.inputs, **GREEDY)
        other.generate(**inner.inputs, **GREEDY)
    assert [outer.verdicts(), inner.verdicts()] == expected


def test_a_generator_that_is_closed_elsewhere_ends_its_session() -> None:
    made = tiny("llava")
    model = guard(made)

    def answers() -> Any:
        with session(model, batch(made, two_rows())):
            yield

    opened = answers()
    contextvars.copy_context().run(next, opened)
    opened.close()
    assert not observer_of(model)._sessions


def test_a_copy_inside_a_session_is_in_none() -> None:
    made = tiny("llava")
    model = guard(made)
    inputs = batch(made, two_rows())
    expected = guarded_generate(model, inputs, **GREEDY).verdicts
    with session(model, inputs):
        copied = copy.deepcopy(model)
    assert not observer_of(copied)._sessions and not observer_of(copied)._is_watched
    assert_same(guarded_generate(copied, inputs, **GREEDY).verdicts, expected, 0)
