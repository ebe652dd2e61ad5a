"""Whether a processor's chat template can put a question about an image to the model, found out before any question."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from holisafe.errors import ModelError
from holisafe.models.prompts import Prompt, prepare
from holisafe.records import ImageRef


def check_chat_template(processor: Any, name: str, image_token: int | None = None) -> None:
    """Put a question about a drawn image into the template, as answering and tuning do.

    Args:
        processor: The model's processor.
        name: The model's name, for the message.
        image_token: Id of the placeholder of a visual token; None where the configuration names none.

    Raises:
        ModelError: The processor has no template, or the template takes text only or has no place for images.
    """
    if not processor.chat_template:
        raise ModelError(
            f"{name}: the processor has no chat template, so a question cannot be put to the model; add a "
            "chat_template.jinja to the checkpoint"
        )
    try:
        prepared = prepare(processor, Prompt.ask("What is this?", _drawn()))
    except Exception as error:  # Jinja and processors raise kinds of their own
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(_cannot(name, f"{type(error).__name__}: {first}")) from error
    if image_token is not None and image_token not in prepared.ids:
        raise ModelError(_cannot(name, "the prompt that it makes has no image placeholder"))


def _cannot(name: str, why: str) -> str:
    return (
        f"{name}: the chat template (chat_template.jinja) cannot ask about an image: {why}; expected a template that "
        "takes messages whose content is a list of parts, and writes the image placeholder for parts of type 'image'"
    )


def _drawn() -> ImageRef:
    encoded = io.BytesIO()
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save(encoded, "PNG")
    return ImageRef("template-check", data=encoded.getvalue())
