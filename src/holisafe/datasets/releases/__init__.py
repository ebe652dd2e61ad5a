"""Data sets in the form in which their authors release them, one file each; `--data NAME:PATH`."""

from holisafe.datasets.releases import holisafe_bench, mssbench, vlguard

__all__ = ["holisafe_bench", "mssbench", "vlguard"]
