"""Data sets in the form in which their authors release them, one file each; `--data NAME:PATH`."""

from holisafe.datasets.releases import (
    figstep,
    holisafe_bench,
    mis,
    mm_safetybench,
    mmsafeaware,
    mssbench,
    safeinfer_harmeval,
    siuo,
    spa_vl,
    usb,
    vlguard,
    vlsbench,
)

__all__ = [
    "figstep",
    "holisafe_bench",
    "mis",
    "mm_safetybench",
    "mmsafeaware",
    "mssbench",
    "safeinfer_harmeval",
    "siuo",
    "spa_vl",
    "usb",
    "vlguard",
    "vlsbench",
]
