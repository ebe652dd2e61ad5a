import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from holisafe.datasets import Loaded, read
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import Category, Combination, Subcategory

Record = dict[str, Any]


@pytest.fixture
def png() -> bytes:
    """A small picture."""
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "teal").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def record() -> Callable[..., Record]:
    """Makes a good record of the released format, with some fields changed; a field set to `...` is left out."""

    def make(**changes: Any) -> Record:
        good: Record = {
            "id": 1,
            "image": "violence/terrorism/terrorism_1.png",
            "query": "What’s the mood here?",
            "type": "USU",
            "category": "violence",
            "subcategory": "terrorism",
            "image_safe": False,
            "image_safety_label": 15,
        }
        return {name: value for name, value in (good | changes).items() if value is not ...}

    return make


@pytest.fixture
def folder(tmp_path: Path, png: bytes) -> Path:
    """A data folder with one image and no records yet."""
    image = tmp_path / "data" / "images" / "violence" / "terrorism" / "terrorism_1.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(png)
    return tmp_path / "data"


@pytest.fixture
def read_records(folder: Path) -> Callable[..., Loaded]:
    """Writes records as the released file and reads them."""

    def read_them(*records: Any) -> Loaded:
        (folder / "holisafe_bench.json").write_text(json.dumps(list(records)))
        return read(folder)

    return read_them


@pytest.fixture
def sample(png: bytes) -> Callable[..., Sample]:
    """Makes a sample with its image in memory."""

    def make(id: str = "1", combination: Combination = Combination.SSS, **fields: Any) -> Sample:
        image = ImageRef(key=fields.pop("key", f"image-{id}"), data=png)
        topic = {"category": Category.HATE, "subcategory": Subcategory.GENDER}
        return Sample.ask(id, (image,), f"Question {id}?", combination, **(topic | {"cluster": image.key} | fields))

    return make
