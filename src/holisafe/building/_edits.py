"""Step "edits": harmless twins of pictures, made by an image-editing endpoint (the shape of OpenAI's images/edits).

The endpoint gets the picture's bytes and a prompt. Its reply must hold bytes: an address in it is not fetched.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._files import write_atomically
from holisafe._lazy import missing
from holisafe.bench import Spending, money_text
from holisafe.building._labels import Labelled, guard_rows, scanner_of
from holisafe.building._pictures import Picture, features_of
from holisafe.building._prompts import edit_prompt, edits_version
from holisafe.building._requests import Asked
from holisafe.building._steps import Row, Status, StepFile, key_of
from holisafe.errors import BudgetError, ImageError, ModelError
from holisafe.images import content_hash, open_image, read_bytes
from holisafe.records import ImageRef
from holisafe.scan import Scanner
from holisafe.taxonomy import Combination, GuardLabel

EDITED = "edited"
"""Folder of edited pictures, below that of the data."""

_IN_A_ROW = 5
"""Failures after which the endpoint is taken to be down."""

_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


@dataclass(frozen=True, slots=True)
class Editor:
    """An image-editing endpoint.

    The key is read from the environment (OPENAI_API_KEY); an endpoint of one's own needs none.

    Attributes:
        url: Its address, up to and with "/v1".
        model: Name of the model, as the endpoint has it.
        price: Money per edited picture; None where it is not known.
    """

    url: str
    model: str
    price: float | None = None


def wants_edit(one: Asked) -> bool:
    """Whether a request is unsafe by its picture, alone or with it."""
    return one.combination in (Combination.USU, Combination.SSU)


def edit_key(one: Asked, editor: Editor) -> str:
    """Key of the row of the edit that a request's twin needs; requests may share one."""
    return key_of("edits", one.about.picture.digest, _prompt(one), editor.model, edits_version())


def edit_pictures(
    asked: Sequence[Asked],
    editor: Editor,
    out: Path,
    file: StepFile,
    spending: Spending | None,
    guard: str | None = None,
    device: str | None = None,
) -> tuple[list[Row], dict[str, Labelled]]:
    """An edited, harmless picture for each request that is unsafe by its picture.

    Args:
        asked: The requests that were kept.
        editor: The endpoint.
        out: Folder of the data.
        file: The step's file.
        spending: What is spent; its budget shrinks by the price of each edit.
        guard: Model with a guard that must see the edited picture as safe; None for none.
        device: Device of the guard.

    Returns:
        One row per edit, and by id of each request its edited picture; those that could not be made are left out.

    Raises:
        ModelError: The endpoint refuses all requests or fails several times in a row, or the guard cannot be loaded.
        BudgetError: The budget is spent.
        RunError: The file cannot be written.
    """
    wanted: dict[str, Asked] = {}
    for one in filter(wants_edit, asked):
        wanted.setdefault(edit_key(one, editor), one)
    left = {key: one for key, one in wanted.items() if file.get(key) is None}
    if left:
        with _client(editor) as client:
            scanner = None if guard is None else scanner_of(guard, device)
            failed = 0
            for key, one in left.items():
                _pay(editor, spending)
                made = _checked(_edited(key, one, client, editor, out), out, scanner)
                file.append(made)
                failed = failed + 1 if made.status is Status.ERROR else 0
                if failed == _IN_A_ROW:
                    raise ModelError(
                        f"{editor.url} failed {failed} times in a row ({made.reason}); run it again to resume"
                    )
    rows = {key: row for key in wanted if (row := file.latest(key)) is not None}
    found = {}
    for one in filter(wants_edit, asked):
        row = rows[edit_key(one, editor)]
        if row.is_ok:
            found[one.id] = Labelled(_picture(row.values, out), GuardLabel.SAFE, "", f"edited by {editor.model}")
    return list(rows.values()), found


def count_edits(file: StepFile, editor: Editor) -> int:
    """Edits that were made and paid by now."""
    return sum(row.status is not Status.ERROR and row.values.get("by") == editor.model for row in file.records())


def _pay(editor: Editor, spending: Spending | None) -> None:
    if spending is None or spending.budget is None:
        return
    price = editor.price or 0.0
    if spending.spent + price > spending.budget:
        raise BudgetError(
            f"an edit costs {money_text(price)}, and {money_text(spending.budget - spending.spent)} is left"
        )
    spending.budget -= price


@contextlib.contextmanager
def _client(editor: Editor) -> Iterator[Any]:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise missing(error, "holisafe build --edit-url") or error from error
    key = os.environ.get("OPENAI_API_KEY", "none")
    with openai.OpenAI(base_url=editor.url, api_key=key, max_retries=3, timeout=300) as client:
        yield client


def _edited(key: str, one: Asked, client: Any, editor: Editor, out: Path) -> Row:
    """Ask for one edit; whatever comes is a row."""
    import openai

    picture = one.about.picture
    values = {
        "picture": picture.name,
        "digest": picture.digest,
        "combination": one.combination.value,
        "by": editor.model,
    }
    data = read_bytes(picture.ref)
    try:
        reply = client.images.edit(model=editor.model, image=(f"picture{_suffix(data)}", data), prompt=_prompt(one))
    except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
        raise ModelError(f"{editor.url}: {error}; check --edit-url, --edit-model and OPENAI_API_KEY") from error
    except openai.BadRequestError as error:
        return Row(key, Status.REJECTED, f"refused: {str(error)[:200]}", values)
    except (openai.OpenAIError, ValueError) as error:  # ValueError: its reply is no JSON
        return Row(key, Status.ERROR, f"endpoint: {type(error).__name__}: {str(error)[:200]}", values)
    made = _bytes_of(reply)
    if isinstance(made, str):
        return Row(key, Status.REJECTED, made, values)
    digest = content_hash(made)
    if digest == picture.digest:
        return Row(key, Status.REJECTED, "same bytes: the endpoint returned the picture as it was", values)
    name = f"{digest[:32]}{_suffix(made)}"
    try:
        dhash, colours = features_of(open_image(ImageRef(name, data=made)))
    except ImageError as error:
        return Row(key, Status.REJECTED, f"unreadable: {error}", values)
    (out / EDITED).mkdir(exist_ok=True)
    write_atomically(out / EDITED / name, made)
    return Row(
        key, values={**values, "edited": name, "edited_digest": digest, "dhash": dhash, "colours": list(colours)}
    )


def _prompt(one: Asked) -> str:
    return edit_prompt(one.about.label, one.combination, one.question)


def _bytes_of(reply: Any) -> bytes | str:
    """The picture of a reply, or why there is none."""
    found = getattr(reply, "data", None)
    if not found or len(found) != 1:
        return f"wrong reply: expected one picture in data, found {len(found or ())}"
    if not found[0].b64_json:
        return "wrong reply: it holds an address and no bytes (b64_json); nothing is fetched"
    try:
        return base64.b64decode(found[0].b64_json, validate=True)
    except (binascii.Error, ValueError):
        return "wrong reply: b64_json is no base64"


def _checked(row: Row, out: Path, scanner: Scanner | None) -> Row:
    """The row, rejected where a guard still flags the edited picture."""
    if scanner is None or not row.is_ok:
        return row
    (said,) = guard_rows([_picture(row.values, out)], scanner)
    if "error" in said:
        return Row(row.key, Status.REJECTED, f"guard: {said['error']}", row.values)
    if said["flagged"]:
        return Row(
            row.key, Status.REJECTED, f"still flagged: {scanner.model} sees the edited picture as unsafe", row.values
        )
    return row


def _picture(values: Mapping[str, Any], out: Path) -> Picture:
    name = str(values["edited"])
    ref = ImageRef(name, path=out / EDITED / name, root=out, digest=str(values["edited_digest"]))
    return Picture(name, ref, str(values["dhash"]), tuple(values["colours"]))


def _suffix(data: bytes) -> str:
    return next((suffix for start, suffix in _SUFFIXES.items() if data.startswith(start)), "")
