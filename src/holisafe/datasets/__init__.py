"""Where samples come from: our own open set, the released HoliSafe-Bench, and what other packages register.

`load` gives the good samples of a name, path or Hub id; `read` gives also what is broken; `stratified` draws a
smaller set, `fingerprint` names its content, `export` writes it. `@dataset` adds one, `@released` a format in which
authors release theirs.
"""

from holisafe.datasets._fingerprint import fingerprint
from holisafe.datasets._loaded import Level, Loaded, Problem
from holisafe.datasets._open_versions import NAMES as OPEN_NAMES
from holisafe.datasets._open_versions import VERSION as OPEN_VERSION
from holisafe.datasets._read import load, read, split_names, validate
from holisafe.datasets._recognised import read_release
from holisafe.datasets._registry import Dataset, dataset, find, registered_names
from holisafe.datasets._release_reader import BENCHMARK_TAG, SETTING_TAG
from holisafe.datasets._released import Released, find_release, release_names, released, split_spec
from holisafe.datasets._sampling import stratified
from holisafe.datasets.predictions import read_predictions

__all__ = [
    "BENCHMARK_TAG",
    "OPEN_NAMES",
    "OPEN_VERSION",
    "SETTING_TAG",
    "Dataset",
    "Level",
    "Loaded",
    "Problem",
    "Released",
    "dataset",
    "find",
    "find_release",
    "fingerprint",
    "load",
    "read",
    "read_predictions",
    "read_release",
    "registered_names",
    "release_names",
    "released",
    "split_names",
    "split_spec",
    "stratified",
    "validate",
]
