"""A project of Label Studio as files: tasks, pictures and the labelling configuration.

Format: Label Studio's import of tasks and its tags (labelstud.io/guide/tasks, labelstud.io/tags).
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holisafe._files import write_atomically
from holisafe.errors import DataError
from holisafe.images import read_bytes
from holisafe.records import ImageRef

FOLDER = "review"
"""Folder of a project, below that of what is reviewed."""

TASKS, IMAGES, CONFIGURATION = "tasks.json", "images", "configuration.xml"

LOCAL_FILES = "/data/local-files/?d="
"""Prefix of the addresses at which Label Studio serves files of its own machine."""

UNUSABLE = "unusable"
"""What people choose where no other choice is right."""

REASON = "reason"
"""Name of the field for a reason."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")

# Label Studio draws the picture on a canvas above its img, whose own filter it sets inline
_STYLE = """
    .holisafe img, .holisafe canvas { filter: blur(36px) !important; }
    .holisafe .lsf-object:active img, .holisafe .lsf-object:active canvas { filter: none !important; }
  """

_HINT = "Hold the mouse button down on the picture to see it. Do not name or identify anybody in it."


@dataclass(frozen=True, slots=True)
class Form:
    """What people see of a task, and choose.

    Attributes:
        name: Name of the choice, as the export has it.
        choices: What the export has → the words that people see; one is chosen.
        texts: Field of a task's texts → the heading above it.
    """

    name: str
    choices: Mapping[str, str]
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to review.

    Attributes:
        key: What it is found by in the export.
        picture: Its picture; `digest` is set.
        texts: Its texts, by the form's fields.
    """

    key: str
    picture: ImageRef
    texts: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Project:
    """What was written.

    Attributes:
        folder: The folder, with tasks.json, images and configuration.xml.
        tasks: Number of tasks.
        left_out: Reasons for what is no task, as "kind: detail".
    """

    folder: Path
    tasks: int
    left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/review.md)."""
        return {"folder": str(self.folder), "tasks": self.tasks, "left_out": list(self.left_out)}


def write_project(folder: Path, tasks: Sequence[Task], form: Form, *, images: str = LOCAL_FILES) -> Project:
    """Write the project of some tasks, in their order: what to look at first comes first.

    Args:
        folder: Folder to write to; created if missing.
        tasks: The tasks.
        form: What people see and choose.
        images: What stands before "images/NAME": the prefix of Label Studio's local files, or an address.

    Raises:
        DataError: `images` is nothing that a picture's path can follow; nothing is written.
        ImageError: A picture cannot be read.
    """
    if not images.isprintable() or not images.endswith(("/", "=")):
        raise DataError(
            f"images: found {images!r:.200}, expected an address up to its last / (or =), before images/NAME"
        )
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    told = []
    for task in tasks:
        suffix = Path(task.picture.key).suffix.lower()  # by which a web server tells what a file is
        name = f"{IMAGES}/{task.picture.digest}{suffix if suffix in _SUFFIXES else ''}"
        if not (folder / name).exists():
            write_atomically(folder / name, read_bytes(task.picture))
        told.append({"data": {"key": task.key, "picture": name.removeprefix(f"{IMAGES}/"), **task.texts}})
    write_json(folder / TASKS, told)
    write_atomically(folder / CONFIGURATION, configuration(form, images))
    return Project(folder, len(told))


def write_json(path: Path, content: Any) -> None:
    """Write JSON that people can read too."""
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def configuration(form: Form, images: str = LOCAL_FILES) -> str:
    """The labelling configuration, in XML: pictures are blurred until the mouse button is held down on them.

    A picture's address is put together here. With a whole address in the tasks, Label Studio's list of tasks would show
    every picture, not blurred.
    """
    view = ET.Element("View", className="holisafe")
    ET.SubElement(view, "Style").text = _STYLE
    ET.SubElement(view, "Header", value=_HINT)
    ET.SubElement(view, "Image", name="image", value=f"{images}{IMAGES}/$picture")
    for name, heading in form.texts.items():
        ET.SubElement(view, "Header", value=heading)
        ET.SubElement(view, "Text", name=name, value=f"${name}")
    choices = ET.SubElement(view, "Choices", name=form.name, toName="image", choice="single", required="true")
    for alias, words in form.choices.items():
        ET.SubElement(choices, "Choice", alias=alias, value=words)
    ET.SubElement(view, "TextArea", name=REASON, toName="image", placeholder="Why (optional)", maxSubmissions="1")
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"
