"""`python -m holisafe`, and `accelerate launch -m holisafe`: the command."""

from holisafe.cli import app

app(prog_name="holisafe")
