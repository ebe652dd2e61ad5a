"""How long `import holisafe` takes beyond a bare interpreter: medians of interleaved fresh processes.

    python perf/import_time.py [--runs 15]

Nothing is imported in this process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time


def main() -> None:
    """Time both in turn and print the medians, their difference and ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    bare, ours = [], []
    for _ in range(runs):
        bare.append(seconds("pass"))
        ours.append(seconds("import holisafe"))
    a, b = statistics.median(bare), statistics.median(ours)
    print(f"python {a * 1000:.0f} ms, with holisafe {b * 1000:.0f} ms: {(b - a) * 1000:.0f} ms more, ratio {b / a:.2f}")


def seconds(code: str) -> float:
    """Wall time of a fresh interpreter that runs the code."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
