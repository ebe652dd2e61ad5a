"""What people look at: one self-contained HTML file, or the headline figures as Markdown or CSV.

Everything written is safe to open in a shared room: images are blurred until opened, answers folded, text escaped,
no script runs and nothing is fetched.
"""

from holisafe.report._plain_tables import write_csv, write_markdown
from holisafe.report._write import write_report

__all__ = ["write_csv", "write_markdown", "write_report"]
