"""`holisafe tune --launcher`: accelerate's configuration, and the command that trains with it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

_LEFT_OUT = {"--launcher": 1, "--gradient-accumulation-steps": 1, "--fsdp": 0}
"""Options that the new command says otherwise, and how many values each has."""


def print_launch(folder: Path, gpus: int, accumulation: int, *, fsdp: bool, on_cpu: bool) -> None:
    """Write the configuration into the run's folder and print the command.

    Raises:
        TuningError: A step's batches cannot be dealt to so many GPUs, or the file cannot be written.
    """
    from holisafe.tuning import GPUS_PER_MACHINE, accumulation_on, write_launch_config

    each = accumulation_on(gpus, accumulation)
    path = write_launch_config(folder, gpus, fsdp=fsdp, on_cpu=on_cpu)
    several = "" if gpus <= GPUS_PER_MACHINE else "--machine_rank RANK --main_process_ip FIRST_MACHINE "
    kept = shlex.join(_without(sys.argv[1:]))
    typer.echo(
        f"accelerate launch --config_file {shlex.quote(str(path))} {several}-m holisafe {kept} "
        f"--gradient-accumulation-steps {each}"
    )
    if several:
        typer.echo(
            f"give it on each of {gpus // GPUS_PER_MACHINE} machines, RANK being 0 and up, with --out on a file system "
            "that all share",
            err=True,
        )


def _without(arguments: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = 0
    for each in arguments:
        name, equals, _ = each.partition("=")
        if skip:
            skip -= 1
        elif name in _LEFT_OUT:
            skip = 0 if equals else _LEFT_OUT[name]
        else:
            kept.append(each)
    return kept
