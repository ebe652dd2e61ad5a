"""Feeds inputs to a public door in a bounded process, and says of the first that is not taken well how to repeat it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile import doors

SECONDS = 120
"""Time for all inputs of one call: they take a fraction of it, and one that hangs is found."""
MEMORY = 2**31
"""Bytes of address space beyond the libraries."""


@dataclass(frozen=True)
class Outcome:
    """How a door took an input.

    Attributes:
        name: The input.
        outcome: "good", or the name of a `HoliSafeError`.
        detail: What the door gave, as JSON, or the message.
        peak: Largest memory of the process so far, in MiB.
        seconds: How long it took.
    """

    name: str
    outcome: str
    detail: str
    peak: int
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether there was a result."""
        return self.outcome == "good"


def feed(
    door: Callable[[Any], object],
    inputs: Iterable[tuple[str, Any]],
    folder: Path,
    *,
    seed: int = 0,
    mib: int = doors.FREE_MIB,
    seconds: float = SECONDS,
) -> dict[str, Outcome]:
    """Feed inputs to a door of `hostile.doors`, in their order.

    Args:
        door: One of the functions of that module.
        inputs: Names, and what the door takes.
        folder: An own folder of the test; the process works in a new folder below it.
        seed: What the inputs were made from, for messages.
        mib: How much the peak of memory may grow from the first input to the last.
        seconds: Time for all of them.

    Returns:
        The outcome of each input by its name.

    Raises:
        AssertionError: An input caused a traceback, a wrong result, a crash, a hang, too much memory, or left a file.
    """
    given = list(inputs)
    assert given and len({name for name, _ in given}) == len(given), "inputs without a name of their own"
    work = Path(tempfile.mkdtemp(prefix="work", dir=folder))
    (work / "tmp").mkdir()
    script = [sys.executable, doors.__file__, door.__name__, str(MEMORY)]
    environment = os.environ | {"TMPDIR": str(work / "tmp"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    lines = "".join(json.dumps({"name": name, "argument": argument}) + "\n" for name, argument in given)
    try:
        ended = subprocess.run(
            script, input=lines, cwd=work, env=environment, capture_output=True, text=True, timeout=seconds
        )
        output, how = ended.stdout, f"exit code {ended.returncode}\n{ended.stderr[-2000:]}"
    except subprocess.TimeoutExpired as error:
        output, how = (error.stdout or b"").decode(), f"still running after {seconds:g} s"
    told = [json.loads(line) for line in output.splitlines()]
    where = f"seed {seed}, {door.__name__}"
    if told and "begun" in told[-1]:
        raise AssertionError(f"{where}, input {told[-1]['begun']!r}: the process ended on it: {how}")
    found = {each["name"]: Outcome(**each) for each in told if "begun" not in each}
    assert len(found) == len(given), f"{where}: {how}"
    faults = [each for each in found.values() if each.outcome.startswith("FAULT")]
    assert not faults, f"{where}: {len(faults)} of {len(found)} inputs:\n" + "\n".join(
        f"input {each.name!r}: {each.outcome}\n{each.detail}" for each in faults[:3]
    )
    begun = next(iter(found.values())).peak
    for each in found.values():
        assert each.peak - begun <= mib, f"{where}, input {each.name!r}: memory grew by {each.peak - begun} MiB"
    left = sorted(str(path.relative_to(work)) for path in work.rglob("*") if path.is_file())
    assert left in ([], ["good.png"]), f"{where}: files were left: {left}"
    return found


def content_of(folder: Path) -> dict[str, str]:
    """Names and digests of all that lies in a folder, to see that nothing was written there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found
