"""What is counted: rates with cluster-bootstrap intervals, paired comparison of runs, agreement of judges."""

from holisafe.metrics._agreement import Agreement, agreement
from holisafe.metrics._paired import Comparison, Difference, compare
from holisafe.metrics._rates import is_hit, is_right
from holisafe.metrics._summary import Figure, Summary, summarise
from holisafe.metrics._twins import twin_pairs

__all__ = [
    "Agreement",
    "Comparison",
    "Difference",
    "Figure",
    "Summary",
    "agreement",
    "compare",
    "is_hit",
    "is_right",
    "summarise",
    "twin_pairs",
]
