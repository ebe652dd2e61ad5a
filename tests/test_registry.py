"""One registry for all that other packages add: names, suggestions, and packages that are broken or collide."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holisafe._registry import Registry
from holisafe.errors import RegistryError, UnknownNameError

GROUP = "holisafe.test_parts"


@pytest.fixture
def parts() -> Registry[str]:
    found: Registry[str] = Registry("part", GROUP, expected="a text", accepts=lambda part: isinstance(part, str))
    found.add("wheel", "a wheel")
    return found


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put packages on the path as an installer does: a module, and a dist-info folder that names entry points."""
    before = set(sys.modules)

    def put(package: str, code: str, **points: str) -> None:
        site = tmp_path / package
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{package}.py").write_text(code, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"[{GROUP}]", *(f"{name} = {place}" for name, place in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        monkeypatch.syspath_prepend(str(site))

    yield put
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_registered_part_is_found_and_listed(parts: Registry[str]) -> None:
    assert parts.get("wheel") == "a wheel"
    assert "wheel" in parts and list(parts) == parts.names() == ["wheel"]


def test_a_name_is_taken_once(parts: Registry[str]) -> None:
    with pytest.raises(RegistryError, match="a part named 'wheel' is registered already; choose another name"):
        parts.add("wheel", "another")
    assert parts.get("wheel") == "a wheel"


def test_an_unknown_name_is_answered_with_the_closest_and_the_hint(parts: Registry[str]) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown part 'weel'. Did you mean wheel\? Or a path."):
        parts.get("weel", hint="Or a path.")


def test_a_part_of_an_installed_package_is_found(parts: Registry[str], install: Callable[..., None]) -> None:
    install("gears", "gear = 'a gear'", gear="gears:gear")
    assert parts.names() == ["gear", "wheel"]
    assert "gear" in parts
    assert "gears" not in sys.modules  # names alone import nothing
    assert parts.get("gear") == "a gear"


def test_a_package_that_registers_by_decorator_is_found_by_its_module(
    parts: Registry[str], install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "the_parts", parts, raising=False)
    install("axles", "import sys\nsys.the_parts.add('axle', 'an axle')", axle="axles")
    assert parts.get("axle") == "an axle"


def test_a_registered_part_is_not_replaced_by_a_package(parts: Registry[str], install: Callable[..., None]) -> None:
    install("squares", "wheel = 'square'", wheel="squares:wheel")
    assert parts.get("wheel") == "a wheel"


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("raise RuntimeError('no such device')", "broken:part"),
        ("import a_module_that_is_not_there", "broken:part"),
        ("part = (", "broken:part"),
        ("", "broken:missing"),
        ("", "not_installed:part"),
        ("raise SystemExit(3)", "broken:part"),
        ("", "not a place"),
    ],
)
def test_a_package_that_cannot_be_imported_is_named(
    parts: Registry[str], install: Callable[..., None], code: str, place: str
) -> None:
    install("broken", code, part=place)
    with pytest.raises(RegistryError, match=f"part 'part' \\({place}\\) cannot be imported: .*mend or remove"):
        parts.get("part")
    assert parts.get("wheel") == "a wheel" and parts.names() == ["part", "wheel"]


def test_a_part_of_another_type_is_refused_wherever_it_comes_from(
    parts: Registry[str], install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("odd", "part = 3", part="odd:part")
    with pytest.raises(RegistryError, match=r"part 'part' \(odd:part\) is added as int; expected a text"):
        parts.get("part")
    with pytest.raises(RegistryError, match="part 'axle' is added as int; expected a text"):
        parts.add("axle", 3)  # type: ignore[arg-type]
    assert "axle" not in parts


def test_two_packages_that_add_one_name_are_both_named(parts: Registry[str], install: Callable[..., None]) -> None:
    install("one_gear", "gear = 1", gear="one_gear:gear")
    install("two_gears", "gear = 2", gear="two_gears:gear")
    with pytest.raises(RegistryError, match=r"several packages \(one_gear:gear, two_gears:gear\)"):
        parts.get("gear")


def test_a_package_that_is_found_twice_on_the_path_is_one(parts: Registry[str], install: Callable[..., None]) -> None:
    install("gears", "gear = 'a gear'", gear="gears:gear")
    sys.path.append(sys.path[0])
    assert parts.get("gear") == "a gear"
