"""Judges that ask a model: what they ask is declared in a file, what it replies is read by one strict parser."""

from holisafe.judges.asked._declaration import Declaration, read_declaration
from holisafe.judges.asked._judge import AskedJudge
from holisafe.judges.asked._named import prompt_file, protocol, rubric

__all__ = ["AskedJudge", "Declaration", "prompt_file", "protocol", "read_declaration", "rubric"]
