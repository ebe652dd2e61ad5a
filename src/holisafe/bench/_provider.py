"""The model provider `holisafe/`: local vision-language models with images, behind Inspect's interface."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, fields
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

from holisafe._enums import parse_enum
from holisafe.bench._ask import COST, VERDICT
from holisafe.defences import Defended, parse_all
from holisafe.errors import ModelError, UnknownNameError
from holisafe.models import (
    Answer,
    Engine,
    FinishReason,
    GenerationOptions,
    LoadedModel,
    ModelSpec,
    Prompt,
    Request,
    load,
)
from holisafe.records import AnswerCost, GuardVerdict, ImageRef, Role, Turn

WEIGHT_HASH_LIMIT = 2 * 2**30
"""Bytes of weights up to which they are hashed whole; of larger files many pieces and the size."""

OTHER_FILE_LIMIT = 64 * 2**20
"""Bytes of a file of a checkpoint that is no file of weights."""

WEIGHT_HASH_PIECES = 1024
"""Pieces of 64 KiB of a large file, evenly spaced from its beginning, beside the last: no layer lies between two."""


_OPTIONS = frozenset(field.name for field in fields(ModelSpec)) - {"source"}


class LocalVLM(ModelAPI):
    """A local model; `model_name` is what `holisafe.models.load` takes.

    Model arguments (`-M name=value` on Inspect's command line): those of `holisafe.models.ModelSpec` (device, dtype,
    device_map, quantization, attention, revision, trust_remote_code, guard), batch_size, image_reuse,
    chat_template_args and defence, a name as `--defence` takes it or a list of them. With a guard, an output's metadata
    hold its verdicts under `holisafe_guard`; with a defence, what the answer took under `holisafe_cost`.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),
        *,
        batch_size: int = 16,
        image_reuse: bool = True,
        chat_template_args: dict[str, Any] | None = None,
        defence: str | Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if unknown := sorted(options.keys() - _OPTIONS):
            raise UnknownNameError("model argument", unknown[0], [*_OPTIONS, "batch_size", "image_reuse", "defence"])
        self.spec = ModelSpec.parse(model_name, **options)
        self._batch_size = batch_size
        self._image_reuse = image_reuse
        self._template_args = chat_template_args
        self._defences = parse_all([defence] if isinstance(defence, str) else defence or [])

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, loaded on first use: Inspect makes further instances only to ask for a model's name."""
        return load(self.spec)

    @cached_property
    def engine(self) -> Engine:
        """What batches the questions."""
        return Engine(
            *self.loaded,
            batch_size=self._batch_size,
            reuse=self._image_reuse,
            chat_template_args=self._template_args,
            identity=self._identity,
        )

    @cached_property
    def _weights(self) -> str | None:
        """Hash of the weights' files."""
        return weights_hash(Path(self.loaded.model.name_or_path))

    @property
    def _identity(self) -> str | None:
        """A hash of the checkpoint's folder, where the model is made of nothing else; None for other models."""
        spec, folder = self.spec, Path(self.loaded.model.name_or_path)
        changed = (spec.guard, spec.quantization, spec.device_map, self.loaded.revision)
        if spec.trust_remote_code or any(each is not None for each in changed) or self._weights is None:
            return None
        if Path(spec.source).expanduser() != folder:  # registered, tuned
            return None
        return _folder_hash(folder, self._weights)

    @cached_property
    def defended(self) -> Defended | None:
        """The engine with defences; None without any."""
        return Defended(self.engine, self._defences) if self._defences else None

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Answer one conversation, greedily unless a temperature is given; calls at the same time share batches.

        Raises:
            ImageError: An image could not be let in.
            ModelError: A setting is out of range, or of a kind that the engine does not have.
            DefenceError: A defence cannot work on the model.
        """
        if tools:
            raise ModelError("the holisafe provider gives models no tools; use a task without tools")
        prompt = Prompt(tuple(map(_turn, input)))
        answer, cost = await self._answer(Request(prompt, _options(config)))
        message = ChatMessageAssistant(content=answer.text, model=self.model_name, source="generate")
        stop: StopReason = "max_tokens" if answer.finish_reason is FinishReason.LENGTH else "stop"
        tokens = len(answer.tokens)
        return ModelOutput(
            model=self.model_name,
            choices=[ChatCompletionChoice(message=message, stop_reason=stop)],
            usage=ModelUsage(
                input_tokens=answer.input_tokens, output_tokens=tokens, total_tokens=answer.input_tokens + tokens
            ),
            metadata=_metadata(answer, cost),
        )

    async def _answer(self, request: Request) -> tuple[Answer, AnswerCost | None]:
        if self.defended is None:
            return await asyncio.wrap_future(self.engine.submit(request)), None
        given = await asyncio.wrap_future(self.defended.submit(request))
        return given.answer, given.cost

    def max_connections(self) -> int:
        """Prompts to have waiting, so that batches are full and prompts with the same image meet."""
        return self.engine.pool

    def close(self) -> None:
        """Stop the model's thread."""
        if "engine" in self.__dict__:
            self.engine.close()

    def describe(self) -> dict[str, Any]:
        """What the answers depend on, for a run's provenance; JSON values only."""
        import torch

        model, processor = self.loaded.model, self.loaded.processor
        reuse = self.engine.reuse
        device = str(model.device)
        return {
            "id": self.model_name,
            "revision": self.loaded.revision,
            "architecture": type(model).__name__,
            "parameters": sum(
                weight.numel() for name, weight in model.named_parameters() if not name.startswith("guard.")
            ),
            "weights_sha256": self._weights,
            "processor": json.loads(json.dumps(processor.to_dict(), default=str, sort_keys=True)),
            "chat_template_sha256": _sha256(str(processor.chat_template).encode()),
            "device": device,
            "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor(),
            "dtype": str(model.dtype).removeprefix("torch."),
            "attention": model.config._attn_implementation,
            "batch_size": self.engine.batch_size,
            "image_reuse": {"way": reuse.way.value, "why_no_more": reuse.reason},
            "guard": None if self.loaded.guard is None else describe_guard(model, self.loaded.guard),
            **({} if self.defended is None else {"defences": self.defended.identity()}),
        }


def describe_guard(model: Any, source: str) -> dict[str, Any]:
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
        "site": observer.site.to_json(),
        "calibration": observer.calibration.to_json(),
    }


def _metadata(answer: Answer, cost: AnswerCost | None) -> dict[str, Any] | None:
    verdict = {} if answer.verdict == GuardVerdict() else {VERDICT: answer.verdict.to_json()}
    took = {} if cost is None else {COST: asdict(cost)}
    return {**verdict, **took} or None


def _options(config: GenerateConfig) -> GenerationOptions:
    """Inspect's settings as the engine's.

    Raises:
        ModelError: One is out of range, or the engine does not have it.
    """
    if config.num_choices not in (None, 1):
        raise ModelError("the holisafe provider gives one answer to each prompt; leave num_choices out")
    return GenerationOptions(
        max_new_tokens=config.max_tokens or 512,
        temperature=config.temperature or 0.0,
        top_p=1.0 if config.top_p is None else config.top_p,
        top_k=config.top_k or 0,
        seed=config.seed,
        stop=tuple(config.stop_seqs or ()),
    )


def _turn(message: ChatMessage) -> Turn:
    """A message as a turn: its images, then its text; an image is known by its content."""
    try:
        role = parse_enum(Role, message.role)
    except UnknownNameError as error:
        raise ModelError(f"the holisafe provider takes system, user and assistant turns, not {message.role}") from error
    if isinstance(message.content, str):
        return Turn(role, message.content)
    texts: list[str] = []
    images: list[ImageRef] = []
    for content in message.content:
        match content:
            case ContentText():
                texts.append(content.text)
            case ContentImage() if content.image.startswith("data:"):
                data = base64.b64decode(content.image.partition(",")[2])
                digest = _sha256(data)
                images.append(ImageRef(digest, data=data, digest=digest))
            case _:
                raise ModelError(f"the holisafe provider takes text and images, not {content.type}")
    return Turn(role, "\n".join(texts), tuple(images))


def weights_hash(folder: Path) -> str | None:
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


def _folder_hash(folder: Path, weights: str) -> str | None:
    """SHA-256 over the weights' hash and the other files of a checkpoint; None where one is as large as weights."""
    digest = hashlib.sha256(weights.encode())
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors" or not path.is_file():
            continue
        if path.stat().st_size > OTHER_FILE_LIMIT:
            return None
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
