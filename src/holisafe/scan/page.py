"""One self-contained page about a scan: figures, and contact sheets whose images are a few blurred pixels each."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import ImageFilter

from holisafe._files import write_atomically
from holisafe._printable import printable
from holisafe._version import __version__
from holisafe.errors import HoliSafeError, ImageError, RunError
from holisafe.images import open_image
from holisafe.images.sources import SourceItem, reason_of
from holisafe.scan.summary import FLAGGED, NO_VERDICT, ScanSummary
from holisafe.scan.units import FileUnit, Unit, Units

VEIL_SIDE = 12
"""Pixels of an image's longer side in the page, before they are blurred: colours are left, shapes are not."""


def write_page(summary: ScanSummary, path: Path) -> None:
    """Write the page, and its figures beside it as JSON.

    The images are looked up where they were scanned; what is not there any more is said. No clear image is in the
    page, so nothing can reveal one.

    Args:
        summary: What a scan found.
        path: The page; the JSON has the same name with the suffix .json.

    Raises:
        RunError: The page has the suffix .json, or cannot be written.
    """
    import jinja2

    if path.suffix == ".json":
        raise RunError(f"{path}: is where the page's figures go; give the page another suffix, such as .html")

    wanted = {each.image for each in summary.near} | {one.image for shown in summary.samples.values() for one in shown}
    veils = _veils(summary.scan.places, wanted)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["plain"] = lambda text: printable(str(text)).replace("\n", "\\n")
    environment.filters["percent"] = lambda share: f"{100 * share:.4g}"
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    page = environment.get_template("page.html.j2").render(
        summary=summary,
        settings=summary.scan.settings,
        veils=veils,
        flagged=FLAGGED,
        no_verdict=NO_VERDICT,
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        version=__version__,
    )
    figures = json.dumps(summary.to_json(), ensure_ascii=False, indent=2) + "\n"
    try:
        write_atomically(path, page)
        write_atomically(path.with_suffix(".json"), figures)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error


def _veils(places: list[str], wanted: set[str]) -> Mapping[str, tuple[str, str]]:
    """By image: the address of its veil, or why it has none."""
    found: dict[str, tuple[str, str]] = {}
    try:
        units: Iterable[Unit] = Units(places)
        for unit in units:
            missing = wanted - found.keys()
            if not missing:
                break
            if any(_may_hold(unit, name) for name in missing):
                found |= _of_unit(unit, missing)
    except HoliSafeError as error:
        why = str(error)
    else:
        why = "not found where it was scanned"
    return {name: found.get(name, ("", why)) for name in wanted}


def _may_hold(unit: Unit, name: str) -> bool:
    names = [file.name for file in unit.files] if isinstance(unit, FileUnit) else [unit.name]
    return any(name == each or name.startswith((f"{each}/", f"{each}#")) for each in names)


def _of_unit(unit: Unit, wanted: set[str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    here = {name for name in wanted if _may_hold(unit, name)}
    for item in unit.items():
        if item.name in here:
            found[item.name] = _veil(item)
            if len(found) == len(here):
                break
    return found


def _veil(item: SourceItem) -> tuple[str, str]:
    if item.ref is None:
        return "", item.error
    try:
        image = open_image(item.ref)
    except ImageError as error:
        return "", reason_of(error, item.ref)
    image.thumbnail((VEIL_SIDE, VEIL_SIDE))
    veil = image.filter(ImageFilter.GaussianBlur(1))
    file = io.BytesIO()
    veil.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", ""
