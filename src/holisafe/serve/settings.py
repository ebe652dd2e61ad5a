"""What an operator decides: policy, limits, and what is let in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from holisafe._enums import parse_enum
from holisafe.errors import RunError
from holisafe.guard.policy import DecideBy
from holisafe.images import ImageLimits
from holisafe.records import CHECK_EVERY


class Mode(StrEnum):
    """What a flag leads to, by the names of OpenAI's `moderation.policy`."""

    SCORE = "score"
    """The verdict is reported with the answer."""
    BLOCK = "block"
    """A refusal stands in place of the answer, which is not generated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one request may ask for.

    Attributes:
        body: Bytes of a request's body.
        images: Images of a request.
        image_bytes: Bytes of one image.
        image_pixels: Pixels of one image, from its header.
        total_pixels: Pixels of all images of a request.
        characters: Characters of all texts of a request.
        new_tokens: Largest maximum number of new tokens that a client may ask for.
        default_new_tokens: Maximum number of new tokens where a client names none.
        inputs: Inputs of one call of /v1/moderations.
        body_seconds: Seconds in which the whole body has to arrive.
        concurrency: Requests that are answered at once; further ones are told to come again.
        connections: Connections at once; of more, idle ones are closed.
        header_seconds: Seconds in which the head of a request has to arrive.
        stall_seconds: Seconds for which a client may take nothing of its answer.
    """

    body: int = 32 * 2**20
    images: int = 16
    image_bytes: int = 10 * 2**20
    image_pixels: int = 50_000_000
    total_pixels: int = 100_000_000
    characters: int = 1_000_000
    new_tokens: int = 2048
    default_new_tokens: int = 512
    inputs: int = 64
    body_seconds: float = 30.0
    concurrency: int = 64
    connections: int = 1024
    header_seconds: float = 10.0
    stall_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what would let nothing in."""
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise RunError(f"limits: {name} is {getattr(self, name)}; expected more than 0")
        if self.default_new_tokens > self.new_tokens:
            raise RunError(
                f"limits: default_new_tokens {self.default_new_tokens} is above new_tokens {self.new_tokens}; lower it"
            )

    @property
    def image_limits(self) -> ImageLimits:
        """What the image door is told."""
        return ImageLimits(max_bytes=self.image_bytes, max_pixels=self.image_pixels, max_total_pixels=self.total_pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server treats requests.

    Attributes:
        policy: What a flag leads to. A client may ask for more (`block`), never for less.
        decide_by: Which verdict flags a request.
        output_policy: What a flag on an answer leads to; None where answers are not judged unless a client asks for it.
        output_every: Tokens between two checks of an answer.
        fail_open: Whether a request that the guard cannot judge is answered all the same; each is counted.
        limits: How much one request may ask for.
        image_hosts: Hosts from which images may be fetched over https; empty for none.
        log_content: Whether prompts and answers are written to the log.
    """

    policy: Mode = Mode.SCORE
    decide_by: DecideBy = DecideBy.REQUEST
    output_policy: Mode | None = None
    output_every: int = CHECK_EVERY
    fail_open: bool = False
    limits: Limits = field(default_factory=Limits)
    image_hosts: frozenset[str] = frozenset()
    log_content: bool = False

    def __post_init__(self) -> None:
        """Read names of enums."""
        object.__setattr__(self, "policy", parse_enum(Mode, self.policy))
        object.__setattr__(self, "decide_by", parse_enum(DecideBy, self.decide_by))
        if self.output_policy is not None:
            object.__setattr__(self, "output_policy", parse_enum(Mode, self.output_policy))
        if self.output_every < 1:
            raise RunError(f"output_every is {self.output_every}; expected at least 1 token")
        object.__setattr__(self, "image_hosts", frozenset(host.lower() for host in self.image_hosts))
