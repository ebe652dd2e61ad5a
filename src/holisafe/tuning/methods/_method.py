"""What a tuning method is, and the registry of methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from holisafe._fields import Settings
from holisafe._registry import Registry
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig

if TYPE_CHECKING:
    from torch import nn

    from holisafe.records import Sample
    from holisafe.tuning._loss import Loss


@dataclass(frozen=True, kw_only=True)
class MethodConfig(Settings):
    """Settings of one method. Fields carry metadata: "help", a text, and "range", a `Range` of numbers.

    Raises:
        TuningError: A value is of another kind or out of its range.
    """

    error = TuningError
    of = "the method"


class Method(ABC):
    """What a model learns, and by which loss.

    Attributes:
        name: What `TuneConfig.method` and `--method` call it.
        about: What was learned, in the model card after "it learned".
        config: The class of its settings.
        is_balanced: Whether combinations are drawn equally often (`mix`); otherwise samples are (`draw_equally`), and
            need no combination.
        has_reference: Whether `reference` gives anything.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    config: ClassVar[type[MethodConfig]]
    is_balanced: ClassVar[bool] = True
    has_reference: ClassVar[bool] = False

    @property
    def has_guard(self) -> bool:
        """Whether a guard learns too, unless that is asked for otherwise."""
        return self.guard(None) is not None

    @property
    def takes_guard(self) -> bool:
        """Whether a guard can learn too."""
        return self.guard(GuardConfig()) is not None

    @abstractmethod
    def guard(self, wanted: GuardConfig | None) -> GuardConfig | None:
        """The guard that learns; None where the method has none.

        Args:
            wanted: Parts that were asked for; the defaults when None.

        Raises:
            TuningError: The method cannot learn such a guard.
        """

    @abstractmethod
    def check_guard(self, found: GuardConfig | None) -> None:
        """Refuse a model whose guard does not fit the method.

        Args:
            found: The guard of the model; None where it has none.

        Raises:
            TuningError: It does not fit.
        """

    def prepare(self, samples: Sequence[Sample], config: Any) -> Sequence[Sample]:
        """What is learned from, made of the safety data before anything else is done with them.

        Args:
            samples: The data's.
            config: An instance of this method's `config`.

        Raises:
            TuningError: A sample cannot be learned from; the message names it and the field.
        """
        return samples

    def prepare_general(self, samples: Sequence[Sample], config: Any) -> Sequence[Sample]:
        """As `prepare`, of the general data."""
        return samples

    @abstractmethod
    def collator(
        self, processor: Any, guard: GuardConfig | None, **options: Any
    ) -> Callable[[Sequence[Sample]], dict[str, Any]]:
        """What makes a batch of samples; the options are those of `Collator`."""

    @abstractmethod
    def counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Targets of each term in a batch, told before the model runs: those that the terms of `loss` will have."""

    def reference(self, model: Any, batch: Mapping[str, Any], config: Any) -> Mapping[str, Any]:
        """What the model as it was before training says of a batch; `loss` finds it in the batch under these names.

        The trainer calls it in evaluation mode, without gradients, and with the weights that the model began with.

        Args:
            model: The model, not wrapped by DDP.
            batch: The collator's.
            config: An instance of this method's `config`.
        """
        return {}

    def settings_at(self, config: Any, progress: float) -> Any:
        """The settings in force at a point of the training; what `loss` is given. A term that is off has a count of 0.

        Args:
            config: An instance of this method's `config`.
            progress: Share of the optimizer steps that are done, in [0, 1).
        """
        return config

    def training_modules(self, width: int, config: Any) -> nn.Module | None:
        """What learns beside the model, at `TuneConfig.learning_rate`, and is not saved with it; None for nothing.

        `loss` finds it as the submodule `TRAINING_ONLY` of the base model. It has to run within the model's forward
        pass, as from a hook: DDP looks for what learns in the outputs.

        Args:
            width: Of the language model's hidden states.
            config: An instance of this method's `config`.
        """
        return None

    @abstractmethod
    def loss(self, model: Any, batch: Mapping[str, Any], config: Any) -> Loss:
        """Run the model on a batch and give the loss's terms.

        Args:
            model: The model, wrapped or not.
            batch: The collator's, and what `reference` gave.
            config: An instance of this method's `config`.

        Raises:
            TuningError: The batch does not fit the model.
        """


METHODS: Registry[Method] = Registry(
    "tuning method", "holisafe.tuning_methods", expected="a Method", accepts=lambda part: isinstance(part, Method)
)
"""All tuning methods by name."""


def method_names() -> list[str]:
    """Names of all methods, those of other packages included; none is imported."""
    return METHODS.names()
