"""Names of a package that are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, late: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: The package's `__name__`.
        late: For each name, the module that holds it, in full.
    """

    def get(name: str) -> Any:
        if name not in late:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(late[name]), name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *late})

    return get, names
