"""Benchmarks: released data, their prompts, the judge that scores them, their own figures, published numbers.

`get` finds one by name, `parse` reads `--data NAME:PATH`, `of_samples` finds the one that samples are of.
`holisafe.benchmarks.conformance` holds the tests that each has to pass.
"""

from holisafe.benchmarks import (
    figstep,
    holisafe_bench,
    holisafe_open,
    mis,
    mm_safetybench,
    mmsafeaware,
    mssbench,
    over_refusal,
    safeground,
    safeinfer_harmeval,
    siuo,
    spa_vl,
    usb,
    vlguard,
    vlsbench,
)
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
    "figstep",
    "get",
    "holisafe_bench",
    "holisafe_open",
    "judged_by_default",
    "label",
    "mis",
    "mm_safetybench",
    "mmsafeaware",
    "mssbench",
    "names",
    "of_samples",
    "over_refusal",
    "parse",
    "plan_suite",
    "read_published",
    "safeground",
    "safeinfer_harmeval",
    "siuo",
    "spa_vl",
    "suites",
    "usb",
    "vlguard",
    "vlsbench",
]
