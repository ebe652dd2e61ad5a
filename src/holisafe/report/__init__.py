"""What people look at: one self-contained HTML file, tables and figures for a paper, every judgement as a table.

Everything written is safe to open in a shared room: images are blurred until opened, answers folded, text escaped,
no script runs and nothing is fetched.
"""

from holisafe.report._bibliography import write_bibliography
from holisafe.report._judgements import write_judgements
from holisafe.report._pairs import RunPair, pair_runs
from holisafe.report._plain_tables import write_csv, write_markdown
from holisafe.report._plots import Plot, write_figure
from holisafe.report._tables import TableFormat, write_table
from holisafe.report._write import write_report

__all__ = [
    "Plot",
    "RunPair",
    "TableFormat",
    "pair_runs",
    "write_bibliography",
    "write_csv",
    "write_figure",
    "write_judgements",
    "write_markdown",
    "write_report",
    "write_table",
]
