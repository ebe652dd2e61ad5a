"""A command in a process that is killed: forked from one that has imported everything, so that it starts at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import torch
import transformers.models.auto.modeling_auto
import transformers.models.llava  # noqa: F401

import holisafe.bench
import holisafe.models._checkpoint  # noqa: F401
from holisafe.bench import _provider, _run  # noqa: F401
from holisafe.cli import app


def run_command(words: Sequence[str], folder: str) -> None:
    """Run `holisafe` with these words in a folder; what it prints is thrown away."""
    os.chdir(folder)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    torch.set_num_threads(1)
    app(list(words))
