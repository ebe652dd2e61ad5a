"""Import every module of the package, and answer one prompt with a guard; with --datasets, read a table instead."""

from __future__ import annotations

import importlib
import io
import pkgutil
import sys
from tempfile import TemporaryDirectory

from PIL import Image

import holisafe
from holisafe.datasets import load as load_data
from holisafe.errors import MissingDependencyError
from holisafe.guard import guarded_generate
from holisafe.images import open_image
from holisafe.models import load


def main() -> None:
    """Print what worked."""
    names = [each.name for each in pkgutil.walk_packages(holisafe.__path__, "holisafe.")]
    elsewhere = 0  # adapters for packages that no extra for the oldest versions holds
    for name in names:
        if name.endswith("__main__"):
            continue
        try:
            importlib.import_module(name)
        except MissingDependencyError:
            if not name.startswith("holisafe.integrations."):
                raise
            elsewhere += 1
    print(f"{len(names) - elsewhere} modules imported, {elsewhere} need another package")
    model, processor = load("pocket", guard="own")
    sample = load_data("open", "test")[0]
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": sample.query}]}]
    prompt = processor.apply_chat_template(turn, add_generation_prompt=True)
    inputs = processor(text=[prompt], images=[open_image(sample.images[0])], return_tensors="pt")
    answer = guarded_generate(model, inputs, processor=processor, max_new_tokens=4)
    print(f"guarded answer: {answer.texts[0]!r}, {answer.verdicts[0].images[0].label}")


def plot() -> None:
    """Write a figure with matplotlib as the package does."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(2, 2), layout="constrained")
    canvas.subplots().plot([0, 1], [0, 1])
    canvas.savefig(io.BytesIO(), format="svg")
    print("a figure drawn")


def read_table() -> None:
    """Read a table of the library `datasets`, and import what draws."""
    import resvg_py

    import datasets
    from holisafe.datasets._hub import read_table as read

    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(encoded, "PNG")
    row = {"id": 1, "query": "What is this?", "type": "SSS", "image": {"bytes": encoded.getvalue(), "path": None}}
    row |= {"category": "violence", "subcategory": "weapon_related_violence", "image_safe_label": 0}
    with TemporaryDirectory() as folder:
        datasets.Dataset.from_list([row]).cast_column("image", datasets.Image()).to_parquet(f"{folder}/one.parquet")
        table = datasets.load_dataset("parquet", data_files=f"{folder}/one.parquet", split="train", cache_dir=folder)
        loaded = read(table, "some/table")
    print(f"{len(loaded.samples)} sample of a datasets table; {resvg_py.__name__} imported")


if __name__ == "__main__":
    if "--datasets" in sys.argv[1:]:
        read_table()
    else:
        main()
        plot()
