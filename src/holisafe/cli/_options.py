"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Test(StrEnum):
    """Paired test, as `holisafe.metrics.PairedTest` has them; help loads no numpy."""

    SCORE = "score"
    MCNEMAR = "mcnemar"
    PERMUTATION = "permutation"


Device = Annotated[
    str | None, typer.Option(help="Device, such as cpu or cuda:1.", show_default="the first GPU, else the CPU")
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="Dtype of the weights: auto (as saved), float32, bfloat16 or float16.",
        show_default="auto on a GPU, float32 on a CPU",
    ),
]
Attention = Annotated[
    str | None, typer.Option(help="Attention implementation, such as sdpa.", show_default="the model's")
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the Hub.", show_default="main")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code of the checkpoint.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Judges = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        metavar="NAME",
        help="Judge (`holisafe judge list` names them); may be given more than once.",
        show_default="holisafe, or the benchmark's",
    ),
]
MaxRetries = Annotated[int, typer.Option(min=0, help="Hosted model: retries of a failed request.")]
Timeout = Annotated[int, typer.Option(min=1, help="Hosted model: seconds that one attempt may take.")]
