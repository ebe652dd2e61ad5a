"""Names of a package that are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any

from holisafe.errors import MissingDependencyError

_EXTRAS = MappingProxyType(
    {
        **dict.fromkeys(("torch", "transformers", "peft", "accelerate", "safetensors"), "models"),
        **dict.fromkeys(("inspect_ai", "sklearn"), "bench"),
        **dict.fromkeys(("fastapi", "starlette", "uvicorn", "prometheus_client", "httpx"), "serve"),
        "matplotlib": "report",
        "fsspec": "scan",
        "openpyxl": "xlsx",
        "cleanlab": "review",
        "openai": "edit",
        "any_guardrail": "guards",
    }
)
"""The extra of this distribution that installs a library."""


def missing(error: ModuleNotFoundError, what: str) -> MissingDependencyError | None:
    """The error to raise where a library is not installed; None where it is a module of our own that is not there.

    Args:
        error: What the import raised.
        what: What needs the library.
    """
    library = (error.name or "").partition(".")[0]
    if not library or library == "holisafe":
        return None
    extra = _EXTRAS.get(library, "demo")
    return MissingDependencyError(
        f"{what} needs {library!r}, which is not installed; run: pip install 'holisafe[{extra}]'"
    )


def lazy(package: str, late: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: The package's `__name__`.
        late: For each name, the module that holds it, in full.
    """

    def get(name: str) -> Any:
        if name not in late:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = import_module(late[name])
        except ModuleNotFoundError as error:
            explained = missing(error, f"{package}.{name}")
            if explained is None:
                raise
            raise explained from error
        return getattr(module, name)

    def names() -> list[str]:
        held = vars(sys.modules[package])
        rooms = {name for name, value in held.items() if isinstance(value, ModuleType) and not name.startswith("_")}
        return sorted({*held["__all__"], *rooms, *(name for name in held if name.startswith("__"))})

    return get, names
