"""What a client is told went wrong: OpenAI's error object, in our own words.

A message never repeats a decoder's words, a path, an address or anything else of the machine.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from holisafe.errors import HoliSafeError

INVALID = "invalid_request_error"
SERVER = "server_error"


class ApiError(HoliSafeError):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: What was wrong and what to do, for the client.
        kind: OpenAI's `type`.
        param: The field of the request, such as "messages.0.content".
        code: A short name that programs compare.
        retry_after: Seconds after which the same request may be sent again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.retry_after = retry_after

    def to_json(self) -> dict[str, Any]:
        """`{"error": {message, type, param, code}}`."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The whole answer, with `Retry-After` where it makes sense."""
        headers = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        return JSONResponse(self.to_json(), self.status, headers)


def not_found(model: str) -> ApiError:
    """The request names a model that is not served."""
    return ApiError(
        404,
        f"the model {model[:80]!r} is not served here; GET /v1/models lists those that are",
        param="model",
        code="model_not_found",
    )


def guard_unavailable() -> ApiError:
    """The guard has no verdict, and without one nothing is answered."""
    return ApiError(
        503,
        "the guard could not judge this request, so it is not answered",
        kind=SERVER,
        code="guard_unavailable",
        retry_after=1,
    )


def internal() -> ApiError:
    """Something failed that the client cannot help."""
    return ApiError(500, "the server failed on this request", kind=SERVER, code="internal_error")
