"""The tests every model that is asked for by name has to pass.

Run them on your own:

    from holisafe.models.conformance import ModelConformance

    class TestMine(ModelConformance):
        name = "mine"

pytest finds the inherited tests by their names; nothing here needs pytest. They ask drawn images a few questions.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageDraw

from holisafe.models.loading import LoadedModel, load
from holisafe.records import ImageRef


class ModelConformance:
    """Tests of the model that `load(name, **options)` gives; answers are compared in float32."""

    name: str
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32"}  # noqa: RUF012  a default to override
    max_new_tokens = 8

    def test_it_loads_ready_to_answer(self) -> None:
        """In evaluation mode, with a chat template."""
        loaded = self._loaded()
        assert not loaded.model.training, f"{self.name} is in training mode; call eval() on it"
        assert loaded.processor.chat_template, f"{self.name} has no chat template"

    def test_it_loads_where_and_as_asked(self) -> None:
        """Device and dtype are those of the options."""
        model = self._loaded().model
        assert str(model.device) == self.options["device"]
        assert str(model.dtype) == f"torch.{self.options['dtype']}"

    def test_batched_answers_are_those_given_alone(self) -> None:
        """Padding changes nothing."""
        assert self._answers(batch_size=4, reuse=False) == self._answers(batch_size=1, reuse=False)

    def test_answers_with_reuse_are_those_without(self) -> None:
        """What questions about one image share changes nothing either."""
        assert self._answers(batch_size=4, reuse=True) == self._answers(batch_size=1, reuse=False)

    def test_asking_twice_gives_the_same(self) -> None:
        """Answers are greedy."""
        assert self._answers(batch_size=4, reuse=True) == self._answers(batch_size=4, reuse=True)

    def _loaded(self) -> LoadedModel:
        return load(self.name, **self.options)

    def _answers(self, *, batch_size: int, reuse: bool) -> list[tuple[int, ...]]:
        from holisafe.models import Engine, GenerationOptions, Prompt

        square, wide = _drawn("square", (64, 64)), _drawn("wide", (96, 48))
        prompts = [
            Prompt.ask("What is this?", square),
            Prompt.ask("Which colours do you see?", square),
            Prompt.ask("Describe the picture in one sentence.", wide),
            Prompt.ask("Is this safe to eat?", square),
        ]
        options = GenerationOptions(max_new_tokens=self.max_new_tokens)
        with Engine(*self._loaded(), batch_size=batch_size, reuse=reuse, prefix_worth=0) as engine:
            return [answer.tokens for answer in engine.answer(prompts, options)]


def _drawn(key: str, size: tuple[int, int]) -> ImageRef:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((8, 8, size[0] - 8, size[1] - 8), fill="orange", outline="navy", width=3)
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return ImageRef(f"conformance-{key}", data=encoded.getvalue())
