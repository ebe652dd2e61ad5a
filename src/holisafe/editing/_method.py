"""What an editing method is, its settings, and the registry of methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from holisafe._registry import Registry
from holisafe.errors import EditingError

if TYPE_CHECKING:
    from torch import Tensor

    from holisafe.editing._checkpoint import Checkpoint
    from holisafe.editing._sources import Sources


class EditingConfig(BaseModel):
    """Settings of one method: fields with a type, a range and a description, which becomes `--help`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Settings by name; what is missing has its default.

        Raises:
            EditingError: A name is unknown or missing, or a value is of another type or out of its range.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise EditingError("; ".join(map(_problem, error.errors()))) from None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return self.model_dump(mode="json")


def _problem(error: Any) -> str:
    name = ".".join(str(each) for each in error["loc"])
    if error["type"] == "missing":
        return f"{name}: is missing; give it"
    if error["type"] == "extra_forbidden":
        return f"{name}: the method has no such setting; remove it"
    return f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}, found {error['input']!r:.60}"


@dataclass(frozen=True, slots=True)
class Change:
    """What a method does to a checkpoint.

    Attributes:
        tensors: Names, as in the checkpoint's files, of the tensors that change; all others are copied bit for bit.
        value: From such a name and the tensor to the new tensor, of the same shape and dtype.
        record: JSON values for the model card and `edit.json`, e.g. how many weights change.
        kept: Tensors to keep beside the model, in `selection.safetensors`.
    """

    tensors: frozenset[str]
    value: Callable[[str, Tensor], Tensor]
    record: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Tensor] = field(default_factory=dict)


class EditingMethod(ABC):
    """From the weights of a model to other weights under the same names.

    Attributes:
        name: What `edit` and `holisafe edit` call it.
        about: What it does to a model, in one sentence, for `--help` and the model card.
        config: The class of its settings.
        strength: The setting that `--sweep` varies, a number; empty for none.
        models: The settings that name another model.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    config: ClassVar[type[EditingConfig]]
    strength: ClassVar[str] = ""
    models: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def change(self, base: Checkpoint, config: Any, sources: Sources) -> Change:
        """Check everything that can be wrong, then say what changes.

        Args:
            base: The checkpoint to edit.
            config: An instance of this method's `config`.
            sources: Opens the other models that the settings name.

        Raises:
            EditingError: The models do not belong together, or the method does not apply to the base.
            ModelError: Another model cannot be loaded.
        """


EDITING_METHODS: Registry[EditingMethod] = Registry(
    "editing method",
    "holisafe.editing_methods",
    expected="an EditingMethod",
    accepts=lambda part: isinstance(part, EditingMethod),
)
"""All editing methods by name."""
