"""What a defence is: it changes how a request is answered, and leaves the weights as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from holisafe._fields import Settings
from holisafe._registry import Registry
from holisafe.errors import DefenceError

if TYPE_CHECKING:
    from torch import Tensor

    from holisafe.models import Engine, GenerationOptions, LoadedModel, Prompt, Request
    from holisafe.records import Sample


@dataclass(frozen=True, slots=True)
class Look:
    """A forward pass of the defence's own over a prompt.

    Attributes:
        prompt: The prompt.
        read: Called with the model and the inputs of its forward pass; what it gives is the step's result.
    """

    prompt: Prompt
    read: Callable[[Any, dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Fork:
    """A second reading of the answer, from another prompt; the result is a `Branch`, which is closed for the defence.

    Attributes:
        prompt: What it reads.
        options: Those of the answer.
    """

    prompt: Prompt
    options: GenerationOptions


Steps = Generator[Any, Any, Any]
"""A defence at work on one request: it yields steps, gets their results, and returns the answer."""

Progress = Callable[[str, int, int], None]
"""Called while a defence is fitted: with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, kw_only=True)
class DefenceConfig(Settings):
    """Settings of one defence. Fields carry metadata: "help", a text, and "range", a `Range` of numbers.

    Raises:
        DefenceError: A value is of another kind or out of its range.
    """

    error = DefenceError
    of = "the defence"


@dataclass(frozen=True, kw_only=True)
class FittedConfig(DefenceConfig):
    """Settings of a defence that learns something of a model first."""

    fitted: str = field(default="", metadata={"help": "Folder that `holisafe defence fit` wrote."})


class Defence(ABC):
    """A way to answer requests. It keeps nothing of a request: all requests of a run share it.

    Attributes:
        name: What `--defence` calls it.
        about: What it does, in one line.
        cost: What it costs, in words: "2 to 4 answers per request".
        config: The class of its settings.
        positional: The setting that stands alone after the colon, as in `guard:refuse`; None where there is none.
        source: Where it was published.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    cost: ClassVar[str]
    config: ClassVar[type[DefenceConfig]] = DefenceConfig
    positional: ClassVar[str | None] = None
    source: ClassVar[str] = ""

    def __init__(self, config: Any = None) -> None:
        self.settings: Any = self.config() if config is None else config

    def check(self, loaded: LoadedModel) -> None:  # noqa: B027  most work on every model
        """Refuse a model that it cannot work on, before anything is asked.

        Raises:
            DefenceError: It cannot.
        """

    @abstractmethod
    def answer(self, request: Request) -> Steps:
        """Answer one request, step by step."""

    def identity(self) -> dict[str, Any]:
        """What answers depend on, as JSON values."""
        return {"name": self.name, **self.settings.to_json()}


class FittedDefence(Defence):
    """A defence that learns something of a model first; `holisafe defence fit` saves what that is.

    Attributes:
        needs: Parts that answering needs, and the shape of each: sizes of the model by name ("layers", "hidden",
            "vocabulary"), numbers, or "any"; other names are sizes that parts share. A folder is refused that lacks a
            part, or has it in another shape, with values that are not finite, or as the number of no "layer".
        parts: What was learned, by name; empty until it is read.
        digest: SHA-256 of the file of parts.
    """

    config: ClassVar[type[DefenceConfig]] = FittedConfig
    positional = "fitted"
    needs: ClassVar[Mapping[str, tuple[str | int, ...]]] = {}

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.parts: Mapping[str, Tensor] = {}
        self.digest: str | None = None

    @classmethod
    @abstractmethod
    def fit(cls, engine: Engine, samples: Sequence[Sample], config: Any, progress: Progress) -> Mapping[str, Tensor]:
        """Learn from samples.

        Args:
            engine: The model at work.
            samples: With what is expected of each; those of a train split.
            config: Its settings.
            progress: Told how far it is.

        Returns:
            Parts by name.

        Raises:
            DefenceError: The samples do not suffice, or the model is not of the kind.
        """

    def identity(self) -> dict[str, Any]:
        """Settings without the folder, and what was learned."""
        return {**super().identity(), "fitted": self.digest}


def _is_defence(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, Defence)


DEFENCES: Registry[type[Defence]] = Registry(
    "defence", "holisafe.defences", expected="a class derived from Defence", accepts=_is_defence
)
"""All defences by name."""
