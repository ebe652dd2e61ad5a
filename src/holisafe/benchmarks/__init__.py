"""Benchmarks: released data, their prompts, the judge that scores them, their own figures, published numbers.

`get` finds one by name, `parse` reads `--data NAME:PATH`, `of_samples` finds the one that samples are of.
`holisafe.benchmarks.conformance` holds the tests that each has to pass.
"""

from holisafe.benchmarks import holisafe_bench, holisafe_open, mis, mmsafeaware, mssbench
from holisafe.benchmarks._answerers import ANSWERERS, constant_figures, judged_by_default
from holisafe.benchmarks._benchmark import Benchmark, BenchmarkFigure, FigureKind
from holisafe.benchmarks._labels import label
from holisafe.benchmarks._published import Published, read_published
from holisafe.benchmarks._record import benchmark_record
from holisafe.benchmarks._registry import Asked, benchmark, get, names, of_samples, parse
from holisafe.benchmarks._scored import Row, Scored
from holisafe.benchmarks._suite import SuitePart, plan_suite, suites

__all__ = [
    "ANSWERERS",
    "Asked",
    "Benchmark",
    "BenchmarkFigure",
    "FigureKind",
    "Published",
    "Row",
    "Scored",
    "SuitePart",
    "benchmark",
    "benchmark_record",
    "constant_figures",
    "get",
    "holisafe_bench",
    "holisafe_open",
    "judged_by_default",
    "label",
    "mis",
    "mmsafeaware",
    "mssbench",
    "names",
    "of_samples",
    "parse",
    "plan_suite",
    "read_published",
    "suites",
]
