"""Where the models of an edit come from: folders, the Hub, registered and tuned models, as folders of safetensors."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from holisafe.checkpoints.tuned import IMAGES_FILE, find_tuned
from holisafe.editing._checkpoint import CONFIG, Checkpoint
from holisafe.errors import ModelError
from holisafe.models import load, registered_models

_FROM_HUB = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken"]


class Sources(AbstractContextManager["Sources"]):
    """Opens models as checkpoints; what it had to write for that is removed when the block ends.

    A registered or tuned model is loaded and saved to a temporary folder first, which needs room for its weights.
    """

    def __init__(self) -> None:
        self._opened: dict[str, Checkpoint] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="holisafe-edit-")

    def __exit__(self, *_: object) -> None:
        """Remove the temporary folders."""
        self._opened.clear()
        self._temporary.cleanup()

    @property
    def opened(self) -> tuple[Checkpoint, ...]:
        """Every model that was opened so far, in order."""
        return tuple(self._opened.values())

    def open(self, model: str | Path) -> Checkpoint:
        """A model as a checkpoint; the same one for the same name.

        Args:
            model: A folder with a checkpoint, a Hub id, a registered name such as "pocket", or a folder that
                `holisafe tune` made.

        Raises:
            ModelError: It cannot be loaded, or its files are incomplete or damaged.
            UnknownNameError: There is no such model.
        """
        name = str(model)
        if name not in self._opened:
            folder = self._folder(name)
            self._opened[name] = Checkpoint.read(folder, name)
        return self._opened[name]

    def _folder(self, name: str) -> Path:
        folder = Path(name).expanduser()
        if name not in registered_models():
            if folder.is_dir() and find_tuned(folder) is None:
                return folder
            if not folder.exists() and name.count("/") == 1 and not name.startswith((".", "~", "/")):
                return _from_hub(name)
        saved = Path(self._temporary.name) / str(len(self._opened))
        loaded = load(name, device="cpu", dtype="auto")
        loaded.model.save_pretrained(saved)
        loaded.processor.save_pretrained(saved)
        tuned = find_tuned(folder) if folder.is_dir() else None
        if tuned is not None and (tuned.folder / IMAGES_FILE).is_file():
            shutil.copyfile(tuned.folder / IMAGES_FILE, saved / IMAGES_FILE)
        return saved


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=_FROM_HUB))
    except Exception as error:  # the network and the Hub fail in many ways
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(
            f"{name}: no folder, and it could not be had from the Hub ({first}); check the name, or download the "
            "model and give its folder"
        ) from error
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{name}: the Hub's repository holds no {CONFIG}; expected a transformers checkpoint")
    return folder


@contextmanager
def sources_or(given: Sources | None) -> Iterator[Any]:
    """The given sources, which stay open, or new ones."""
    if given is not None:
        yield given
        return
    with Sources() as own:
        yield own
