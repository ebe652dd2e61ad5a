"""The model provider `holisafe/`: local vision-language models with images, behind Inspect's interface."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import platform
from functools import cached_property
from pathlib import Path
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ContentImage,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from holisafe.bench._ask import VERDICT
from holisafe.errors import ModelError
from holisafe.models import Answerer, LoadedModel, Prompt, Turn, load
from holisafe.records import GuardVerdict, ImageRef

WEIGHT_HASH_LIMIT = 2 * 2**30
"""Bytes of weights up to which they are hashed whole; of larger files many pieces and the size."""

WEIGHT_HASH_PIECES = 1024
"""Pieces of 64 KiB of a large file, evenly spaced from its beginning, beside the last: no layer lies between two."""


class LocalVLM(ModelAPI):
    """A local model; `model_name` is what `holisafe.models.load` takes.

    Model arguments (`-M name=value` on Inspect's command line): device, dtype, attention, revision, batch_size,
    image_reuse, trust_remote_code, guard. With a guard, an output's metadata hold its verdicts under `holisafe_guard`.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),
        *,
        device: str | None = None,
        dtype: str | None = None,
        attention: str | None = None,
        revision: str | None = None,
        batch_size: int = 16,
        image_reuse: bool = True,
        trust_remote_code: bool = False,
        guard: str | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self._options: dict[str, Any] = {
            "device": device,
            "dtype": dtype,
            "attention": attention,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
            "guard": guard,
        }
        self._batch_size = batch_size
        self._image_reuse = image_reuse

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, loaded on first use: Inspect makes further instances only to ask for a model's name."""
        return load(self.model_name, **self._options)

    @cached_property
    def answerer(self) -> Answerer:
        """What batches the questions."""
        return Answerer(*self.loaded, batch_size=self._batch_size, reuse=self._image_reuse)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Answer one conversation, greedily; calls that run at the same time share batches.

        Raises:
            ImageError: An image could not be let in.
            ModelError: Something was asked for that greedy decoding of one answer does not do.
        """
        if tools:
            raise ModelError("the holisafe provider gives models no tools; use a task without tools")
        if config.temperature not in (None, 0, 0.0) or config.stop_seqs or config.num_choices not in (None, 1):
            raise ModelError("the holisafe provider decodes greedily; leave temperature, stop_seqs and num_choices out")
        prompt = Prompt(tuple(Turn(message.role, _parts(message)) for message in input))
        answer = await asyncio.wrap_future(self.answerer.submit(prompt, config.max_tokens or 512))
        message = ChatMessageAssistant(content=answer.text, model=self.model_name, source="generate")
        stop: StopReason = "max_tokens" if answer.finish_reason == "length" else "stop"
        tokens = len(answer.tokens)
        return ModelOutput(
            model=self.model_name,
            choices=[ChatCompletionChoice(message=message, stop_reason=stop)],
            usage=ModelUsage(
                input_tokens=answer.input_tokens, output_tokens=tokens, total_tokens=answer.input_tokens + tokens
            ),
            metadata=None if answer.verdict == GuardVerdict() else {VERDICT: answer.verdict.to_json()},
        )

    def max_connections(self) -> int:
        """Prompts to have waiting, so that batches are full and prompts with the same image meet."""
        return self.answerer.pool

    def close(self) -> None:
        """Stop the model's thread."""
        if "answerer" in self.__dict__:
            self.answerer.close()

    def describe(self) -> dict[str, Any]:
        """What the answers depend on, for a run's provenance; JSON values only."""
        import torch

        model, processor = self.loaded.model, self.loaded.processor
        reuse = self.answerer.reuse
        device = str(model.device)
        return {
            "id": self.model_name,
            "revision": self.loaded.revision,
            "architecture": type(model).__name__,
            "parameters": sum(
                weight.numel() for name, weight in model.named_parameters() if not name.startswith("guard.")
            ),
            "weights_sha256": _weights_hash(Path(model.name_or_path)),
            "processor": json.loads(json.dumps(processor.to_dict(), default=str, sort_keys=True)),
            "chat_template_sha256": _sha256(str(processor.chat_template).encode()),
            "device": device,
            "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor(),
            "dtype": str(model.dtype).removeprefix("torch."),
            "attention": model.config._attn_implementation,
            "batch_size": self.answerer.batch_size,
            "image_reuse": {"way": reuse.way.value, "why_no_more": reuse.reason},
            "guard": None if self.loaded.guard is None else _describe_guard(model, self.loaded.guard),
        }


def _describe_guard(model: Any, source: str) -> dict[str, Any]:
    """What the guard's verdicts depend on."""
    from holisafe.guard.attach import guard_of, observer_of

    guard, observer = guard_of(model), observer_of(model)
    digest = hashlib.sha256()
    for name, weight in sorted(guard.state_dict().items()):
        digest.update(name.encode() + weight.detach().float().cpu().numpy().tobytes())
    return {
        "source": source,
        "parameters": sum(weight.numel() for weight in guard.parameters()),
        "weights_sha256": digest.hexdigest(),
        "config": observer.config.to_json(),
        "calibration": observer.calibration.to_json(),
    }


def _parts(message: ChatMessage) -> tuple[str | ImageRef, ...]:
    """Text and images of a message; an image is known by its content."""
    if isinstance(message.content, str):
        return (message.content,)
    parts: list[str | ImageRef] = []
    for content in message.content:
        match content:
            case ContentText():
                parts.append(content.text)
            case ContentImage() if content.image.startswith("data:"):
                data = base64.b64decode(content.image.partition(",")[2])
                parts.append(ImageRef(_sha256(data), data=data))
            case _:
                raise ModelError(f"the holisafe provider takes text and images, not {content.type}")
    return tuple(parts)


def _weights_hash(folder: Path) -> str | None:
    """SHA-256 over the safetensors files of a local checkpoint, or a tuned model's; None where there are none."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("adapter/*.safetensors")]) if folder.is_dir() else []
    if not files:
        return None
    whole = sum(file.stat().st_size for file in files) <= WEIGHT_HASH_LIMIT
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            if whole:
                digest.update(hashlib.file_digest(file, "sha256").digest())
                continue
            size = path.stat().st_size
            digest.update(size.to_bytes(8, "big"))
            for piece in range(WEIGHT_HASH_PIECES):
                file.seek(size * piece // WEIGHT_HASH_PIECES)
                digest.update(file.read(2**16))
            file.seek(max(size - 2**16, 0))
            digest.update(file.read())
    return digest.hexdigest() if whole else f"pieces:{digest.hexdigest()}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
