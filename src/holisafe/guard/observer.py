"""A guard in its model: hooks that let the session of the current call see forward passes."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from holisafe.errors import GuardError
from holisafe.families import Family, Grouping
from holisafe.guard._config import GuardConfig, GuardSite
from holisafe.guard._context import current
from holisafe.guard._spans import Layout, find_images, last_columns, last_tokens
from holisafe.guard._vision_tower import vision_embeddings
from holisafe.guard.calibration import Calibration

if TYPE_CHECKING:
    from holisafe.guard._session import GuardSession

IGNORED = -100
"""Label of tokens that are not learned, as in transformers."""


class Observer:
    """Hooks on a model and its language model; no module, so that it is in no state dict.

    It holds nothing of a call: that is the session's, which the hooks find in the current context. Without one they do
    nothing.

    Attributes:
        base: The transformers model.
        family: How its family writes images into a prompt.
        config: The guard's parts.
        site: What attaching found of the model.
        calibration: Temperatures and thresholds of the verdicts of sessions that begin from now on.
    """

    def __init__(
        self, base: Any, language_model: nn.Module, family: Family, config: GuardConfig, site: GuardSite
    ) -> None:
        self.base = base
        self.family = family
        self.config = config
        self.site = site
        self.calibration = Calibration()
        self._sessions: set[GuardSession] = set()
        # read in compiled code, where looking a session up would break the graph: decoding steps have none to look up
        self._is_watched = False
        self._hooks = [
            base.register_forward_pre_hook(self._before, with_kwargs=True),
            base.register_forward_hook(self._after),
            language_model.register_forward_pre_hook(self._before_language_model, with_kwargs=True),
            language_model.register_forward_hook(self._after_language_model, with_kwargs=True),
        ]
        if config.meta_in_encoder:
            self._hooks.append(vision_embeddings(base, family).register_forward_hook(self._append_meta_token))

    def __getstate__(self) -> dict[str, Any]:
        """Sessions are not copied or pickled with the model."""
        return {**vars(self), "_sessions": set(), "_is_watched": False}

    def __deepcopy__(self, memo: dict[int, Any]) -> Observer:
        """Come along with a copy of the whole model; stay where a part is copied, as PEFT does to train all of it."""
        if id(self.base) not in memo:
            return self
        copied = memo[id(self)] = Observer.__new__(Observer)
        vars(copied).update(copy.deepcopy(self.__getstate__(), memo))
        return copied

    @property
    def guard(self) -> Any:
        """The guard's module, or PEFT's wrapper around it."""
        return self.base.get_submodule("guard")

    @property
    def image_token(self) -> int:
        """Id of the placeholder of a visual token."""
        return int(getattr(self.base.config, self.family.image_token))

    @property
    def meta_token_id(self) -> int | None:
        """Id that stands for the meta token in a prompt; None without one."""
        return self.image_token if self.config.meta_in_encoder else self.site.meta_token_id

    @property
    def embeds_meta_token(self) -> bool:
        """Whether a learned token stands among the embeddings that go into the language model."""
        return self.config.meta_token and not self.config.meta_in_encoder

    @property
    def needs_lengths(self) -> bool:
        """Whether only the visual features tell which placeholders are one image."""
        return self.family.grouping is Grouping.FEATURES

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def watch(self, session: GuardSession) -> None:
        """Look sessions up in forward passes from now on."""
        with _SESSIONS_LOCK:
            self._sessions.add(session)
            self._is_watched = True

    def unwatch(self, session: GuardSession) -> None:
        """Look this session up no more."""
        with _SESSIONS_LOCK:
            self._sessions.discard(session)
            self._is_watched = bool(self._sessions)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # sizes depend on the prompt
    def layout(self, inputs: Mapping[str, Any]) -> Layout:
        """Where the images of a batch of inputs are; visual features must be there if the family needs them."""
        ids: Tensor = inputs["input_ids"]
        mask = inputs.get("attention_mask")
        ends = last_columns(mask, ids.shape[1], ids.shape[0])
        labels = inputs.get("labels")
        if labels is not None:
            learned = labels.cpu() != IGNORED
            # the joint head reads the prompt's last position: the one before the first that is learned
            ends = torch.where(learned.any(1), learned.long().argmax(1) - 1, ends).clamp(min=0)
        lengths = feature_lengths(inputs)
        if lengths is not None and len(lengths) < int((ids == self.image_token).any(1).sum()):
            lengths = None  # a chunk of a prefill: features of all prompts in one piece
        in_encoder = self.config.meta_in_encoder
        if in_encoder and lengths and int((ids == self.image_token).sum()) == sum(lengths) - len(lengths):
            raise GuardError(_UNMARKED)
        found = find_images(ids.cpu(), self.image_token, self.family, self.site.boundary_ids, lengths, ends)
        if in_encoder:
            return last_tokens(found)
        token = self.site.meta_token_id
        return found if token is None else meta_layout(ids.cpu(), found, token)

    def _session(self) -> GuardSession | None:
        return current(self) if self._is_watched else None

    def _before(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        session = self._session()
        return None if session is None else session.before_forward(args, kwargs)

    def _before_language_model(
        self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]] | None:
        session = self._session()
        return None if session is None else session.before_language_model(args, kwargs)

    def _after_language_model(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        session = self._session()
        if session is not None:
            session.after_language_model(kwargs, output[0])

    def _after(self, _: Any, __: tuple[Any, ...], output: Any) -> Any:
        session = self._session()
        return None if session is None else session.after_forward(output)

    def _append_meta_token(self, _: Any, __: tuple[Any, ...], embedded: Tensor) -> Tensor | None:
        """Put the learned token, which has no position, after an image's patches (images, patches, vision width)."""
        if self._session() is None:
            return None
        token = self.guard.meta_token.to(embedded.device, embedded.dtype)
        return torch.cat([embedded, token.expand(len(embedded), 1, -1)], 1)  # (images, patches + 1, vision width)


def feature_lengths(inputs: Mapping[str, Any]) -> list[int] | None:
    """Visual tokens of each entry of visual features that are already computed; None where there are none."""
    encoded = (inputs.get("mm_encoder_outputs") or {}).get("image")
    if encoded is None:
        return None
    features: Any = encoded.pooler_output  # one tensor per image or tile, or all of the same size in one
    if features is None or (isinstance(features, Tensor) and features.ndim == 2):
        return None  # a chunk of a prefill: features of all images in one piece
    return [len(each) for each in features]


def encode_first(base: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run the vision encoder now, as `generate` does, so that its output tells how long each image is.

    Inputs come back as they are where there is nothing to encode.
    """
    if not base._supports_mm_encoder_outputs() or inputs.get("mm_encoder_outputs"):
        return inputs
    encoded = base._prepare_multimodal_encoder_kwargs_for_generation(dict(inputs))
    # sizes stay, since token positions depend on them in some families; pixels do not
    return {**{key: value for key, value in inputs.items() if not key.startswith(_PIXELS)}, **encoded}


_PIXELS = ("pixel_values", "image_patches")


def goes_on(cache: Any) -> bool:
    """Whether a pass continues a prompt of which the cache holds the beginning."""
    from transformers import Cache

    return isinstance(cache, Cache) and bool(cache.get_seq_length() > 0)


def meta_layout(input_ids: Tensor, layout: Layout, meta_token: int) -> Layout:
    """The layout whose only visual token of each image is the meta token right after it.

    Raises:
        GuardError: It is not there.
    """
    last = last_tokens(layout)
    rows, columns, images = last.tokens[0], last.tokens[1] + 1, last.tokens[2]
    is_there = columns < layout.width
    if not bool(is_there.all()) or not bool(torch.eq(input_ids[rows, columns], meta_token).all()):
        raise GuardError(_UNMARKED)
    return replace(last, tokens=(rows, columns, images))


_UNMARKED = (
    "an image of the prompt has no meta token after it; pass the inputs through add_meta_tokens(model, inputs), or use "
    "guarded_generate, which does so"
)


_SESSIONS_LOCK = threading.Lock()
"""Of every observer's set of sessions; module-level, since observers are copied and pickled with their models."""
