"""What others reported, as data beside each benchmark: `published/NAME.toml`.

    judge = "GPT-4, which sees the answer only"
    source = "arXiv 2410.06172, project page"
    url = "https://mssbench.github.io"

    [[rows]]
    model = "GPT-4o"
    setting = "if"
    percent = { chat_average = 55.4, embodied_average = 50.3 }

A row may have a `judge`, `source` or `note` of its own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from holisafe.errors import DataError


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a published table.

    Attributes:
        model: The model, as the authors name it.
        values: Name of a figure → value in [0, 1].
        judge: What judged.
        source: Where it was published.
        setting: The setting of the benchmark.
        note: What a reader has to know; empty for nothing.
    """

    model: str
    values: Mapping[str, float] = field(hash=False)
    judge: str
    source: str
    setting: str
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "model": self.model,
            "values": dict(self.values),
            "judge": self.judge,
            "source": self.source,
            "setting": self.setting,
            "note": self.note,
        }


def read_published(text: str, source: str, default_setting: str) -> tuple[Published, ...]:
    """The rows of a file in the form above.

    Args:
        text: Its text.
        source: Its name, for messages.
        default_setting: The setting of rows that name none.

    Raises:
        DataError: It is no such file; names the row.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{source}: no TOML: {error}") from error
    shared = {key: content.get(key, "") for key in ("judge", "source", "note")}
    rows = []
    for at, row in enumerate(content.get("rows", [])):
        try:
            rows.append(_row({**shared, "setting": default_setting, **row}))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{source}, row {at}: {error!r}; expected model, percent, judge, source") from error
    return tuple(rows)


def published(name: str, default_setting: str) -> tuple[Published, ...]:
    """The rows that come with a benchmark of this package.

    Raises:
        DataError: The file is damaged.
    """
    file = files("holisafe.benchmarks") / "published" / f"{name}.toml"
    return read_published(file.read_text(encoding="utf-8"), file.name, default_setting)


def _row(row: Mapping[str, Any]) -> Published:
    values = {str(figure): float(percent) / 100 for figure, percent in row["percent"].items()}
    texts = {key: str(row[key]) for key in ("model", "judge", "source", "setting", "note")}
    if not values or not all(0 <= value <= 1 for value in values.values()) or not texts["judge"] or not texts["source"]:
        raise ValueError("values in percent, a judge and a source")
    return Published(values=values, **texts)
