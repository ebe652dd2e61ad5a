"""Where samples come from: our own open set, the released HoliSafe-Bench, and what other packages register.

`load` gives the good samples of a name, path or Hub id; `read` gives also what is broken; `stratified` draws a
smaller set, `fingerprint` names its content, `export` writes it. `@dataset` adds one.
"""

from holisafe.datasets._fingerprint import fingerprint
from holisafe.datasets._loaded import Level, Loaded, Problem
from holisafe.datasets._open_versions import NAMES as OPEN_NAMES
from holisafe.datasets._read import load, read, split_names
from holisafe.datasets._registry import Dataset, dataset, find, registered_names
from holisafe.datasets._sampling import stratified
from holisafe.datasets.predictions import read_predictions

__all__ = [
    "OPEN_NAMES",
    "Dataset",
    "Level",
    "Loaded",
    "Problem",
    "dataset",
    "find",
    "fingerprint",
    "load",
    "read",
    "read_predictions",
    "registered_names",
    "split_names",
    "stratified",
]
