"""A guard's checkpoint on this machine: loaded on first use by its own transformers class, asked one at a time."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holisafe._lazy import missing
from holisafe._still import only_video_half_missing, still_processor
from holisafe.errors import GuardError, ImageError, JudgeError
from holisafe.images import open_image
from holisafe.judges._registry import Reply
from holisafe.judges.guard_models._contract import GuardModel
from holisafe.records import Turn

_PIECE = 2**16


class LocalAsk:
    """Asks a guard's checkpoint, loaded on first use.

    A guard without a chat template gets the text as it is. Where a guard's verdict begins with one of two words, the
    reply holds the probability of each as the first word. A `ShieldGemma2ForImageClassification` gives its own two
    scores, of Yes and No.

    Args:
        model: The guard model.
        source: Folder of the checkpoint, or its Hub id.
        device: Where to put it; the first GPU, else the CPU, when None.
        dtype: "auto" (as saved), "float32", "bfloat16" or "float16"; as saved on a GPU, float32 on a CPU, when None.
    """

    def __init__(self, model: GuardModel, source: str, device: str | None = None, dtype: str | None = None) -> None:
        self.guard, self.source = model, source
        self._device, self._dtype = device, dtype
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    async def __call__(
        self,
        turns: Sequence[Turn],
        *,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,
        template: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Ask it greedily; one question at a time, beside the event loop. A schema is left out of account.

        Raises:
            JudgeError: An image cannot be let in.
            GuardError: It cannot be loaded.
            MissingDependencyError: torch or transformers is not installed.
        """
        return await asyncio.to_thread(self._ask, tuple(turns), max_tokens, dict(template or {}))

    def _ask(self, turns: tuple[Turn, ...], max_tokens: int, template: dict[str, Any]) -> Reply:
        try:
            with self._lock:
                model, processor = self._load()
                if type(model).__name__ == "ShieldGemma2ForImageClassification":
                    return self._scored(model, processor, turns)
                return self._generated(model, processor, turns, max_tokens, template)
        except ImageError as error:
            raise JudgeError(f"guard {self.guard.name}: {error}") from error

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = load_guard_checkpoint(self.guard, self.source, self._device, self._dtype)
        return self._loaded

    def _scored(self, model: Any, processor: Any, turns: tuple[Turn, ...]) -> Reply:
        import torch

        images = [open_image(image) for turn in turns for image in turn.images]
        policy = {"policy": turns[-1].text}
        inputs = processor(images=images, custom_policies=policy, policies=list(policy), return_tensors="pt")
        with torch.inference_mode():
            scores = model(**_placed(inputs, model)).probabilities[0].double()  # (2,): Yes, No
        first, second = self.guard.verdict_words
        if not scores.isfinite().all():
            raise JudgeError(f"guard {self.guard.name}: its scores are not finite; try another dtype, such as bfloat16")
        named = {first: float(scores[0]), second: float(scores[1])}
        return Reply(max(named, key=named.__getitem__), self.source, probabilities=named)

    def _generated(
        self, model: Any, processor: Any, turns: tuple[Turn, ...], max_tokens: int, template: dict[str, Any]
    ) -> Reply:
        import torch

        inputs = _placed(self._inputs(processor, turns, template), model)
        with torch.inference_mode():
            made = model.generate(
                **inputs,
                max_new_tokens=max_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                output_scores=bool(self.guard.verdict_words),
                return_dict_in_generate=True,
            )
        length = inputs["input_ids"].shape[1]
        tokens = made.sequences[0, length:]  # (new tokens,)
        tokenizer = _tokenizer(processor)
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        ended = len(tokens) < max_tokens or int(tokens[-1]) in _ends(model)
        return Reply(
            text,
            self.source,
            {"input": length, "output": len(tokens)},
            finish="stop" if ended else "length",
            probabilities=_first_words(made.scores, tokens, tokenizer, self.guard.verdict_words),
        )

    def _inputs(self, processor: Any, turns: tuple[Turn, ...], template: dict[str, Any]) -> Any:
        if self.guard.is_plain:
            return processor(turns[-1].text, return_tensors="pt")
        return processor.apply_chat_template(
            [_message(turn) for turn in turns],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            **_sanitized(),
            **template,
        )


def check_guard_checkpoint(guard: GuardModel, source: str) -> str:
    """The transformers class of a checkpoint, which is one of the guard's; only its configuration is read.

    Raises:
        GuardError: The checkpoint is missing, or of another class than the guard's.
        MissingDependencyError: transformers is not installed.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise missing(error, f"the guard {guard.name}") or error from error
    folder = Path(source).expanduser()
    if source.startswith((".", "/", "~")) and not (folder / "config.json").is_file():
        raise GuardError(f"{source} holds no config.json; expected a checkpoint of {guard.name}, or its Hub id")
    try:
        named = next(iter(transformers.AutoConfig.from_pretrained(str(folder)).architectures or ()), "none")
    except Exception as error:
        raise _unloadable(guard, source, error) from error
    if named not in guard.architectures:
        expected = " or ".join(guard.architectures)
        raise GuardError(f"{source} is a {named}, and {guard.name} is a {expected}; name another folder or guard")
    return str(named)


def load_guard_checkpoint(
    guard: GuardModel, source: str, device: str | None = None, dtype: str | None = None
) -> tuple[Any, Any]:
    """The guard's model in evaluation mode, and its processor (of a text guard, its tokenizer).

    Raises:
        GuardError: The checkpoint is missing, of another class than the guard's, or cannot be loaded.
        MissingDependencyError: torch or transformers is not installed.
    """
    named = check_guard_checkpoint(guard, source)
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise missing(error, f"the guard {guard.name}") or error from error
    where = str(Path(source).expanduser())
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    precision = dtype or ("float32" if place.startswith("cpu") else "auto")
    try:
        processor = transformers.AutoTokenizer.from_pretrained(where) if guard.is_plain else _processor(where)
        model = getattr(transformers, named).from_pretrained(where, dtype=precision, use_safetensors=True)
        return model.to(place).eval(), processor
    except Exception as error:
        raise _unloadable(guard, source, error) from error


def identity(source: str) -> str:
    """What tells one checkpoint from another: the folder's name and a digest of its weights; a Hub id as it is.

    Of files of more than 64 MiB, evenly spaced pieces and the size are read.
    """
    folder = Path(source).expanduser()
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return source
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        step = _PIECE if size <= 2**26 else size // 1024
        digest.update(json.dumps([path.name, size]).encode())
        with path.open("rb") as file:
            for start in range(0, size, step):
                file.seek(start)
                digest.update(file.read(_PIECE))
    return f"{folder.name}@{digest.hexdigest()[:16]}"


def _processor(where: str) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(where)
    except (ImportError, OSError) as error:
        if not only_video_half_missing(error):
            raise
        return still_processor(where)


def _message(turn: Turn) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "image", "image": open_image(image)} for image in turn.images]
    return {"role": turn.role.value, "content": [*content, {"type": "text", "text": turn.text}]}


def _sanitized() -> dict[str, Any]:
    """Where transformers can, control tokens that a text spells out are read as plain text."""
    from transformers import ProcessorMixin

    known = inspect.signature(ProcessorMixin.apply_chat_template).parameters
    return {"sanitize_control_tokens": True} if "sanitize_control_tokens" in known else {}


def _tokenizer(processor: Any) -> Any:
    return getattr(processor, "tokenizer", processor)


def _ends(model: Any) -> set[int]:
    ends = model.generation_config.eos_token_id
    return set(ends if isinstance(ends, list) else [ends]) - {None}


def _placed(inputs: Any, model: Any) -> dict[str, Any]:
    """Inputs on the model's device, pixels in its dtype."""
    placed = {name: value.to(model.device) for name, value in inputs.items()}
    return {name: value.to(model.dtype) if value.is_floating_point() else value for name, value in placed.items()}


def _first_words(scores: Any, tokens: Any, tokenizer: Any, words: tuple[str, ...]) -> dict[str, float]:
    """Probability of each word's first token where the reply's first word begins; none where words share it."""
    if not words or not len(tokens):
        return {}
    firsts = {word: tokenizer.encode(word, add_special_tokens=False)[0] for word in words}
    if len(set(firsts.values())) < len(firsts):
        return {}
    places = [place for place, token in enumerate(tokens.tolist()) if tokenizer.decode([token]).strip()]
    if not places:
        return {}
    shares = scores[places[0]][0].double().softmax(-1)  # (vocabulary,)
    if not shares.isfinite().all():
        return {}
    return {word: float(shares[token]) for word, token in firsts.items()}


def _unloadable(guard: GuardModel, source: str, error: Exception) -> GuardError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return GuardError(f"{source}: the guard {guard.name} could not be loaded ({type(error).__name__}: {first})")
