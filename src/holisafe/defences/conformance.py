"""The tests every defence has to pass.

Run them on your own:

    from holisafe.defences.conformance import DefenceConformance

    class TestMine(DefenceConformance):
        defence = "mine:strength=2"
        model = "pocket"

pytest finds the inherited tests by their names; nothing here needs pytest. They ask drawn images a few questions.
"""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image, ImageDraw

from holisafe.defences import DEFENCES, Defence, parse, wrap
from holisafe.models import GenerationOptions, LoadedModel, Prompt, load
from holisafe.records import ImageRef


class DefenceConformance:
    """Tests of `defence` on `model`.

    Attributes:
        defence: A name as `--defence` takes it, or a defence.
        model: What `holisafe.models.load` takes, or a loaded model.
    """

    defence: str | Defence
    model: str | LoadedModel
    max_new_tokens = 8

    def test_it_says_what_it_is(self) -> None:
        """Name, what it does, what it costs, and settings that JSON can hold."""
        defence = parse(self.defence)
        assert DEFENCES.get(defence.name) is type(defence), f"{defence.name} is registered under another name"
        assert defence.about and defence.cost, f"{defence.name}: about and cost must say something"
        assert json.loads(json.dumps(defence.identity())) == defence.identity()

    def test_batched_answers_are_those_given_alone(self) -> None:
        """What else is answered at the same time changes nothing."""
        together = self._answers(_prompts(), batch_size=4)
        alone = [self._answers([prompt], batch_size=1)[0] for prompt in _prompts()]
        assert together == alone

    def test_asking_twice_gives_the_same(self) -> None:
        """It keeps nothing of a request."""
        with wrap(self._loaded(), self.defence, batch_size=4) as defended:
            options = GenerationOptions(max_new_tokens=self.max_new_tokens)
            first = [each.answer for each in defended.answer(_prompts(), options)]
            assert [each.answer for each in defended.answer(_prompts(), options)] == first

    def test_a_request_without_an_image_is_answered(self) -> None:
        """Text alone is a request too."""
        assert self._answers([Prompt.ask("What is a guard?")], batch_size=1)

    def test_it_says_what_it_cost(self) -> None:
        """At least one forward pass for each answer that the model wrote."""
        with wrap(self._loaded(), self.defence) as defended:
            options = GenerationOptions(max_new_tokens=self.max_new_tokens)
            for each in defended.answer(_prompts(), options):
                assert each.cost.passes >= each.cost.generations >= 0
                assert each.cost.seconds > 0

    def _loaded(self) -> LoadedModel:
        return self.model if isinstance(self.model, LoadedModel) else load(self.model, device="cpu", dtype="float32")

    def _answers(self, prompts: list[Prompt], **options: Any) -> list[tuple[int, ...]]:
        with wrap(self._loaded(), self.defence, **options) as defended:
            answered = defended.answer(prompts, GenerationOptions(max_new_tokens=self.max_new_tokens))
            return [each.answer.tokens for each in answered]


def _prompts() -> list[Prompt]:
    square, wide = _drawn("square", (64, 64)), _drawn("wide", (96, 48))
    return [
        Prompt.ask("What is this?", square),
        Prompt.ask("Which colours do you see?", square),
        Prompt.ask("Describe the picture in one sentence.", wide),
        Prompt.ask("What is a guard?"),
    ]


def _drawn(key: str, size: tuple[int, int]) -> ImageRef:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((8, 8, size[0] - 8, size[1] - 8), fill="orange", outline="navy", width=3)
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return ImageRef(f"conformance-{key}", data=encoded.getvalue())
