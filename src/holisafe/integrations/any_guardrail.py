"""any-guardrail: a guardrail of texts and images that asks a running `holisafe serve`."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from holisafe.errors import GuardError, MissingDependencyError
from holisafe.integrations.client import GuardClient, GuardReply

try:
    from any_guardrail.base import GuardrailOutput, StandardGuardrail
    from any_guardrail.taxonomy import BackendType, GuardrailCategory, GuardrailMetadata, GuardrailStage, OutputShape
    from any_guardrail.types import CategoryResult, GuardrailInferenceOutput, GuardrailPreprocessOutput
except ModuleNotFoundError as error:
    raise MissingDependencyError(
        f"holisafe.integrations.any_guardrail needs {error.name!r}, which is not installed; run: pip install "
        "any-guardrail"
    ) from error

Images = Sequence[str | bytes | Path]


class HoliSafe(StandardGuardrail):  # type: ignore[misc]  # typed as Any where it is not installed
    """Content safety of a request with its images, by a model that sees both.

    `valid` is the server's decision, `score` the highest P(unsafe) of the request and its images; `categories` are the
    labels that are reasons for a flag. It fails closed: a guard that does not answer is an error.

    Args:
        url: The server's address; the environment variable HOLISAFE_URL when None.
        api_key: Its key; the environment variable HOLISAFE_API_KEY when None.

    Raises:
        GuardError: There is no address.
    """

    SUPPORTED_MODELS: ClassVar[list[str]] = ["holisafe"]
    METADATA: ClassVar[Any] = GuardrailMetadata(
        description="Content safety of a request with its images, by a model that sees both.",
        display_name="HoliSafe",
        categories=frozenset({GuardrailCategory.CONTENT_SAFETY}),
        primary_category=GuardrailCategory.CONTENT_SAFETY,
        stages=frozenset({GuardrailStage.INPUT}),
        output_shapes=frozenset({OutputShape.BINARY, OutputShape.MULTI_LABEL, OutputShape.SCORE}),
        backend=BackendType.HOSTED_API,
        optional_validate_kwargs=frozenset({"images"}),
        multimodal=True,
        vendor="HoliSafe",
        default_license="apache-2.0",
    )

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self.model_id = self.SUPPORTED_MODELS[0]
        self._client = GuardClient(url, api_key)

    def _pre_processing(self, input_text: str, images: Images = ()) -> Any:
        """The request in OpenAI's form.

        Args:
            input_text: Its text; may be empty where there are images.
            images: Paths, bytes of image files, or data URLs.

        Raises:
            GuardError: There is neither text nor image, or a file cannot be read.
        """
        parts: list[Mapping[str, Any]] = [{"type": "image_url", "image_url": {"url": _url(image)}} for image in images]
        if input_text:
            parts.append({"type": "text", "text": input_text})
        if not parts:
            raise GuardError("nothing to judge: give a text or images")
        return GuardrailPreprocessOutput(data={"parts": parts})

    def _inference(self, model_inputs: Any) -> Any:
        return GuardrailInferenceOutput(data={"reply": self._client.check(model_inputs.data["parts"])})

    def _post_processing(self, model_outputs: Any) -> Any:
        reply: GuardReply = model_outputs.data["reply"]
        return GuardrailOutput(
            valid=not reply.flagged,
            score=reply.score,
            categories=[CategoryResult(name=name, triggered=True) for name in reply.reasons],
            action="block" if reply.flagged else None,
            extra={"judged": reply.judged},
        )


def _url(image: str | bytes | Path) -> str:
    if isinstance(image, str) and image.startswith("data:"):
        return image
    try:
        data = image if isinstance(image, bytes) else Path(image).read_bytes()
    except OSError as error:
        raise GuardError(f"{image!s}: cannot be read ({error.strerror}); expected an image file") from error
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"  # the server looks at the bytes, not at this
