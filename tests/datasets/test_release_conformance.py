"""Every released format passes the tests that every data set has to pass."""

from pathlib import Path

import pytest

from benchmarks.small_releases import write_holisafe_bench, write_mis, write_mmsafeaware, write_mssbench
from holisafe.datasets.conformance import DatasetConformance

WRITERS = {
    "holisafe-bench": write_holisafe_bench,
    "mis": write_mis,
    "mmsafeaware": write_mmsafeaware,
    "mssbench": write_mssbench,
}


@pytest.mark.parametrize("release", WRITERS)
def test_it_conforms(release: str, tmp_path: Path) -> None:
    tests = DatasetConformance()
    tests.name = f"{release}:{WRITERS[release](tmp_path / release)}"
    for name in dir(DatasetConformance):
        if name.startswith("test_"):
            getattr(tests, name)()
