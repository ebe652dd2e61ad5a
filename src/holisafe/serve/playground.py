"""`holisafe serve --ui`: one page at `/` that asks the server and shows what the guard made of it.

The page is one answer with its style and script in it; its policy lets these two run and nothing else be fetched but
this server. It asks `/v1/chat/completions` as any client does, and `/ui/explain` for the words and for what each policy
would have done.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fastapi import APIRouter
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from holisafe._version import __version__
from holisafe.errors import GuardError, RunError
from holisafe.guard import DecideBy, Decision, Policy, decide
from holisafe.records import GuardVerdict, ImageVerdict, RequestVerdict
from holisafe.serve.answering import Service
from holisafe.serve.backend import Backend
from holisafe.serve.chat import chat_completions
from holisafe.serve.errors import ApiError
from holisafe.serve.metrics import Metrics
from holisafe.serve.reading import read_body
from holisafe.serve.remote import RemoteImages
from holisafe.serve.routes import ErrorRoute
from holisafe.serve.schema import VerdictBody
from holisafe.serve.settings import Mode, Settings
from holisafe.taxonomy import Combination, GuardLabel

PATH = "/"
"""Where the page is."""


@dataclass(frozen=True)
class Compared:
    """A second model, whose answers stand beside those of the first.

    Attributes:
        name: Its name on the page.
        backend: What answers, without a guard.
    """

    name: str
    backend: Backend


def playground(settings: Settings, *, with_keys: bool, compared: Compared | None = None) -> APIRouter:
    """The page and what it asks beyond OpenAI's API.

    Args:
        settings: The policy that the page marks as this server's.
        with_keys: Whether the server has API keys, so that the page asks for one.
        compared: A model without a guard, asked by the page at `/ui/compare`.

    Raises:
        RunError: The policy is to block, and the second model would answer what is blocked.
    """
    if compared is not None:
        check_compare(settings)
    routes = APIRouter(route_class=ErrorRoute, include_in_schema=False)
    page, headers = _page(settings, with_keys, compared)

    @routes.get(PATH)
    async def read_page() -> Response:
        return HTMLResponse(page, headers=headers)

    @routes.post("/ui/explain")
    async def explain(request: Request) -> Response:
        body = await read_body(request, VerdictBody, settings.limits)
        try:
            return JSONResponse(explained(GuardVerdict.from_json(body.model_dump()), settings))
        except GuardError as error:
            raise ApiError(400, str(error), code="invalid_value") from error

    if compared is not None:
        beside = Service(compared.backend, settings, Metrics(), RemoteImages(frozenset()))

        @routes.post("/ui/compare")
        async def compare(request: Request) -> Response:
            return await chat_completions(request, beside)

    return routes


def check_compare(settings: Settings) -> None:
    """Refuse a second model where flags block.

    Raises:
        RunError: They do.
    """
    if Mode.BLOCK in (settings.policy, settings.output_policy):
        option = "--policy" if settings.policy is Mode.BLOCK else "--output-policy"
        raise RunError(f"--compare shows answers of a model without a guard, which {option} block rules out; drop one")


def explained(verdict: GuardVerdict, settings: Settings) -> dict[str, Any]:
    """A verdict in words: names to show, the most probable first, and what each policy makes of it.

    Raises:
        GuardError: A verdict holds no probability of safe, or names no kind of harm.
    """
    whole = verdict.request
    doubts_images = whole is not None and whole.flagged and not whole.combination.image_is_safe
    return {
        "images": [_of_image(each) | {"stays_blurred": each.flagged or doubts_images} for each in verdict.images],
        "request": None if whole is None else _of_request(whole),
        "policies": [
            _of_policy(decide(policy, verdict.images, whole, by), by, settings)
            for policy in Policy
            for by in (DecideBy.REQUEST, DecideBy.IMAGE, DecideBy.EITHER)
        ],
    }


def _of_image(verdict: ImageVerdict) -> dict[str, Any]:
    return _measured(verdict) | {"bars": _bars(verdict.distribution, _label_name)}


def _of_request(verdict: RequestVerdict) -> dict[str, Any]:
    return _measured(verdict) | {
        "bars": _bars(verdict.distribution, COMBINATIONS.__getitem__),
        "categories": _bars(verdict.categories, lambda category: category.display_name),
    }


def _measured(verdict: ImageVerdict | RequestVerdict) -> dict[str, Any]:
    return {"unsafe": verdict.unsafe, "threshold": verdict.threshold, "flagged": verdict.flagged}


def _bars(distribution: Mapping[Any, float], name_of: Any) -> list[dict[str, Any]]:
    ordered: Iterable[tuple[StrEnum, float]] = sorted(distribution.items(), key=lambda item: -item[1])
    return [{"name": name_of(key), "probability": probability} for key, probability in ordered]


def _label_name(label: GuardLabel) -> str:
    return label.subcategory.display_name if label.subcategory else "Safe"


def _of_policy(decision: Decision, decide_by: DecideBy, settings: Settings) -> dict[str, Any]:
    own = Policy.REFUSE if settings.policy is Mode.BLOCK else Policy.OBSERVE
    return {
        "policy": decision.policy.value,
        "decide_by": decide_by.value,
        "does": _DOES[decision.policy] if decision.flagged else "answers",
        "text": decision.text,
        "is_own": decision.policy is own and decide_by is settings.decide_by,
    }


COMBINATIONS: dict[Combination, str] = {
    Combination.SSS: "Harmless",
    Combination.SSU: "Unsafe only together",
    Combination.USU: "Unsafe image, harmless question",
    Combination.UUU: "Unsafe image and question",
    Combination.SUU: "Harmless image, unsafe question",
}
_DOES = {
    Policy.OBSERVE: "answers, reports the flag",
    Policy.WARN: "answers after a note",
    Policy.REFUSE: "refuses",
}


def _page(settings: Settings, with_keys: bool, compared: Compared | None) -> tuple[str, dict[str, str]]:
    """The page, and the headers that bind it."""
    environment = Environment(
        loader=PackageLoader("holisafe.serve"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    style, script = (environment.get_template(f"playground.{kind}").render() for kind in ("css", "js"))
    page = environment.get_template("playground.html.j2").render(
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        asks_key=with_keys,
        blocks=settings.policy is Mode.BLOCK,
        decide_by=settings.decide_by.value,
        compared=None if compared is None else compared.name,
    )
    policy = (
        f"default-src 'none'; script-src {_hashed(script)}; style-src {_hashed(style)}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
    }


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
