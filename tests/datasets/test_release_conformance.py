"""Every released format passes the tests that every data set has to pass."""

from pathlib import Path

import pytest

from benchmarks.more_releases import (
    harmeval_rows,
    write_csv,
    write_figstep,
    write_mm_safetybench,
    write_siuo,
    write_spa_vl,
    write_usb,
    write_vlguard,
    write_vlsbench,
)
from benchmarks.small_releases import write_holisafe_bench, write_mis, write_mmsafeaware, write_mssbench
from holisafe.datasets.conformance import DatasetConformance

WRITERS = {
    "figstep": write_figstep,
    "holisafe-bench": write_holisafe_bench,
    "mis": write_mis,
    "mm-safetybench": write_mm_safetybench,
    "mmsafeaware": write_mmsafeaware,
    "mssbench": write_mssbench,
    "safeinfer-harmeval": lambda folder: write_csv(folder / "HarmEval.csv", harmeval_rows()),
    "siuo": write_siuo,
    "spa-vl": write_spa_vl,
    "usb": write_usb,
    "vlguard": write_vlguard,
    "vlsbench": write_vlsbench,
}


@pytest.mark.parametrize("release", WRITERS)
def test_it_conforms(release: str, tmp_path: Path) -> None:
    tests = DatasetConformance()
    tests.name = f"{release}:{WRITERS[release](tmp_path / release)}"
    for name in dir(DatasetConformance):
        if name.startswith("test_"):
            getattr(tests, name)()
