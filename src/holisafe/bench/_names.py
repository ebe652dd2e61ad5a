"""Which model a name means: one of ours, a folder, a Hub id, or one of Inspect's."""

from __future__ import annotations

from inspect_ai._util.registry import registry_find, registry_info, registry_unqualified_name

from holisafe._checks import check_type
from holisafe.errors import UnknownNameError
from holisafe.models import registered_models
from holisafe.models.loading import looks_local

LOCAL = "holisafe/"
"""How Inspect's names of local models begin."""


def inspect_name(model: str) -> str:
    """Inspect's name of `model`; local ones go to the provider `holisafe/`.

    A registered name or a folder is ours; then the part before the first slash decides: a provider that Inspect
    knows, else an organisation on the Hub.

    Raises:
        UnknownNameError: It is neither a registered name, nor a folder, nor has it a slash.
    """
    check_type(model, str, "model")
    if model in registered_models() or looks_local(model):
        return LOCAL + model
    provider, slash, _ = model.partition("/")
    if not slash:
        hint = "Or give a folder, a Hub id of the form org/name, or an Inspect model such as openai/gpt-4o."
        raise UnknownNameError("model", model, registered_models(), hint=hint)
    return model if provider == "holisafe" or provider in _providers() else LOCAL + model


def _providers() -> set[str]:
    found = registry_find(lambda info: info.type == "modelapi")
    return {registry_unqualified_name(registry_info(each)) for each in found}
