"""A second reading of one answer: another prompt, continued by the same tokens, for differences of logits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from holisafe.errors import ModelError

_CLOSED = -1


class Branch:
    """A prompt whose answer somebody else chooses; close it, or the thread that reads it waits for ever.

    transformers' `generate` reads it in a thread of its own, so that caches and positions are those of any answer. It
    works only while the caller waits, so that the model is never used by both. Neither guards nor interventions see
    it: theirs are the thread that generates.

    Args:
        model: The model.
        inputs: What `generate` is given for one prompt.
        config: Its generation config.
        autocast: Entered around it, in its thread.

    Attributes:
        passes: Forward passes so far.
    """

    def __init__(
        self,
        model: Any,
        inputs: dict[str, Any],
        config: Any,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.passes = 0
        self._generate = partial(_generate, model, inputs, config, autocast)
        self._thread: threading.Thread | None = None

    def logits(self, token: int | None = None) -> Tensor:
        """Logits of the next token, (vocabulary,).

        Args:
            token: The token that was chosen after the last call; None to begin, also again.

        Raises:
            ModelError: The forward pass failed, or the branch has not begun.
        """
        if token is None:
            self._begin()
        elif self._thread is None:
            raise ModelError("a branch begins without a token")
        else:
            self._chosen.put(token)
        read = self._read.get()
        if isinstance(read, BaseException):
            raise ModelError(f"the second reading of the answer failed: {type(read).__name__}: {read}") from read
        self.passes += 1
        return read

    def close(self) -> None:
        """End it."""
        if self._thread is not None:
            self._chosen.put(_CLOSED)
            self._thread.join()
            self._thread = None

    def _begin(self) -> None:
        self.close()
        self._chosen: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._read: queue.SimpleQueue[Tensor | BaseException] = queue.SimpleQueue()
        arguments = (self._chosen, self._read)
        self._thread = threading.Thread(target=self._generate, args=arguments, name="holisafe-branch", daemon=True)
        self._thread.start()


class _Relay(LogitsProcessor):  # type: ignore[misc]
    """Hands out the logits of each step, and takes the token that others chose."""

    def __init__(self, chosen: queue.SimpleQueue[int], read: queue.SimpleQueue[Any]) -> None:
        self._chosen = chosen
        self._read = read

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._read.put(scores[0].clone())
        token = self._chosen.get()
        if token == _CLOSED:
            raise _ClosedError
        forced = torch.full_like(scores, -torch.inf)
        forced[0, token] = 0
        return forced


class _ClosedError(Exception):
    pass


@torch.inference_mode()
def _generate(model: Any, inputs: dict[str, Any], config: Any, autocast: Any, chosen: Any, read: Any) -> None:
    relay = LogitsProcessorList([_Relay(chosen, read)])
    try:
        with autocast():
            model.generate(**inputs, generation_config=config, logits_processor=relay)
        read.put(ModelError("it has ended"))
    except _ClosedError:
        pass
    except Exception as error:
        read.put(error)
