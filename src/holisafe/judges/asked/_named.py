"""The judges of this package that ask a model, and those of a user's own prompt file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from holisafe._files import read_bounded
from holisafe.errors import JudgeError
from holisafe.judges._registry import Judge, PublishedProtocol, judge
from holisafe.judges.asked._declaration import LARGEST_FILE, read_declaration
from holisafe.judges.asked._judge import AskedJudge


class ProtocolJudge(AskedJudge, PublishedProtocol):
    """The published rule of HoliSafe (arXiv 2506.04704), in our wording: the label given, adherence asked for."""


@judge("rubric")
def rubric() -> Judge:
    """Independent yes-or-no questions on one answer; the model is not told what is right."""
    return AskedJudge("rubric", read_declaration(_shipped("rubric"), "rubric.toml"))


@judge("protocol")
def protocol() -> Judge:
    """The published rule: the model is told what is right and says whether the answer adheres to it."""
    return ProtocolJudge("protocol", read_declaration(_shipped("protocol"), "protocol.toml"))


@judge("prompt")
def prompt_file(path: str | Path) -> Judge:
    """A judge as a user's own file declares it, named "prompt:STEM"; `--judge prompt:FILE`.

    Args:
        path: The file, TOML as docs/model-judges.md describes it.

    Raises:
        JudgeError: It cannot be read, or is not such a file; names the field.
    """
    path = Path(path)
    text = read_bounded(path, JudgeError, max_bytes=LARGEST_FILE)
    return AskedJudge(f"prompt:{path.stem}", read_declaration(text, str(path)))


def _shipped(name: str) -> bytes:
    return (files("holisafe.judges") / "data" / "prompts" / f"{name}.toml").read_bytes()
