"""The public face: what `import holisafe` shows, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import holisafe


def test_every_public_name_is_there_and_listed() -> None:
    for name in holisafe.__all__:
        assert getattr(holisafe, name) is not None, name
    assert set(holisafe.__all__) <= set(dir(holisafe))


def test_importing_the_package_loads_neither_torch_nor_inspect() -> None:
    program = (
        "import sys, holisafe; print(sorted({'torch', 'transformers', 'inspect_ai', 'pyarrow'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    try:
        holisafe.nothing  # noqa: B018
    except AttributeError as error:
        assert "'nothing'" in str(error)
    else:
        raise AssertionError("expected an AttributeError")
