"""Guard sessions: verdicts belong to a call, so threads, streams and unguarded calls on one model never meet.

    with session(model, inputs) as watched:
        tokens = model.generate(**watched.inputs, max_new_tokens=64)
    watched.verdicts()

Outside a session a guarded model computes what it computes without its guard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from holisafe.guard._context import enter, leave
from holisafe.guard._reading import GuardLogits
from holisafe.guard._session import GuardSession
from holisafe.guard.attach import find_observer, observer_of
from holisafe.guard.inputs import prepare_inputs

__all__ = ["GuardLogits", "GuardSession", "disable", "session"]


def session(model: Any, inputs: Mapping[str, Any] | None = None) -> GuardSession:
    """A call in which the model's guard works, as a context manager.

    With `inputs` the guard reads these prompts, in one forward pass or in chunks, with any cache, beam search or
    sampling; run the model on `session.inputs`, which holds the meta tokens and visual features that the guard needs.
    Without, it reads each whole prompt that a forward pass within is given, and puts `image_logits`, `image_rows` and
    `joint_logits` into the model's output: for training steps, also under DDP and FSDP.

    It holds for the thread or asyncio task that enters it. To generate in another thread, as a streamer does, run
    that thread in a copy of the context, or enter the session there:

        with session(model, inputs) as watched:
            run = contextvars.copy_context().run
            thread = Thread(target=run, args=(partial(model.generate, **watched.inputs, streamer=streamer),))

    Args:
        model: A model with a guard, also one wrapped by PEFT or DDP.
        inputs: What the processor returned for one or more prompts, with or without images.

    Raises:
        GuardError: The model has no guard, `inputs` hold no `input_ids`, or the visual features do not fit them.
    """
    made = GuardSession(observer_of(model))
    if inputs is not None:
        made.plan(prepare_inputs(model, inputs))
    return made


@contextmanager
def disable(model: Any) -> Iterator[None]:
    """Within it the model's guard does nothing, even inside a session."""
    observer = find_observer(model)
    if observer is None:
        yield
        return
    entry = (observer, None)
    enter(entry)
    try:
        yield
    finally:
        leave(entry)
