"""What else is done with a model between two batches: forward passes of one's own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from holisafe.errors import ModelError
from holisafe.guard import disable
from holisafe.models.engine.failures import drop_tensors, explained
from holisafe.models.prompts import Prepared, Prompt


@dataclass(eq=False)
class Call:
    """One of them.

    Attributes:
        prompt: The prompt.
        work: Called with the inputs of its forward pass and its tensors; gives the result.
        prepared: Its tensors, once they are there.
        result: The result, once it is there.
    """

    prompt: Prompt
    work: Callable[[dict[str, Any], Prepared], Any]
    prepared: Future[Prepared] = field(default_factory=Future)
    result: Future[Any] = field(default_factory=Future)

    @torch.inference_mode()
    def run(self, model: Any, inputs: Callable[[Prepared], dict[str, Any]], *, is_closed: bool) -> None:
        """Do it; what goes wrong is the result's error.

        Args:
            model: The model, whose guard sees nothing of it.
            inputs: Gives the inputs of its forward pass.
            is_closed: Whether the model was closed meanwhile.
        """
        if not self.result.set_running_or_notify_cancel():
            return
        try:
            if is_closed:
                raise ModelError("the model was closed before it answered")
            prepared = self.prepared.result()
            with disable(model):
                result = self.work(inputs(prepared), prepared)
        except Exception as error:
            drop_tensors(error)
            self.result.set_exception(explained(error))
        else:
            self.result.set_result(result)
