"""Import every module of the package, and answer one prompt with a guard."""

from __future__ import annotations

import importlib
import pkgutil

import holisafe
from holisafe.datasets import load as load_data
from holisafe.guard import guarded_generate
from holisafe.images import open_image
from holisafe.models import load


def main() -> None:
    """Print what worked."""
    names = [each.name for each in pkgutil.walk_packages(holisafe.__path__, "holisafe.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    print(f"{len(names)} modules imported")
    model, processor = load("pocket", guard="own")
    sample = load_data("open", "test")[0]
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": sample.query}]}]
    prompt = processor.apply_chat_template(turn, add_generation_prompt=True)
    inputs = processor(text=[prompt], images=[open_image(sample.images[0])], return_tensors="pt")
    answer = guarded_generate(model, inputs, processor=processor, max_new_tokens=4)
    print(f"guarded answer: {answer.texts[0]!r}, {answer.verdicts[0].images[0].label}")


if __name__ == "__main__":
    main()
